// Control methods of drops: how many packets of each port were dropped for which reason.
#include "ctrl/api/module.h"
#include "port.h"
#include "port_list.h"

static const struct param show_params[] = {
    {"port", PARAM_NAME, PARAM_POSITIONAL, "only packets that came from this port"}, {0}};
static const struct column show_columns[] = {{"port", "where the packets came from", NULL},
					     {"reason", "why they were dropped", NULL},
					     {"packets", "how many", "packets"},
					     {"stage", "where in the switch", NULL},
					     {"text", "the reason in words", NULL},
					     {0}};

static void port_drops(struct request *rq, const struct port *p, bool named)
{
	struct port_counters n;

	(void)named;
	port_counters_sum(p, &n);
	for (int d = 1; d < N_DROPS; d++)
		if (n.dropped[d] > 0)
			rq_row(rq, json_pack("{s:s, s:s, s:I, s:s, s:s}", "port", p->conf.name, "reason",
					     drop_name(d), "packets", (json_int_t)n.dropped[d], "stage",
					     drop_stage(d), "text", drop_text(d)));
}

static int drop_show(struct request *rq, struct err *e)
{
	return port_list(rq, rq_str(rq, "port"), port_drops, e);
}

static const struct method methods[] = {{"drop.show", "list dropped packets by port and reason", show_params,
					 show_columns, METHOD_READ, drop_show},
					{0}};

const struct module drop_module = {.name = "drop", .methods = methods};
