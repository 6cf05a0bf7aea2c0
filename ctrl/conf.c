// Rows in memory, views over them, and references between rows.
//
// The engine lays a change's edits over the rows (a view), lets the rules of this file complete and
// check them, and then moves the rows there step by step. Control thread.
#include "conf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "must.h"
#include "unique.h"

#define MAX_KINDS 64
#define MAX_NAMED 8 // users of a row that a refusal names

static struct {
	const struct conf_kind *kinds[MAX_KINDS];
	const char *names[MAX_KINDS + 1];
	size_t n;
	json_t *rows;
} conf;

void conf_init(const struct module *const *mods)
{
	conf.n = 0;
	conf.rows = must(json_object());
	for (; *mods; mods++) {
		for (const struct conf_kind *k = (*mods)->kinds; k && k->name; k++) {
			assert(conf.n < MAX_KINDS && !conf_kind_find(k->name));
			conf.kinds[conf.n] = k;
			conf.names[conf.n++] = k->name;
			json_object_set_new(conf.rows, k->name, must(json_object()));
		}
	}
	conf.names[conf.n] = NULL;
}

void conf_fini(void)
{
	json_decref(conf.rows);
	memset(&conf, 0, sizeof(conf));
}

const struct conf_kind *conf_kind_find(const char *kind)
{
	for (size_t i = 0; i < conf.n; i++) {
		if (strcmp(conf.names[i], kind) == 0)
			return conf.kinds[i];
	}
	return NULL;
}

const char *const *conf_kinds(void)
{
	return conf.names;
}

const json_t *conf_rows(void)
{
	return conf.rows;
}

void conf_row_set(const char *kind, const char *name, json_t *row)
{
	json_t *rows = json_object_get(conf.rows, kind);

	if (row)
		json_object_set_new(rows, name, row);
	else
		json_object_del(rows, name);
}

// NULL = not edited, JSON null = deleted.
static json_t *edit_get(const struct conf_view *v, const char *kind, const char *name)
{
	return v ? json_object_get(json_object_get(v->edits, kind), name) : NULL;
}

const json_t *conf_get(const struct conf_view *v, const char *kind, const char *name)
{
	const json_t *edit = edit_get(v, kind, name);

	if (edit)
		return json_is_null(edit) ? NULL : edit;
	return json_object_get(json_object_get(conf.rows, kind), name);
}

void conf_each(const struct conf_view *v, const char *kind,
	       bool (*fn)(const char *name, const json_t *row, void *arg), void *arg)
{
	json_t *edits = v ? json_object_get(v->edits, kind) : NULL, *row;
	const char *name;

	json_object_foreach (json_object_get(conf.rows, kind), name, row) {
		if (!json_object_get(edits, name) && !fn(name, row, arg))
			return;
	}
	json_object_foreach (edits, name, row) {
		if (!json_is_null(row) && !fn(name, row, arg))
			return;
	}
}

static json_t *nulls_drop(json_t *row)
{
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(row, next, key, value)
	{
		if (json_is_null(value))
			json_object_del(row, key);
	}
	return row;
}

int conf_decode(const char *kind, const char *name, const json_t *in, json_t **out, struct err *e)
{
	const struct conf_kind *k = conf_kind_find(kind);
	json_t *given;
	char what[384];
	int rc;

	snprintf(what, sizeof(what), "%s %s", kind, name);
	if (!k)
		return err_add(e, -EINVAL, "%s: there is no such kind of object", what);
	if (!json_is_object(in))
		return err_add(e, -EINVAL, "%s: must be an object", what);
	given = nulls_drop(must(json_copy((json_t *)in)));
	rc = decode_params(k->params, given, what, out, e);
	json_decref(given);
	if (rc == 0)
		nulls_drop(*out);
	return rc;
}

static json_t *child(json_t *parent, const char *key, json_t *(*make)(void))
{
	json_t *c = json_object_get(parent, key);

	if (!c) {
		c = must(make());
		json_object_set_new(parent, key, c);
	}
	return c;
}

// Calls fn for every name that the row gives for a reference, until fn returns false.
static void ref_each(const struct conf_ref *ref, const char *name, const json_t *row,
		     bool (*fn)(const char *to, void *arg), void *arg)
{
	const json_t *value = ref->key ? json_object_get(row, ref->key) : NULL;
	const json_t *item;
	size_t i;

	if (!ref->key) {
		fn(name, arg);
	} else if (json_is_string(value)) {
		fn(json_string_value(value), arg);
	} else {
		json_array_foreach (value, i, item) {
			if (!fn(json_string_value(item), arg))
				return;
		}
	}
}

struct ref_match {
	const json_t *edits; // of the kind that is named
	bool deleted;        // look for a deleted row; else for one that is put
	const char *found;
};

static bool ref_match(const char *to, void *arg)
{
	struct ref_match *m = arg;
	const json_t *edit = json_object_get(m->edits, to);

	if (edit && json_is_null(edit) == m->deleted)
		m->found = to;
	return !m->found;
}

// The first edited row (deleted, or put) that the row names by `ref`; NULL if none.
static const char *ref_to_edit(const struct conf_view *v, const struct conf_ref *ref, const char *name,
			       const json_t *row, bool deleted)
{
	struct ref_match m = {.edits = json_object_get(v->edits, ref->kind), .deleted = deleted};

	ref_each(ref, name, row, ref_match, &m);
	return m.found;
}

// Walks the rows of a view that name an edited row by one reference. The view cannot be edited while it
// is walked: names are collected.
struct ref_walk {
	const struct conf_view *v;
	const struct conf_ref *ref;
	bool deleted;
	json_t *users; // name: null
};

static bool ref_walk_row(const char *name, const json_t *row, void *arg)
{
	struct ref_walk *w = arg;

	if (ref_to_edit(w->v, w->ref, name, row, w->deleted))
		json_object_set_new(w->users, name, json_null());
	return true;
}

// Names of the rows of a kind that name a deleted (or put) row by `ref`: a new reference.
static json_t *ref_users(const struct conf_view *v, const char *kind, const struct conf_ref *ref,
			 bool deleted)
{
	struct ref_walk w = {.v = v, .ref = ref, .deleted = deleted, .users = must(json_object())};

	if (json_object_get(v->edits, ref->kind))
		conf_each(v, kind, ref_walk_row, &w);
	return w.users;
}

static bool cascade_ref(struct conf_view *v, const char *kind, const struct conf_ref *ref)
{
	json_t *owned = ref_users(v, kind, ref, true);
	bool more = json_object_size(owned) > 0;

	if (more)
		json_object_update(child(v->edits, kind, json_object), owned);
	json_decref(owned);
	return more;
}

void conf_cascade(struct conf_view *v)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < conf.n; i++) {
			for (const struct conf_ref *r = conf.kinds[i]->refs; r && r->kind; r++)
				more |= r->type == CONF_OWNER && cascade_ref(v, conf.names[i], r);
		}
	}
}

// Rows that still need a deleted row, collected as {deleted name: {kind: [name, …]}}.
struct needs {
	const struct conf_view *v;
	const struct conf_ref *ref;
	const char *kind; // of the rows that are walked
	json_t *used;
};

static bool needs_row(const char *name, const json_t *row, void *arg)
{
	struct needs *n = arg;
	const char *to = ref_to_edit(n->v, n->ref, name, row, true);

	if (to)
		json_array_append_new(child(child(n->used, to, json_object), n->kind, json_array),
				      must(json_string(name)));
	return true;
}

// " port vm1, vm2 and 3 more"
static size_t users_text(char *text, size_t size, const char *kind, const json_t *names)
{
	size_t n = json_array_size(names), i;
	size_t at = snprintf(text, size, " %s", kind);

	for (i = 0; i < n && i < MAX_NAMED; i++)
		at += snprintf(text + at, size - at, "%s %s", i ? "," : "",
			       json_string_value(json_array_get(names, i)));
	if (i < n)
		at += snprintf(text + at, size - at, " and %zu more", n - i);
	return at;
}

static void needs_report(const char *kind, const json_t *used, struct err *e)
{
	const char *name, *user_kind;
	json_t *kinds, *names;

	json_object_foreach ((json_t *)used, name, kinds) {
		char text[MAX_NAMED * 256 + 128];
		size_t at = 0;

		json_object_foreach (kinds, user_kind, names) {
			if (at < 256)
				at += snprintf(text + at, sizeof(text) - at, at ? " and" : "");
			if (at < 256)
				at += users_text(text + at, sizeof(text) - at, user_kind, names);
		}
		err_add(e, -EBUSY, "%s %s: still used by%s; delete them first", kind, name, text);
	}
}

// Deleted rows of `kind` that other rows still need.
static void needs_check(const struct conf_view *v, const char *kind, struct err *e)
{
	struct needs n = {.v = v, .used = must(json_object())};

	for (size_t i = 0; i < conf.n; i++) {
		n.kind = conf.names[i];
		for (n.ref = conf.kinds[i]->refs; n.ref && n.ref->kind; n.ref++) {
			if (n.ref->type == CONF_NEEDS && strcmp(n.ref->kind, kind) == 0)
				conf_each(v, n.kind, needs_row, &n);
		}
	}
	needs_report(kind, n.used, e);
	json_decref(n.used);
}

struct ref_missing {
	const struct conf_view *v;
	const char *kind, *name, *to_kind;
	struct err *e;
};

static bool ref_missing(const char *to, void *arg)
{
	struct ref_missing *m = arg;

	if (!conf_get(m->v, m->to_kind, to))
		err_add(m->e, -ENOENT, "%s %s: no such %s %s", m->kind, m->name, m->to_kind, to);
	return true;
}

static void refs_check(const struct conf_view *v, const struct conf_kind *k, struct err *e)
{
	struct ref_missing m = {.v = v, .kind = k->name, .e = e};
	json_t *row;

	json_object_foreach (json_object_get(v->edits, k->name), m.name, row) {
		for (const struct conf_ref *r = k->refs; r && r->kind && !json_is_null(row); r++) {
			m.to_kind = r->kind;
			ref_each(r, m.name, row, ref_missing, &m);
		}
	}
}

// Whether the edits replace a row that is there: only such a row can be named by an unedited one.
static bool has_changed(const struct conf_view *v, const char *kind)
{
	const char *name;
	json_t *row;

	json_object_foreach (json_object_get(v->edits, kind), name, row) {
		if (!json_is_null(row) && conf_get(NULL, kind, name))
			return true;
	}
	return false;
}

// The rows of a kind to validate: those that are put, and those that name a changed row.
static json_t *concerned(const struct conf_view *v, const struct conf_kind *k)
{
	json_t *names = must(json_object()), *users, *row;
	const char *name;

	json_object_foreach (json_object_get(v->edits, k->name), name, row) {
		if (!json_is_null(row))
			json_object_set_new(names, name, json_null());
	}
	for (const struct conf_ref *r = k->refs; r && r->kind; r++) {
		if (!has_changed(v, r->kind))
			continue;
		users = ref_users(v, k->name, r, false);
		json_object_update(names, users);
		json_decref(users);
	}
	return names;
}

static void kind_validate(const struct conf_view *v, const struct conf_kind *k, struct err *e)
{
	json_t *names, *value;
	const char *name;

	if (!k->validate)
		return;
	names = concerned(v, k);
	json_object_foreach (names, name, value) {
		struct err one = {.each = e->each, .arg = e->arg};
		int rc = k->validate(v, name, conf_get(v, k->name, name), &one);

		if (one.code < 0)
			err_join(e, &one);
		else if (rc < 0)
			err_add(e, rc, "%s %s: refused without a reason", k->name, name);
	}
	json_decref(names);
}

int conf_validate(const struct conf_view *v, struct err *e)
{
	for (size_t i = 0; i < conf.n; i++) {
		if (json_object_get(v->edits, conf.names[i]))
			needs_check(v, conf.names[i], e);
		refs_check(v, conf.kinds[i], e);
	}
	if (e->code)
		return e->code; // a kind may rely on the rows that its row names
	for (size_t i = 0; i < conf.n; i++) {
		unique_check(v, conf.kinds[i], e);
		kind_validate(v, conf.kinds[i], e);
	}
	return e->code;
}
