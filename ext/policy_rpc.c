// Control methods of extensions' properties, in the same module as those of extensions.
#include "policy_rpc.h"

#include <errno.h>
#include <string.h>

#include "load.h"
#include "policy.h"

static const char *text_of(const json_t *conf, const char *key)
{
	return json_string_value(json_object_get(conf, key));
}

static int names_check(const char *name, const char *port, struct err *e)
{
	if (conf_get(NULL, "ext", name) == NULL)
		return err_set(e, -ENOENT, "ext %s: no such extension", name);
	if (port != NULL && conf_get(NULL, "port", port) == NULL)
		return err_set(e, -ENOENT, "port %s: no such port", port);
	return 0;
}

// An empty value sets a property back.
int policy_set(struct request *rq, struct err *e)
{
	const char *name = rq_str(rq, "name"), *port = rq_str(rq, "port"), *key;
	char row[POLICY_NAME_SIZE];
	json_t *value;

	if (names_check(name, port, e) < 0)
		return e->code;
	if (!json_is_object(rq_get(rq, "values")))
		return err_set(e, -EINVAL, "ext %s: say which property, as KEY VALUE", name);
	policy_name(name, port, row);
	const json_t *now = conf_get(NULL, "ext-policy", row);
	json_t *values = now != NULL ? json_copy(json_object_get(now, "values")) : json_object();

	json_object_foreach ((json_t *)rq_get(rq, "values"), key, value) {
		if (json_is_string(value) && *json_string_value(value) == '\0')
			json_object_del(values, key);
		else
			json_object_set(values, key, value);
	}
	struct change *ch = change_new(rq);

	if (json_object_size(values) == 0)
		change_del(ch, "ext-policy", row);
	else
		change_put(ch, "ext-policy", row,
			   json_pack("{s:s, s:s*, s:O}", "ext", name, "port", port, "values", values));
	json_decref(values);
	return change_submit(ch, e);
}

static void described(struct request *rq, const struct ext *x)
{
	static const char *const types[] = {"", "bool", "int", "string", "enum", "rate", "address"};
	const struct evs_property *p = NULL;

	while ((p = policy_next(x, p)) != NULL)
		rq_row(rq,
		       json_pack("{s:s, s:s, s:s, s:s*, s:s, s:s*}", "name", x->conf.name, "property",
				 p->name, "of", p->scope == EVS_OF_PORT ? "port" : "switch", "value", p->def,
				 "type", p->type < sizeof(types) / sizeof(types[0]) ? types[p->type] : "",
				 "help", p->help));
}

struct showing {
	struct request *rq;
	const char *name, *port;
};

static bool set_row(const char *name, const json_t *conf, void *arg)
{
	const struct showing *s = arg;
	const char *port = text_of(conf, "port"), *key;
	json_t *value;

	(void)name;
	if ((s->name != NULL && strcmp(s->name, text_of(conf, "ext")) != 0) ||
	    (s->port != NULL && (port == NULL || strcmp(s->port, port) != 0)))
		return true;
	json_object_foreach (json_object_get(conf, "values"), key, value)
		rq_row(s->rq, json_pack("{s:s, s:s, s:s, s:s*, s:O, s:b}", "name", text_of(conf, "ext"),
					"property", key, "of", port != NULL ? "port" : "switch", "port", port,
					"value", value, "set", 1));
	return true;
}

// What may be set, with what it is otherwise, and what is set.
int policy_show(struct request *rq, struct err *e)
{
	struct showing s = {rq, rq_str(rq, "name"), rq_str(rq, "port")};

	if (s.name != NULL && names_check(s.name, s.port, e) < 0)
		return e->code;
	for (uint16_t i = 0; s.port == NULL && i < MAX_EXTS; i++) {
		const struct ext *x = ext_at(i);

		if (x != NULL && !x->leaving && ext_is_callable(x) &&
		    (s.name == NULL || strcmp(s.name, x->conf.name) == 0))
			described(rq, x);
	}
	conf_each(NULL, "ext-policy", set_row, &s);
	return 0;
}
