// Control methods of receive queues.
#include <errno.h>

#include "ctrl/api/module.h"
#include "flow.h"
#include "port_list.h"
#include "queue_kind.h"
#include "worker.h"

static const struct param set_params[] = {{"name", PARAM_STRING, PARAM_REQUIRED | PARAM_POSITIONAL,
					   "the queue: its port, a dot, its number, as vm1.0"},
					  {"worker", PARAM_INT, PARAM_REQUIRED | PARAM_CLEARS,
					   "who polls it; \"\" = it is no longer set by hand", .min = 0,
					   .max = MAX_WORKERS - 1},
					  {0}};
static const struct param conf_params[] = {
    {"port", PARAM_NAME, PARAM_REQUIRED, "the port that it belongs to"},
    {"worker", PARAM_INT, PARAM_REQUIRED, "who polls it, whenever there is such a worker", .min = 0,
     .max = MAX_WORKERS - 1},
    {0}};
static const struct param show_params[] = {{"port", PARAM_NAME, PARAM_POSITIONAL, "only queues of this port"},
					   {0}};
static const struct column show_columns[] = {{"name", "the queue", NULL},
					     {"port", "the port", NULL},
					     {"worker", "who polls it", NULL},
					     {"placed", "by hand or automatic", NULL},
					     {"packets", "packets received from it", "packets"},
					     {"flows", "compiled flows that it keeps", NULL},
					     {0}};
static const struct conf_ref refs[] = {{CONF_OWNER, "port", "port"}, {0}};

static int queue_set(struct request *rq, struct err *e)
{
	const char *name = rq_str(rq, "name");
	const struct rxq *q = queue_find(name);
	const struct worker *w = worker_at(rq_int(rq, "worker"));
	bool by_hand = json_is_integer(rq_get(rq, "worker"));

	if (q == NULL)
		return err_set(e, -ENOENT, "queue %s: no such queue; 'queue show' lists them", name);
	if (by_hand && (w == NULL || w->leaving))
		return err_set(e, -ENOENT, "queue %s: there is no worker %d; 'worker show' lists them", name,
			       (int)rq_int(rq, "worker"));
	struct change *ch = change_new(rq);

	if (by_hand)
		change_put(
		    ch, "queue", name,
		    json_pack("{s:s, s:O}", "port", q->port->conf.name, "worker", rq_get(rq, "worker")));
	else
		change_del(ch, "queue", name);
	return change_submit(ch, e);
}

static void port_rows(struct request *rq, const struct port *p, bool named)
{
	(void)named;
	for (uint16_t i = 0; i < p->conf.n_queues; i++) {
		const struct rxq *q = &p->rxqs[i];
		char name[QUEUE_NAME_SIZE];

		queue_name(q, name);
		rq_row(rq, json_pack("{s:s, s:s, s:i, s:s, s:I, s:I}", "name", name, "port", p->conf.name,
				     "worker", (int)q->worker, "placed",
				     conf_get(NULL, "queue", name) != NULL ? "by hand" : "automatic",
				     "packets", (json_int_t)__atomic_load_n(&q->packets, __ATOMIC_RELAXED),
				     "flows", (json_int_t)flow_count(q->flows)));
	}
}

static int queue_show(struct request *rq, struct err *e)
{
	return port_list(rq, rq_str(rq, "port"), port_rows, e);
}

static const struct method methods[] = {
    {"queue.set", "have a receive queue polled by another worker", set_params, NULL, METHOD_WRITE, queue_set},
    {"queue.show", "list receive queues with their workers", show_params, show_columns, METHOD_READ,
     queue_show},
    {0}};

static const struct conf_kind kinds[] = {{"queue", "a receive queue whose worker was set by hand",
					  conf_params, refs, NULL, queue_validate, queue_open, .stays = true},
					 {0}};

const struct module queue_module = {.name = "queue", .methods = methods, .kinds = kinds};
