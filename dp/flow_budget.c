// Who gets more flows: tables that ask for it, as long as the sum stays within the budget. Control thread.
#include "flow_budget.h"

#include <errno.h>
#include <stddef.h>

#include "ctrl/api/err.h"
#include "ctrl/api/timer.h"
#include "flow.h"
#include "flow_kind.h"
#include "port.h"

#define LOOK_US        10000
#define PORTS_PER_LOOK 512

static uint32_t budget = 1u << 20;
static struct timer *timer;
static uint16_t next_port;

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

static void look_at(struct flow_table *t)
{
	flow_tidy(t);
	if (flow_grow_due(t) && given_sum() + 3ull * flow_size(t) <= budget)
		flow_grow(t);
}

static void look(void *arg)
{
	(void)arg;
	for (int i = 0; i < PORTS_PER_LOOK; i++) {
		const struct port *p = port_at(next_port);

		next_port = (next_port + 1) % MAX_PORTS;
		for (uint16_t q = 0; p != NULL && q < p->conf.n_queues; q++)
			look_at(p->rxqs[q].flows);
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
