// event.watch: the events of this daemon, as they happen. Control thread.
#include "event.h"

static const struct param watch_params[] = {
    {.name = "kind", .type = PARAM_STRING, .help = "only events of this kind, such as port-up"},
    {.name = "object", .type = PARAM_STRING, .help = "only events of the object with this name"},
    {0},
};

static const struct column watch_columns[] = {
    {"time", "when it happened (UTC)", NULL},
    {"kind", "what happened, a stable word", NULL},
    {"object", "name of what it happened to", NULL},
    {"text", "what happened, for people", NULL},
    {0},
};

static int watch_call(struct request *rq, struct err *e)
{
	return event_watch(rq, rq_str(rq, "kind"), rq_str(rq, "object"), e);
}

static const struct method event_methods[] = {
    {.name = "event.watch",
     .help = "tell events as they happen, until interrupted",
     .params = watch_params,
     .columns = watch_columns,
     .flags = METHOD_STREAM,
     .call = watch_call},
    {0},
};

const struct module event_module = {.name = "event", .methods = event_methods};
