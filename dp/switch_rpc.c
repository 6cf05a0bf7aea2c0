// Control methods of switches.
#include <string.h>

#include "ctrl/api/module.h"
#include "switch.h"
#include "switch_kind.h"

#define KIND                                                                            \
	{                                                                               \
		"kind", PARAM_ENUM, PARAM_REQUIRED,                                     \
		    "what may be attached: external = guests, host vNICs and uplinks; " \
		    "internal = no uplinks; private = guests only",                     \
		    .values = "external|internal|private"                               \
	}
#define BANDWIDTH_MODE                                                                      \
	{                                                                                   \
		"bandwidth-mode", PARAM_ENUM, 0,                                            \
		    "how minimum bandwidth is given to vNICs; fixed for the switch's life", \
		    .def = "default", .values = "weight|absolute|default|none"              \
	}

static const struct param name_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the switch"}, {0}};
static const struct param add_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "name of the new switch"},
    KIND,
    BANDWIDTH_MODE,
    {0}};
static const struct param conf_params[] = {KIND, BANDWIDTH_MODE, {0}};
static const struct param show_params[] = {{"name", PARAM_NAME, PARAM_POSITIONAL, "only this switch"}, {0}};
static const struct column show_columns[] = {
    {"name", "the switch", NULL},
    {"kind", "external, internal or private", NULL},
    {"bandwidth-mode", "how minimum bandwidth is given", NULL},
    {"ports", "ports attached to it", NULL},
    {"fdb-entries", "addresses known", NULL},
    {"fdb-static", "of them static", NULL},
    {"moves-refused", "moves of an address that were one too many", NULL},
    {"evicted", "addresses that gave way to others when the table was full", NULL},
    {0}};
static const char *const not_conf[] = {"name", NULL};

static int switch_add(struct request *rq, struct err *e)
{
	return conf_add(rq, "switch", rq_str(rq, "name"), rq_params(rq, not_conf), e);
}

static int switch_del(struct request *rq, struct err *e)
{
	return conf_del(rq, "switch", rq_str(rq, "name"), e);
}

static void count_ports(uint16_t n[MAX_SWITCHES])
{
	memset(n, 0, MAX_SWITCHES * sizeof(*n));
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		const struct port *p = port_at(i);

		if (p != NULL && !p->leaving)
			n[p->switch_index]++;
	}
}

static int switch_show(struct request *rq, struct err *e)
{
	const char *name = rq_str(rq, "name");
	uint16_t n_ports[MAX_SWITCHES];

	if (name != NULL && switch_find(name) == NULL)
		return err_set(e, -ENOENT, "switch %s: no such switch", name);
	count_ports(n_ports);
	for (uint16_t i = 0; i < MAX_SWITCHES; i++) {
		struct vswitch *vs = switch_at(i);
		struct fdb_stats f;

		if (vs == NULL || vs->leaving || (name != NULL && strcmp(name, vs->name) != 0))
			continue;
		const json_t *conf = conf_get(NULL, "switch", vs->name);

		fdb_stats(vs->fdb, &f);
		rq_row(rq, json_pack("{s:s, s:O, s:O, s:i, s:I, s:I, s:I, s:I}", "name", vs->name, "kind",
				     json_object_get(conf, "kind"), "bandwidth-mode",
				     json_object_get(conf, "bandwidth-mode"), "ports",
				     (int)n_ports[vs->index], "fdb-entries", (json_int_t)f.n_entries,
				     "fdb-static", (json_int_t)f.n_static, "moves-refused",
				     (json_int_t)f.moves_refused, "evicted", (json_int_t)f.evicted));
	}
	return 0;
}

static const struct method methods[] = {
    {"switch.add", "make a switch", add_params, NULL, METHOD_WRITE, switch_add},
    {"switch.del", "delete a switch that has no ports", name_params, NULL, METHOD_WRITE, switch_del},
    {"switch.show", "list switches", show_params, show_columns, METHOD_READ, switch_show},
    {0}};

static const struct conf_kind kinds[] = {
    {"switch", "a switch", conf_params, NULL, NULL, switch_validate, switch_open}, {0}};

const struct module switch_module = {
    .name = "switch", .init = switch_init, .fini = switch_fini, .methods = methods, .kinds = kinds};
