// Properties of extensions: described by them, set by people, kept as rows, and told to them on the jobs thread.
//
// A change first asks the extension whether it would take the values (it may refuse), and tells it with the
// commit. One that is made anew, at start or by an upgrade, is told all that is set. Control thread, and jobs.
#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blame.h"
#include "ctrl/api/conf.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/value.h"
#include "host.h"
#include "load.h"
#include "ports.h"

struct setting {
	char port[PORT_NAME_SIZE]; // "" = of the switch
	char key[PORT_NAME_SIZE];
	char value[256];
	bool is_set; // else it goes back to what it is without
};

struct policies {
	uint32_t n, max;
	struct setting *list;
};

void policy_name(const char *ext, const char *port, char *out)
{
	snprintf(out, POLICY_NAME_SIZE, "%s:%s", ext, port != NULL ? port : "");
}

// Descriptions

// Each as long as its maker knew it.
const struct evs_property *policy_next(const struct ext *x, const struct evs_property *p)
{
	const struct evs_property *next =
	    p == NULL ? x->is.properties : (const struct evs_property *)((const char *)p + p->size);

	return next != NULL && next->size >= sizeof(*next) && next->name != NULL ? next : NULL;
}

const struct evs_property *policy_property(const struct ext *x, const char *name)
{
	const struct evs_property *p = NULL;

	while ((p = policy_next(x, p)) != NULL)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

static bool is_among(const char *words, const char *value)
{
	size_t len = strlen(value);

	for (const char *at = words; at != NULL && *at != '\0'; at = strchr(at, '|'), at += at != NULL) {
		if (strncmp(at, value, len) == 0 && (at[len] == '|' || at[len] == '\0'))
			return true;
	}
	return false;
}

static bool is_in(const struct evs_property *p, int64_t v)
{
	return (p->min == 0 && p->max == 0) || (v >= p->min && v <= p->max);
}

// Whether the value is one, and in which form the extension gets it.
static bool value_canonical(const struct evs_property *p, const char *text, char out[256])
{
	struct value_ip ip;
	int64_t number;
	bool yes;

	switch (p->type) {
	case EVS_BOOL:
		if (value_parse_bool(text, &yes) < 0)
			return false;
		snprintf(out, 256, "%s", yes ? "on" : "off");
		return true;
	case EVS_INT:
	case EVS_RATE:
		if ((p->type == EVS_INT ? value_parse_int : value_parse_rate)(text, &number) < 0 ||
		    !is_in(p, number))
			return false;
		snprintf(out, 256, "%lld", (long long)number);
		return true;
	case EVS_ADDRESS:
		if (value_parse_ip(text, &ip) < 0)
			return false;
		value_print_ip(&ip, out);
		return true;
	case EVS_ENUM:
		snprintf(out, 256, "%s", text);
		return is_among(p->values, text);
	case EVS_STRING:
		snprintf(out, 256, "%s", text);
		return *text != '\0' && strlen(text) < 256 && value_is_printable(text);
	}
	return false;
}

// Telling, jobs thread

static int setting_tell(struct ext *x, const struct setting *s, bool only_check, struct err *e)
{
	const struct evs_property *p = policy_property(x, s->key);
	struct evs_port port = {.size = sizeof(port)};
	struct evs_why why = {.size = sizeof(why)};
	char value[256];

	if (p == NULL || p->scope != (s->port[0] != '\0' ? EVS_OF_PORT : EVS_OF_SWITCH))
		return err_set(e, -ENOENT,
			       "ext %s: has no property %s of a %s; 'ext policy show %s' lists them",
			       x->conf.name, s->key, s->port[0] != '\0' ? "port" : "switch", x->conf.name);
	if (s->is_set && !value_canonical(p, s->value, value))
		return err_set(e, -EINVAL, "ext %s: %s is no value of %s", x->conf.name, s->value, s->key);
	if (s->port[0] != '\0' && !ext_port_find(x, s->port, &port))
		return 0; // it is told when the port is
	if (x->is.property == NULL)
		return 0;
	blame_enter(BLAME_JOBS, x->index);
	int ret = x->is.property(x->self, s->port[0] != '\0' ? &port : NULL, s->key,
				 s->is_set ? value : p->def, only_check, &why);

	blame_leave(BLAME_JOBS);
	return ret == 0 ? 0 : ext_refusal(x, &why, "refuses the policy", e);
}

int policies_tell(struct ext *x, const struct policies *all, struct err *e)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (setting_tell(x, &all->list[i], false, e) < 0)
			return e->code;
	return 0;
}

// Lists, control thread

static bool setting_add(struct policies *all, const char *port, const char *key, const char *value)
{
	if (all->n == all->max) {
		uint32_t max = all->max > 0 ? 2 * all->max : 8;
		struct setting *list = realloc(all->list, max * sizeof(*list));

		if (list == NULL)
			return false;
		all->list = list;
		all->max = max;
	}
	struct setting *s = &all->list[all->n++];

	*s = (struct setting){.is_set = value != NULL};
	snprintf(s->port, sizeof(s->port), "%s", port != NULL ? port : "");
	snprintf(s->key, sizeof(s->key), "%s", key);
	snprintf(s->value, sizeof(s->value), "%s", value != NULL ? value : "");
	return true;
}

static const char *text_of(const json_t *conf, const char *key)
{
	return json_string_value(json_object_get(conf, key));
}

struct gathering {
	const char *ext;
	struct policies *all;
	bool failed;
};

static bool gather(const char *name, const json_t *conf, void *arg)
{
	struct gathering *g = arg;
	const char *key;
	json_t *value;

	(void)name;
	if (strcmp(text_of(conf, "ext"), g->ext) != 0)
		return true;
	json_object_foreach (json_object_get(conf, "values"), key, value)
		g->failed |= !setting_add(g->all, text_of(conf, "port"), key, json_string_value(value));
	return !g->failed;
}

struct policies *policies_now(const char *ext)
{
	struct gathering g = {ext, calloc(1, sizeof(*g.all)), false};

	if (g.all == NULL)
		return NULL;
	conf_each(NULL, "ext-policy", gather, &g);
	if (!g.failed)
		return g.all;
	policies_free(g.all);
	return NULL;
}

void policies_free(struct policies *all)
{
	if (all != NULL)
		free(all->list);
	free(all);
}

// Changes

static int key_check(const char *name, const char *key, const json_t *value, struct err *e)
{
	const char *text = json_string_value(value);

	if (!value_is_name(key))
		return err_add(e, -EINVAL, "ext-policy %s: %s is no name of a property", name, key);
	if (text == NULL || strlen(text) > 255)
		return err_add(e, -EINVAL, "ext-policy %s: the value of %s is no string of up to 255 bytes",
			       name, key);
	return 0;
}

int policy_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e)
{
	const json_t *values = json_object_get(conf, "values"),
		     *ext = conf_get(target, "ext", text_of(conf, "ext"));
	const json_t *port =
	    text_of(conf, "port") != NULL ? conf_get(target, "port", text_of(conf, "port")) : NULL;
	char wanted[POLICY_NAME_SIZE];
	const char *key;
	json_t *value;

	policy_name(text_of(conf, "ext"), text_of(conf, "port"), wanted);
	if (strcmp(wanted, name) != 0)
		err_add(e, -EINVAL, "ext-policy %s: is named after its extension and port: %s", name, wanted);
	if (!json_is_object(values))
		return err_add(e, -EINVAL, "ext-policy %s: values is no object", name);
	json_object_foreach ((json_t *)values, key, value)
		key_check(name, key, value, e);
	if (ext != NULL && port != NULL && strcmp(text_of(ext, "switch"), text_of(port, "switch")) != 0)
		err_add(e, -EINVAL, "ext-policy %s: the port is not on the extension's switch", name);
	return e->code;
}

struct edit {
	struct ext *x;
	struct policies *news;
	bool restore;
};

static int edit_check(void *arg, struct err *e)
{
	struct edit *d = arg;

	for (uint32_t i = 0; !d->restore && i < d->news->n && ext_is_callable(d->x); i++)
		if (setting_tell(d->x, &d->news->list[i], true, e) < 0)
			return e->code;
	return 0;
}

static void edit_free(void *arg)
{
	struct edit *d = arg;

	policies_free(d->news);
	free(d);
}

static void edit_work(void *arg)
{
	struct edit *d = arg;
	struct err e = {0};

	if (ext_is_callable(d->x) && policies_tell(d->x, d->news, &e) < 0)
		log_warn("%s", e.text);
}

// Behind all that the extension was told before; it is still there, as it is ended by a later job.
static void edit_close(void *arg)
{
	job_run("ext policy", edit_work, edit_free, arg);
}

// What differs between the two.
static bool news_fill(struct policies *news, const char *port, const json_t *old, const json_t *now)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)now, key, value) {
		const json_t *was = json_object_get(old, key);

		if ((was == NULL || !json_equal(was, value)) &&
		    !setting_add(news, port, key, json_string_value(value)))
			return false;
	}
	json_object_foreach ((json_t *)old, key, value)
		if (json_object_get(now, key) == NULL && !setting_add(news, port, key, NULL))
			return false;
	return true;
}

int policy_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e)
{
	const json_t *any = now != NULL ? now : old;
	struct ext *x = ext_find(text_of(any, "ext"));

	if (x == NULL)
		return 0; // it goes too
	struct edit *d = calloc(1, sizeof(*d));

	if (d != NULL)
		d->news = calloc(1, sizeof(*d->news));
	if (d == NULL || d->news == NULL ||
	    !news_fill(d->news, text_of(any, "port"), json_object_get(old, "values"),
		       json_object_get(now, "values"))) {
		if (d != NULL)
			edit_free(d);
		return err_set(e, -ENOMEM, "ext-policy %s: out of memory", name);
	}
	d->x = x;
	d->restore = change_is_restore(ch);
	change_undo(ch, edit_free, d);
	if (now != NULL)
		change_job(ch, edit_check, d);
	change_close(ch, edit_close, d);
	return 0;
}
