// Control methods of workers.
#include "ctrl/api/module.h"
#include "worker.h"

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

static const struct method methods[] = {
    {"worker.show", "list the threads that move packets", NULL, show_columns, METHOD_READ, worker_show}, {0}};

const struct module worker_module = {.name = "worker", .methods = methods};
