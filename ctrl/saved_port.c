// A saved port and this host: what leaves, what comes, what does not fit. See saved_port.h. Control thread.
#include "saved_port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "conf.h"
#include "diff.h"
#include "modules.h"
#include "must.h"

#define AWAIT        "await-state"
#define FINDING_ROOM 24 // kept for "; and 12345 more"
#define MAX_FINDINGS 200

const struct module *const *saved_port_owner(const struct module *const *m)
{
	for (m = m ? m + 1 : modules; *m; m++)
		if ((*m)->restore)
			return m;
	return NULL;
}

static const struct module *owner_find(const char *name)
{
	const struct module *const *m = NULL;

	while ((m = saved_port_owner(m)) != NULL)
		if (strcmp((*m)->name, name) == 0)
			return *m;
	return NULL;
}

// --- rows of a port

// How rows of the kind name the port that they go along with; NULL = they do not.
static const struct conf_ref *port_ref(const struct conf_kind *k)
{
	for (const struct conf_ref *r = k->refs; r && r->kind && !k->stays; r++)
		if (r->type == CONF_OWNER && strcmp(r->kind, "port") == 0)
			return r;
	return NULL;
}

struct rows_of {
	const char *port;
	const struct conf_ref *ref;
	json_t *rows; // {name: conf}
};

static bool row_of(const char *name, const json_t *conf, void *arg)
{
	struct rows_of *r = arg;
	const char *owner = r->ref->key ? json_string_value(json_object_get(conf, r->ref->key)) : name;

	if (owner && strcmp(owner, r->port) == 0)
		json_object_set(r->rows, name, (json_t *)conf);
	return true;
}

// {kind: {name: conf}}: a new reference.
static json_t *rows_here(const char *port)
{
	json_t *all = must(json_object());

	for (const char *const *kind = conf_kinds(); *kind; kind++) {
		struct rows_of r = {.port = port, .ref = port_ref(conf_kind_find(*kind))};

		if (!r.ref)
			continue;
		r.rows = must(json_object());
		conf_each(NULL, *kind, row_of, &r);
		json_object_set_new(all, *kind, r.rows);
	}
	return all;
}

static json_t *conf_without(const json_t *conf, const char *key)
{
	json_t *copy = must(json_copy((json_t *)conf));

	if (key)
		json_object_del(copy, key);
	return copy;
}

json_t *saved_port_lines(const char *port, struct err *e)
{
	const json_t *conf = conf_get(NULL, "port", port);
	json_t *lines, *rows, *list, *row;
	const char *kind, *name;

	if (!conf) {
		err_set(e, -ENOENT, "port %s: no such port", port);
		return NULL;
	}
	if (json_object_get(conf, AWAIT)) {
		err_set(e, -EAGAIN, "port %s: waits for its own state; import that first", port);
		return NULL;
	}
	lines = must(json_array());
	rows = rows_here(port);
	json_array_append_new(lines, saved_head(conf));
	json_object_foreach (rows, kind, list) {
		const char *key = port_ref(conf_kind_find(kind))->key;

		json_object_foreach (list, name, row) {
			json_t *rest = conf_without(row, key);

			json_array_append_new(lines, saved_row(kind, key ? name : NULL, rest));
			json_decref(rest);
		}
	}
	json_decref(rows);
	return lines;
}

// --- findings

static void finding_add(const char *finding, void *arrival)
{
	const struct arrival *a = arrival;

	json_array_append_new(a->findings, must(json_string(finding)));
}

// What others find, each by itself.
#define FINDER(a)                               \
	(struct err)                            \
	{                                       \
		.each = finding_add, .arg = (a) \
	}

#define FINDING(a, ...)                               \
	do {                                          \
		struct err one_ = FINDER(a);          \
		err_add(&one_, -EINVAL, __VA_ARGS__); \
	} while (0)

// All in one sentence, as many as it holds.
static int findings_refuse(const struct arrival *a, struct err *e)
{
	size_t n = json_array_size(a->findings);

	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(a->findings, i));

		if (strlen(e->text) + 2 + strlen(text) + FINDING_ROOM >= sizeof(e->text) && i > 0)
			return err_add(e, -EINVAL, "and %zu more", n - i);
		err_add(e, -EINVAL, "%s", text);
	}
	return e->code;
}

// --- what the file says, for this host

// Another socket, device or interface takes the place of what the file names.
static json_t *conf_wanted(const struct arrival *a)
{
	json_t *conf = conf_without(a->s->conf, AWAIT);

	json_object_del(conf, "bypass"); // a device of that host
	if (json_object_get(a->given, "socket"))
		json_object_del(conf, "device");
	if (json_object_get(a->given, "device")) {
		json_object_del(conf, "socket");
		json_object_del(conf, "mode");
		json_object_del(conf, "datapath");
	}
	json_object_update(conf, a->given);
	return conf;
}

static void row_take(struct arrival *a, const char *kind, const char *name, const json_t *in)
{
	json_t *rows = json_object_get(a->rows, kind), *conf;
	struct err e = FINDER(a);

	if (conf_decode(kind, name, in, &conf, &e) < 0)
		return;
	if (!rows)
		json_object_set_new(a->rows, kind, rows = must(json_object()));
	if (json_object_get(rows, name))
		FINDING(a, "%s %s: is in the file twice", kind, name);
	json_object_set_new(rows, name, conf);
}

static void row_read(struct arrival *a, const json_t *line)
{
	const char *kind = json_string_value(json_object_get(line, "kind"));
	const char *name = json_string_value(json_object_get(line, "name"));
	const struct conf_kind *k = conf_kind_find(kind);
	const struct conf_ref *ref = k ? port_ref(k) : NULL;

	if (!ref || !ref->key != !name) {
		FINDING(a,
			k ? "%.64s: is in the file, and does not go along with a port in this way"
			  : "%.64s: is in the file, and this evswitch knows no such kind of object",
			kind);
		return;
	}
	json_t *conf = conf_without(json_object_get(line, "conf"), ref->key);

	if (ref->key)
		json_object_set_new(conf, ref->key, must(json_string(a->port)));
	row_take(a, kind, name ? name : a->port, conf);
	json_decref(conf);
}

void arrival_init(struct arrival *a, const char *port, const struct saved *s, json_t *given)
{
	json_t *conf, *line;
	struct err e = FINDER(a);
	size_t i;

	*a = (struct arrival){.port = port, .s = s, .given = given};
	a->findings = must(json_array());
	a->rows = must(json_object());
	conf = conf_wanted(a);
	if (conf_decode("port", port, conf, &a->conf, &e) < 0)
		a->conf = NULL;
	json_decref(conf);
	json_array_foreach (s->rows, i, line)
		row_read(a, line);
}

void arrival_fini(struct arrival *a)
{
	json_decref(a->conf);
	json_decref(a->rows);
	json_decref(a->given);
	json_decref(a->findings);
	*a = (struct arrival){0};
}

// --- state

// One record at a time.
static void state_check(struct arrival *a, const char *owner, const json_t *records)
{
	const struct module *m = owner_find(owner);
	struct err e = FINDER(a);

	if (m) {
		m->check(a->port, a->conf, a->rows, records, a->n_checked++, &e);
	} else {
		FINDING(a, "port %s: has state of '%.64s', which is not here", a->port, owner);
		a->n_checked = json_array_size(records);
	}
}

bool arrival_check_state(struct arrival *a)
{
	json_t *records;
	void *at = a->owner ? json_object_iter_at(a->s->states, a->owner) : json_object_iter(a->s->states);

	if (!at)
		return false;
	if (json_array_size(a->findings) > MAX_FINDINGS) {
		FINDING(a, "port %s: the rest of its state was not looked at", a->port);
		return false;
	}
	a->owner = json_object_iter_key(at);
	records = json_object_iter_value(at);
	state_check(a, a->owner, records);
	if (a->n_checked < json_array_size(records))
		return true;
	a->n_checked = 0;
	at = json_object_iter_next(a->s->states, at);
	a->owner = at ? json_object_iter_key(at) : NULL;
	return at != NULL;
}

static int state_restore(struct change *ch, void *arg, struct err *e)
{
	const struct arrival *a = arg;
	const struct module *const *m = NULL;
	int rc = 0;

	while (rc == 0 && (m = saved_port_owner(m)) != NULL) {
		const json_t *records = json_object_get(a->s->states, (*m)->name);

		if (records)
			rc = (*m)->restore(ch, a->port, records, e);
	}
	return rc;
}

// --- configuration

static bool is_key_here(const struct conf_kind *k, const char *key)
{
	for (const struct param *p = k->params; p->name; p++)
		if (strcmp(p->name, key) == 0)
			return p->flags & PARAM_HERE;
	return false;
}

// "1500", or what stands for a missing key; to be freed.
static char *value_text(const json_t *value)
{
	if (!value || json_is_string(value))
		return must(strdup(value ? json_string_value(value) : "not set"));
	return must(json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT));
}

static void key_compare(struct arrival *a, const char *kind, const char *name, const char *key,
			const json_t *here, const json_t *there)
{
	char *x, *y;

	if (is_key_here(conf_kind_find(kind), key) || (here && there && json_equal(here, there)))
		return;
	x = value_text(here);
	y = value_text(there);
	FINDING(a, "%s %s: %s is %.128s here and %.128s in the file", kind, name, key, x, y);
	free(x);
	free(y);
}

static void row_compare(struct arrival *a, const char *kind, const char *name, const json_t *here,
			const json_t *there)
{
	const char *key;
	json_t *value;

	if (!here || !there) {
		FINDING(a, here ? "%s %s: is here and not in the file" : "%s %s: is in the file and not here",
			kind, name);
		return;
	}
	json_object_foreach ((json_t *)here, key, value)
		key_compare(a, kind, name, key, value, json_object_get(there, key));
	json_object_foreach ((json_t *)there, key, value)
		if (!json_object_get(here, key))
			key_compare(a, kind, name, key, NULL, value);
}

static void rows_compare(struct arrival *a, const char *kind, json_t *here, json_t *there)
{
	const char *name;
	json_t *row;

	json_object_foreach (here, name, row)
		row_compare(a, kind, name, row, json_object_get(there, name));
	json_object_foreach (there, name, row)
		if (!json_object_get(here, name))
			row_compare(a, kind, name, NULL, row);
}

static void compare(struct arrival *a, const json_t *conf)
{
	json_t *all = rows_here(a->port), *rows, *value;
	const char *kind, *key;

	row_compare(a, "port", a->port, conf, a->conf);
	json_object_foreach (all, kind, rows)
		rows_compare(a, kind, rows, json_object_get(a->rows, kind));
	json_decref(all);
	json_object_foreach (a->given, key, value) {
		const json_t *is = json_object_get(conf, key);

		if (!is || !json_equal(is, value))
			FINDING(a, "port %s: is here already; its %s is changed with 'port set'", a->port,
				key);
	}
}

static void edits_make(const struct arrival *a, struct change *ch)
{
	const char *kind, *name;
	json_t *rows, *row;

	change_edit(ch, "port", a->port, json_incref(a->conf));
	json_object_foreach (a->rows, kind, rows)
		json_object_foreach (rows, name, row)
			change_edit(ch, kind, name, json_incref(row));
}

// Rows with a name of their own may be there already, of another port.
static void others_rows_check(struct arrival *a)
{
	const char *kind, *name;
	json_t *rows, *row;

	json_object_foreach (a->rows, kind, rows) {
		const char *key = port_ref(conf_kind_find(kind))->key;

		json_object_foreach (rows, name, row) {
			const json_t *here = key ? conf_get(NULL, kind, name) : NULL;

			if (here)
				FINDING(a, "%s %s: is here already, of port %s", kind, name,
					json_string_value(json_object_get(here, key)));
		}
	}
}

void arrival_check_conf(struct arrival *a)
{
	const json_t *here = conf_get(NULL, "port", a->port);
	struct diff_step *steps;
	struct err e = FINDER(a);
	size_t n;

	if (!a->conf)
		return; // which was said
	if (here) {
		compare(a, here);
		return;
	}
	others_rows_check(a);
	struct change *ch = change_new(NULL);

	edits_make(a, ch);
	change_check(ch, &steps, &n, &e);
	diff_free(steps, n);
}

int arrival_submit(struct arrival *a, struct change *ch, struct err *e)
{
	const json_t *here = conf_get(NULL, "port", a->port);

	arrival_check_conf(a);
	if (json_array_size(a->findings) > 0) {
		change_free(ch);
		return findings_refuse(a, e);
	}
	if (!here)
		edits_make(a, ch);
	else if (json_object_get(here, AWAIT))
		change_edit(ch, "port", a->port, conf_without(here, AWAIT));
	else
		change_needs_snapshot(ch);
	if (here || !json_object_get(a->conf, AWAIT))
		change_then(ch, state_restore, a);
	return change_submit(ch, e);
}
