// Who gets more flows: tables that ask for it, as long as the sum stays within the budget. Control thread.
#include "flow_budget.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/err.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/timer.h"
#include "flow.h"
#include "flow_kind.h"
#include "port.h"

#define LOOK_US        10000
#define PORTS_PER_LOOK 512
#define MAX_AT_ONCE    16384 // flows; beyond, its index is made on the jobs thread

static uint32_t budget = 1u << 20;
static struct timer *timer;
static uint16_t next_port;
static bool growing; // one at a time

void flow_budget_set(uint32_t max)
{
	budget = max;
}

uint32_t flow_budget(void)
{
	return budget;
}

// Rooms beyond the first, which every queue has whether it is used or not.
static uint64_t given_sum(void)
{
	uint64_t sum = 0;

	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		const struct port *p = port_at(i);

		for (uint16_t q = 0; p != NULL && q < p->conf.n_queues; q++)
			sum += flow_size(p->rxqs[q].flows) - FLOW_FIRST;
	}
	return sum;
}

// Clearing a large index takes too long for the control thread.
struct growth {
	char port[PORT_NAME_SIZE];
	uint16_t queue;
	uint32_t size;
	struct flow_index *index;
};

static void growth_work(void *arg)
{
	struct growth *g = arg;

	g->index = flow_index_make(g->size);
}

static void growth_done(void *arg)
{
	struct growth *g = arg;
	const struct port *p =
	    port_find(g->port); // maybe another one of this name: then it is asked what it wants

	growing = false;
	if (g->index != NULL && p != NULL && g->queue < p->conf.n_queues)
		flow_grow(p->rxqs[g->queue].flows, g->size, g->index);
	else
		free(g->index);
	free(g);
}

static void growth_begin(const struct port *p, uint16_t queue, uint32_t size)
{
	struct growth *g = malloc(sizeof(*g));

	if (g == NULL)
		return; // with the next look
	*g = (struct growth){.queue = queue, .size = size};
	memcpy(g->port, p->conf.name, sizeof(g->port));
	growing = true;
	job_run("flow table", growth_work, growth_done, g);
}

static void look_at(const struct port *p, uint16_t queue)
{
	struct flow_table *t = p->rxqs[queue].flows;
	uint32_t size = flow_size(t) * 4;

	flow_tidy(t);
	if (!flow_grow_due(t) || given_sum() + size - size / 4 > budget)
		return;
	struct flow_index *x = size <= MAX_AT_ONCE ? flow_index_make(size) : NULL;

	if (x != NULL)
		flow_grow(t, size, x);
	else if (size > MAX_AT_ONCE && !growing)
		growth_begin(p, queue, size);
}

static void look(void *arg)
{
	(void)arg;
	for (int i = 0; i < PORTS_PER_LOOK; i++) {
		const struct port *p = port_at(next_port);

		next_port = (next_port + 1) % MAX_PORTS;
		for (uint16_t q = 0; p != NULL && q < p->conf.n_queues; q++)
			look_at(p, q);
	}
}

int flow_init(struct err *e)
{
	timer = timer_start("flow tables", LOOK_US, LOOK_US, look, NULL);
	return timer != NULL ? 0 : err_set(e, -ENOMEM, "flow: out of memory");
}

void flow_fini(void)
{
	timer_stop(timer);
	timer = NULL;
}
