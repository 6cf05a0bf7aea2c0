// Control methods of workers.
#include "ctrl/api/module.h"
#include "worker.h"

static const struct param add_params[] = {
    {"core", PARAM_INT, PARAM_REQUIRED, "its CPU, which nothing else should use", .min = 0, .max = 1023},
    {0}};
static const struct column add_columns[] = {
    {"worker", "index of the new one", NULL}, {"core", "the CPU it runs on", NULL}, {0}};
static const struct param del_params[] = {
    {"worker", PARAM_INT, PARAM_REQUIRED | PARAM_POSITIONAL, "its index", .min = 0, .max = MAX_WORKERS - 1},
    {0}};
static const struct column show_columns[] = {
    {"worker", "index", NULL},
    {"core", "the CPU it runs on", NULL},
    {"busy_cycles", "TSC of rounds that moved a packet", "cycles"},
    {"idle_cycles", "TSC of all other rounds, naps included", "cycles"},
    {"packets", "packets received by it", "packets"},
    {"queues", "receive queues that it polls", NULL},
    {0}};

static int worker_show(struct request *rq, struct err *e)
{
	const struct snap *s = snap_now();

	(void)e;
	for (uint16_t i = 0; i < workers_n(); i++) {
		const struct worker *w = worker_at(i);

		if (w == NULL)
			continue;
		rq_row(rq, json_pack("{s:i, s:i, s:I, s:I, s:I, s:i}", "worker", i, "core", w->core,
				     "busy_cycles",
				     (json_int_t)__atomic_load_n(&w->n.busy_cycles, __ATOMIC_RELAXED),
				     "idle_cycles",
				     (json_int_t)__atomic_load_n(&w->n.idle_cycles, __ATOMIC_RELAXED),
				     "packets", (json_int_t)__atomic_load_n(&w->n.packets, __ATOMIC_RELAXED),
				     "queues", (int)s->rxqs[i]->n));
	}
	return 0;
}

static int worker_add_call(struct request *rq, struct err *e)
{
	int index = worker_add(rq, rq_int(rq, "core"), e);

	if (index < 0)
		return index;
	rq_row(rq, json_pack("{s:i, s:i}", "worker", index, "core", (int)rq_int(rq, "core")));
	return 0;
}

static int worker_del_call(struct request *rq, struct err *e)
{
	return worker_del(rq, rq_int(rq, "worker"), e);
}

static const struct method methods[] = {
    {"worker.add", "start one more thread that moves packets, until it is deleted or evswitchd is restarted",
     add_params, add_columns, METHOD_WRITE, worker_add_call},
    {"worker.del", "end one of these threads; the others get its queues", del_params, NULL, METHOD_WRITE,
     worker_del_call},
    {"worker.show", "list the threads that move packets", NULL, show_columns, METHOD_READ, worker_show},
    {0}};

const struct module worker_module = {.name = "worker", .methods = methods};
