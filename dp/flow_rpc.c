// Control methods of compiled flows. Every packet takes the walk: there are none to list.
#include "ctrl/api/module.h"

static const struct column show_columns[] = {{"port", "receiving port", NULL},
					     {"flow", "what the packets of the flow have in common", NULL},
					     {"verdict", "what happens with them", NULL},
					     {"packets", "packets that it decided", "packets"},
					     {"bytes", "their bytes", "bytes"},
					     {0}};

static int flow_show(struct request *rq, struct err *e)
{
	(void)rq;
	(void)e;
	return 0;
}

static const struct method methods[] = {
    {"flow.show", "list compiled flows", NULL, show_columns, METHOD_READ, flow_show}, {0}};

const struct module flow_module = {.name = "flow", .methods = methods};
