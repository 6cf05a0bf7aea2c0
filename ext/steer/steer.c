// steer: a forward extension that sends packets to ports by rules, and leaves all others to the switch.
//
// A rule names ports, and ports are numbers that come and go: each step of a port's life is looked up in the rules, and if
// a rule now means something else, the answers that were given are taken back. What no rule fits is forwarded by its
// address as without the extension. A rule none of whose ports is connected drops, unless it says otherwise: packets that
// were meant for one place are not shown to all.
//
// It keeps nothing of packets, so there is nothing to save: whoever takes its place is told of the ports and has its own
// configuration. The functions stand in the order in which they are called; who calls them is said in the header.
#include <evswitch/extension.h>

#include <stdlib.h>
#include <string.h>

#include "rules.h"

struct steer {
	const struct evs_host *host;
	struct evs_instance *instance;
	struct rules *rules;
};

enum reason { RULE_SAYS_SO, PORTS_ABSENT };

static const char *const reasons[] = {
    [RULE_SAYS_SO] = "a rule says so", [PORTS_ABSENT] = "no port of its rule is connected", NULL};

static int create(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		  struct evs_why *why)
{
	struct steer *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -1;
	*s = (struct steer){.host = host, .instance = i, .rules = rules_create(config, why)};
	if (s->rules == NULL) {
		free(s);
		return -1;
	}
	*self = s;
	return 0;
}

static void destroy(void *self)
{
	struct steer *s = self;

	rules_destroy(s->rules);
	free(s);
}

// Whether this changed anything.
static bool port_put(struct rule_port *p, uint32_t step, const struct evs_port *port)
{
	uint32_t id = step == EVS_PORT_DELETE ? EVS_NO_PORT : port->id;
	bool connected = port->connected && step != EVS_PORT_DELETE;

	if (p->name == NULL || strcmp(p->name, port->name) != 0)
		return false;
	bool same = atomic_load(&p->id) == id && atomic_load(&p->connected) == connected;

	atomic_store(&p->id, id);
	atomic_store(&p->connected, connected);
	return !same;
}

// Nothing is refused: a rule may name ports that come later.
static int port_step(void *self, uint32_t step, const struct evs_port *port, struct evs_why *why)
{
	struct steer *s = self;
	bool changed = false;

	(void)why;
	if (port->validates)
		return 0;
	for (uint32_t i = 0; i < s->rules->n; i++) {
		struct rule *r = &s->rules->list[i];

		changed |= port_put(&r->from, step, port);
		for (uint32_t j = 0; j < r->n_ports; j++)
			changed |= port_put(&r->ports[j], step, port);
	}
	if (changed)
		s->host->revoke(s->instance, EVS_NO_PORT);
	return 0;
}

static void place(enum rule_to to, enum reason why, struct evs_answer *a)
{
	if (to == TO_DROP) {
		a->verdict = EVS_DROP;
		a->reason = why;
	}
	a->chosen = a->flood = to == TO_FLOOD;
}

static void flow_in(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	const struct steer *s = self;
	const struct rule *r = rules_find(s->rules, f);

	(void)call;
	if (r == NULL)
		return;
	if (r->to != TO_PORTS) {
		place(r->to, RULE_SAYS_SO, a);
		return;
	}
	for (uint32_t i = 0; i < r->n_ports; i++)
		if (atomic_load_explicit(&r->ports[i].connected, memory_order_relaxed))
			a->destinations[a->n_destinations++] =
			    atomic_load_explicit(&r->ports[i].id, memory_order_relaxed);
	a->chosen = a->n_destinations > 0;
	if (!a->chosen)
		place(r->absent, PORTS_ABSENT, a);
}

EVS_EXTENSION(.name = "steer", .version = "1.0", .id = "b7a3b7f4-0c35-4a4e-8f1c-6b1f5f0e8d21",
	      .kind = EVS_FORWARD, .reads = EVS_READ_IP, .reasons = reasons, .create = create,
	      .destroy = destroy, .port = port_step, .flow_in = flow_in);
