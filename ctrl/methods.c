// All modules' methods in one sorted array, with those that came later, and system.methods. Control thread.
#include "methods.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "nearest.h"

static const struct method **registry; // sorted by name
static size_t n_methods;
static const struct module *const *modules_of; // whose methods stay

static int by_name(const void *a, const void *b)
{
	const struct method *const *m = a, *const *n = b;

	return strcmp((*m)->name, (*n)->name);
}

static size_t methods_count(const struct module *const *list)
{
	size_t n = 0;

	for (; *list; list++)
		for (const struct method *m = (*list)->methods; m && m->name; m++)
			n++;
	return n;
}

static int param_check(const struct method *m, const struct param *p, struct err *e)
{
	struct err refusal = {0};

	if (p->type == PARAM_ENUM && !p->values)
		return err_set(e, -EINVAL, "method %s: parameter %s has no values", m->name, p->name);
	if ((p->flags & PARAM_FLAG) && p->type != PARAM_BOOL)
		return err_set(e, -EINVAL, "method %s: parameter %s is a flag, but not a bool", m->name,
			       p->name);
	if (!p->def || p->type == PARAM_JSON)
		return 0;
	json_t *def = json_string(p->def), *v = decode_value(p, def, &refusal);
	json_decref(def);
	json_decref(v);
	if (!v)
		return err_set(e, -EINVAL, "method %s: its own default: %s", m->name, refusal.text);
	return 0;
}

static int method_check(const struct method *m, struct err *e)
{
	int rc = 0;

	for (const struct param *p = m->params; p && p->name && rc == 0; p++)
		rc = param_check(m, p, e);
	if (rc == 0 && (!strchr(m->name, '.') || !m->call || !m->help))
		rc = err_set(e, -EINVAL, "method %s: needs a name object.verb, a help line and a handler",
			     m->name);
	return rc;
}

int methods_init(const struct module *const *list, struct err *e)
{
	registry = calloc(methods_count(list) + 1, sizeof(*registry));
	if (!registry)
		return err_set(e, -ENOMEM, "methods: out of memory");
	n_methods = 0;
	modules_of = list;
	for (; *list; list++)
		for (const struct method *m = (*list)->methods; m && m->name; m++) {
			int rc = method_check(m, e);
			if (rc) {
				methods_fini();
				return rc;
			}
			registry[n_methods++] = m;
		}
	qsort(registry, n_methods, sizeof(*registry), by_name);
	for (size_t i = 1; i < n_methods; i++)
		if (strcmp(registry[i - 1]->name, registry[i]->name) == 0) {
			err_set(e, -EEXIST, "method %s: is there twice", registry[i]->name);
			methods_fini();
			return -EEXIST;
		}
	return 0;
}

void methods_fini(void)
{
	free(registry);
	registry = NULL;
	modules_of = NULL;
	n_methods = 0;
}

static bool is_of(const struct method *m, const char *object)
{
	size_t len = strlen(object);

	return strncmp(m->name, object, len) == 0 && m->name[len] == '.';
}

bool methods_are_static(const char *object)
{
	for (const struct module *const *list = modules_of; list && *list; list++)
		for (const struct method *m = (*list)->methods; m && m->name; m++)
			if (is_of(m, object))
				return true;
	return false;
}

static int addition_check(const struct method *m, struct err *e)
{
	int len = (int)strcspn(m->name, ".");

	for (size_t i = 0; i < n_methods; i++)
		if (strncmp(registry[i]->name, m->name, (size_t)len + 1) == 0)
			return err_set(e, -EEXIST, "object %.*s: has methods already", len, m->name);
	return method_check(m, e);
}

int methods_add(const struct method *table, struct err *e)
{
	size_t n = 0;

	for (; table[n].name; n++)
		if (addition_check(&table[n], e) < 0)
			return e->code;
	const struct method **more = realloc(registry, (n_methods + n + 1) * sizeof(*registry));

	if (!more)
		return err_set(e, -ENOMEM, "methods: out of memory");
	registry = more;
	for (size_t i = 0; i < n; i++)
		registry[n_methods++] = &table[i];
	qsort(registry, n_methods, sizeof(*registry), by_name);
	return 0;
}

void methods_del(const struct method *table)
{
	for (const struct method *m = table; m->name; m++) {
		size_t kept = 0;

		for (size_t i = 0; i < n_methods; i++)
			if (registry[i] != m)
				registry[kept++] = registry[i];
		n_methods = kept;
	}
}

const struct method *methods_find(const char *name)
{
	const struct method key = {.name = name}, *k = &key;
	const struct method **found =
	    n_methods ? bsearch(&k, registry, n_methods, sizeof(*registry), by_name) : NULL;

	return found ? *found : NULL;
}

const struct method *methods_nearest(const char *name)
{
	const struct method *best = NULL;
	unsigned best_rank = UINT_MAX;

	for (size_t i = 0; i < n_methods; i++) {
		unsigned rank = nearest_rank(name, registry[i]->name);
		if (rank < best_rank) {
			best_rank = rank;
			best = registry[i];
		}
	}
	return best;
}

static json_t *words_describe(const char *words)
{
	json_t *list = json_array();

	for (const char *end;; words = end + 1) {
		end = strchrnul(words, '|');
		json_array_append_new(list, json_stringn(words, (size_t)(end - words)));
		if (!*end)
			return list;
	}
}

static json_t *param_describe(const struct param *p)
{
	json_t *o =
	    json_pack("{ss ss ss sb sb sb sb ss* ss*}", "name", p->name, "type", decode_type_name(p->type),
		      "help", p->help, "required", !!(p->flags & PARAM_REQUIRED), "positional",
		      !!(p->flags & PARAM_POSITIONAL), "flag", !!(p->flags & PARAM_FLAG), "clears",
		      !!(p->flags & PARAM_CLEARS), "default", p->def, "unit", p->unit);

	if (p->min || p->max) {
		json_object_set_new(o, "min", json_integer(p->min));
		json_object_set_new(o, "max", json_integer(p->max));
	}
	if (p->type == PARAM_ENUM || p->type == PARAM_BOOL)
		json_object_set_new(o, "values",
				    words_describe(p->type == PARAM_BOOL ? "on|off" : p->values));
	if (p->flags & PARAM_REST)
		json_object_set_new(o, "rest", json_true());
	if (p->type == PARAM_OUTPUT && p->flags & PARAM_LIVE)
		json_object_set_new(o, "live", json_true());
	if (p->type == PARAM_OUTPUT && p->values)
		json_object_set_new(o, "count", json_string(p->values));
	return o;
}

static json_t *method_describe(const struct method *m)
{
	json_t *params = json_array(), *columns = m->columns ? json_array() : NULL;

	for (const struct param *p = m->params; p && p->name; p++)
		json_array_append_new(params, param_describe(p));
	for (const struct column *c = m->columns; c && c->name; c++)
		json_array_append_new(
		    columns, json_pack("{ss ss ss*}", "name", c->name, "help", c->help, "unit", c->unit));
	return json_pack("{ss ss sb sb so so*}", "name", m->name, "help", m->help, "write",
			 !!(m->flags & METHOD_WRITE), "stream", !!(m->flags & METHOD_STREAM), "params",
			 params, "columns", columns);
}

json_t *methods_describe(const char *object)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n_methods; i++)
		if (!object || is_of(registry[i], object))
			json_array_append_new(list, method_describe(registry[i]));
	return json_pack("{so}", "methods", list);
}

static int methods_call(struct request *rq, struct err *e)
{
	(void)e;
	rq_result(rq, methods_describe(rq_str(rq, "object")));
	return 0;
}

static const struct param methods_params[] = {
    {.name = "object", .type = PARAM_NAME, .flags = PARAM_POSITIONAL, .help = "only this object's methods"},
    {0},
};

static const struct method methods_methods[] = {
    {.name = "system.methods",
     .help = "describe all methods with their parameters and columns",
     .params = methods_params,
     .call = methods_call},
    {0},
};

const struct module methods_module = {.name = "methods", .methods = methods_methods};
