// Control methods of VLAN modes.
#include <errno.h>

#include "ctrl/api/module.h"
#include "port.h"
#include "port_list.h"
#include "vlan_kind.h"

#define KEYS                                                                                              \
	{"mode", PARAM_ENUM, PARAM_REQUIRED,                                                              \
	 "untagged = no tags; access = one VLAN, seen untagged by the guest; "                            \
	 "trunk = several VLANs, tagged",                                                                 \
	 .values = "untagged|access|trunk"},                                                              \
	    {"vlan", PARAM_INT, 0, "access: the VLAN", .min = 1, .max = 4094},                            \
	    {"allowed", PARAM_VLANS, 0, "trunk: VLANs that pass, such as 10-20,30"},                      \
	    {"prune", PARAM_VLANS, 0, "trunk: VLANs that do not pass, whatever is allowed"},              \
	{                                                                                                 \
		"native", PARAM_INT, 0,                                                                   \
		    "trunk: the VLAN of untagged frames, 0 = they stay untagged; without it they do not " \
		    "pass",                                                                               \
		    .min = 0, .max = 4094                                                                 \
	}

static const struct param set_params[] = {
    {"port", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the port"}, KEYS, {0}};
static const struct param conf_params[] = {KEYS, {0}};
static const struct param show_params[] = {{"port", PARAM_NAME, PARAM_POSITIONAL, "only this port"}, {0}};
static const struct column show_columns[] = {{"port", "the port", NULL},
					     {"mode", "untagged, access or trunk", NULL},
					     {"vlan", "access: its VLAN", NULL},
					     {"native", "trunk: the VLAN of untagged frames", NULL},
					     {"allowed", "trunk: VLANs that pass", NULL},
					     {"prune", "trunk: VLANs that never pass", NULL},
					     {0}};
static const struct conf_ref refs[] = {{CONF_OWNER, "port", NULL}, {0}};
static const char *const not_conf[] = {"port", NULL};

// A mode is given whole: setting replaces what was there.
static int vlan_set(struct request *rq, struct err *e)
{
	const char *port = rq_str(rq, "port");

	if (conf_get(NULL, "port", port) == NULL)
		return err_set(e, -ENOENT, "port %s: no such port", port);
	struct change *ch = change_new(rq);

	change_put(ch, "vlan", port, rq_params(rq, not_conf));
	return change_submit(ch, e);
}

static void vlan_row(struct request *rq, const struct port *p, bool named)
{
	const json_t *conf = conf_get(NULL, "vlan", p->conf.name);
	json_t *row = conf != NULL ? json_copy((json_t *)conf) : json_object();

	(void)named;
	if (conf == NULL)
		json_object_set_new(row, "mode",
				    json_string(p->conf.type == PORT_UPLINK ? "trunk" : "untagged"));
	json_object_set_new(row, "port", json_string(p->conf.name));
	rq_row(rq, row);
}

static int vlan_show(struct request *rq, struct err *e)
{
	return port_list(rq, rq_str(rq, "port"), vlan_row, e);
}

static const struct method methods[] = {
    {"vlan.set", "set a port's VLAN mode", set_params, NULL, METHOD_WRITE, vlan_set},
    {"vlan.show", "list ports with their VLAN modes", show_params, show_columns, METHOD_READ, vlan_show},
    {0}};
static const struct conf_kind kinds[] = {
    {"vlan", "a port's VLAN mode", conf_params, refs, NULL, vlan_validate, vlan_open}, {0}};

const struct module vlan_module = {.name = "vlan", .methods = methods, .kinds = kinds};
