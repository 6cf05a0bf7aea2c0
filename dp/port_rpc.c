// Control methods of ports.
#include "ctrl/api/module.h"
#include "offload.h"
#include "port_hold.h"
#include "port_kind.h"
#include "port_list.h"
#include "save.h"

#define TYPE_VALUES "guest|uplink|host"
#define KEYS(required, def_)                                                                               \
	{"switch", PARAM_NAME, required, "the switch it is attached to"},                                  \
	    {"type", PARAM_ENUM, required,                                                                 \
	     "guest = a VM or container; uplink = a NIC; host = an interface of this host",                \
	     .values = TYPE_VALUES},                                                                       \
	    {"socket", PARAM_PATH, PARAM_CLEARS | PARAM_HERE, "guest: the vhost-user socket"},             \
	    {"mode", PARAM_ENUM, PARAM_CLEARS | PARAM_HERE,                                                \
	     "guest: what evswitchd is on that socket; client if absent", .values = "client|server"},      \
	    {"datapath", PARAM_ENUM, PARAM_CLEARS | PARAM_HERE,                                            \
	     "guest by a socket: whose code processes its rings; own if absent", .values = "own|library"}, \
	    {"device", PARAM_STRING, PARAM_CLEARS | PARAM_HERE,                                            \
	     "guest or uplink: a DPDK device, such as net_af_packet0,iface=eth1"},                         \
	    {"ifname", PARAM_NAME, PARAM_CLEARS | PARAM_HERE, "host: name of the interface that is made"}, \
	    {"queues", PARAM_INT, 0, "queue pairs", .def = def_(1), .min = 1, .max = MAX_QUEUES},          \
	    {"mac", PARAM_MAC, PARAM_CLEARS,                                                               \
	     "its own address: no other source passes, and no unknown unicast reaches it"},                \
	    {"mtu",                                                                                        \
	     PARAM_INT,                                                                                    \
	     0,                                                                                            \
	     "largest packet behind the Ethernet header",                                                  \
	     .def = def_(1500),                                                                            \
	     .unit = "bytes",                                                                              \
	     .min = 576,                                                                                   \
	     .max = FRAME_MAX_MTU},                                                                        \
	    {"await-state",                                                                                \
	     PARAM_INT,                                                                                    \
	     PARAM_CLEARS | PARAM_HERE,                                                                    \
	     "no frame passes until its state is imported, or so long after its guest has started",        \
	     .unit = "s",                                                                                  \
	     .min = 1,                                                                                     \
	     .max = 3600},                                                                                 \
	    {"vm", PARAM_NAME, PARAM_CLEARS | PARAM_HERE, "name of the VM it belongs to"},                 \
	{                                                                                                  \
		"bypass", PARAM_STRING, PARAM_CLEARS | PARAM_HERE,                                         \
		    "guest: a NIC's function (INTERFACE/NUMBER) that it may use while no policy forbids"   \
	}
#define DEF(v)    #v
#define NO_DEF(v) NULL
#define NAME(flags, help)                                            \
	{                                                            \
		"name", PARAM_NAME, PARAM_POSITIONAL | (flags), help \
	}

static const struct param add_params[] = {
    NAME(PARAM_REQUIRED, "name of the new port"), KEYS(PARAM_REQUIRED, DEF), {0}};
static const struct param conf_params[] = {KEYS(PARAM_REQUIRED, DEF), {0}};
static const struct param set_params[] = {NAME(PARAM_REQUIRED, "the port"), KEYS(0, NO_DEF), {0}};
static const struct param del_params[] = {NAME(PARAM_REQUIRED, "the port"), {0}};
static const struct param show_params[] = {NAME(0, "only this port, with its driver's figures"), {0}};

static const struct column show_columns[] = {
    {"name", "the port", NULL},
    {"switch", "its switch", NULL},
    {"type", "guest, uplink or host", NULL},
    {"state", "opening, waiting, up or failed", NULL},
    {"why", "what it waits for, or what is wrong", NULL},
    {"rx_packets", "frames that came from it", "packets"},
    {"tx_packets", "frames that were delivered to it", "packets"},
    {"rx_bytes", "bytes that came from it", "bytes"},
    {"tx_bytes", "bytes that were delivered to it", "bytes"},
    {"dropped", "frames from it that were dropped; see drop show", "packets"},
    {"detail", "configuration, accounting and driver's figures, when one port is named", NULL},
    {0}};

static const struct conf_ref refs[] = {{CONF_NEEDS, "switch", "switch"}, {0}};
static const char *const not_conf[] = {"name", NULL};
static const char *const unique[] = {"socket", "device", "ifname", "switch mac", NULL};

static int port_add(struct request *rq, struct err *e)
{
	return conf_add(rq, "port", rq_str(rq, "name"), rq_params(rq, not_conf), e);
}

static int port_set(struct request *rq, struct err *e)
{
	return conf_set(rq, "port", rq_str(rq, "name"), rq_params(rq, not_conf), e);
}

static int port_del(struct request *rq, struct err *e)
{
	return conf_del(rq, "port", rq_str(rq, "name"), e);
}

static uint64_t drops_sum(const struct port_counters *n)
{
	uint64_t sum = 0;

	for (int d = 0; d < N_DROPS; d++)
		sum += n->dropped[d];
	return sum;
}

// Everything about one port: its conf, the terms of the accounting identity, what the driver knows.
static json_t *detail(const struct port *p, const struct port_counters *n)
{
	json_t *out = json_deep_copy(conf_get(NULL, "port", p->conf.name));
	json_t *driver = json_object();

	if (p->driver->stats != NULL && p->open)
		p->driver->stats(p, driver);
	json_object_set_new(out, "driver", json_string(p->driver->name));
	json_object_set_new(out, p->driver->name, driver);
	if (p->bypass != NULL)
		json_object_set_new(out, "bypass", bypass_show(p));
	json_object_set_new(out, "offloads", offload_names(atomic_load(&p->live.offloads)));
	json_object_set_new(out, "accounting",
			    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "received", (json_int_t)n->rx_packets,
				      "made", (json_int_t)n->made, "delivered", (json_int_t)n->delivered,
				      "consumed", (json_int_t)n->consumed, "dropped",
				      (json_int_t)drops_sum(n), "held",
				      (json_int_t)(n->held_in - n->held_out)));
	return out;
}

static void port_row(struct request *rq, const struct port *p, bool named)
{
	const json_t *conf = conf_get(NULL, "port", p->conf.name);
	struct port_counters n;
	char why[512];

	port_counters_sum(p, &n);
	json_t *row = json_pack(
	    "{s:s, s:O, s:O, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "name", p->conf.name, "switch",
	    json_object_get(conf, "switch"), "type", json_object_get(conf, "type"), "state",
	    port_state_name(port_hold_state(p, why, sizeof(why))), "why", why, "rx_packets",
	    (json_int_t)n.rx_packets, "tx_packets", (json_int_t)n.tx_packets, "rx_bytes",
	    (json_int_t)n.rx_bytes, "tx_bytes", (json_int_t)n.tx_bytes, "dropped", (json_int_t)drops_sum(&n));

	if (named)
		json_object_set_new(row, "detail", detail(p, &n));
	rq_row(rq, row);
}

static int port_show(struct request *rq, struct err *e)
{
	return port_list(rq, rq_str(rq, "name"), port_row, e);
}

static const struct method methods[] = {
    {"port.add", "attach a guest, a NIC or this host to a switch", add_params, NULL, METHOD_WRITE, port_add},
    {"port.set", "change a port's settings", set_params, NULL, METHOD_WRITE, port_set},
    {"port.del", "remove a port", del_params, NULL, METHOD_WRITE, port_del},
    {"port.show", "list ports with their state and counters", show_params, show_columns, METHOD_READ,
     port_show},
    {0}};

static const struct conf_kind kinds[] = {
    {"port", "a port", conf_params, refs, unique, port_validate, port_open}, {0}};

const struct module port_module = {.name = "port",
				   .methods = methods,
				   .kinds = kinds,
				   .save = port_save,
				   .check = port_check,
				   .restore = port_restore,
				   .saved_last = true};
