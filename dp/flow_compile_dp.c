// Compiling: what the walk has decided for a packet becomes a flow and its action, with all that the decision rests on.
//
// Behind a packet that no flow decided. Workers.
#include "flow_key.h"

#include <rte_common.h>

#include "fdb_ref.h"
#include "flow_end.h"
#include "worker.h"

static void dep_add(struct flow_action *a, uint16_t port, uint32_t version)
{
	a->dep_port[a->n_deps] = port;
	a->dep_version[a->n_deps++] = version;
}

// What the plan rests on. False: this decision cannot be kept.
static bool rests_on(const struct walk *k, struct flow_action *a, uint8_t *reads)
{
	const struct plan *plan = &k->plan;

	*reads = k->in->reads_in;
	a->max_payload = k->in->max_payload;
	dep_add(a, k->in->index, k->in->version);
	if (k->stopped)
		return true;
	// A flood rests on those that were left out as well.
	if (plan->flood || k->dst_key == 0) {
		dep_add(a, NO_PORT, k->sw->version);
		*reads |= k->sw->reads_out;
	}
	if (plan->flood)
		return true;
	for (uint8_t i = 0; i < plan->n_dests; i++) {
		const struct snap_port *dst = k->snap->ports[plan->dests[i].port];

		if (a->n_deps == FLOW_MAX_DEPS)
			return false;
		dep_add(a, dst->index, dst->version);
		a->max_payload = RTE_MIN(a->max_payload, dst->max_payload);
		*reads |= dst->reads_out;
	}
	return true;
}

static bool source_ref(const struct walk *k, const struct pkt *p, struct flow_action *a)
{
	struct fdb_ref ref;

	if (!k->learn)
		return true;
	if (fdb_lookup_ref(k->sw->fdb, k->learn_key, &ref) != p->src)
		return false;
	a->src_key = k->learn_key;
	a->src_slot = ref.slot;
	a->src_version = ref.version;
	return true;
}

// `a` is all 0, and so stays what the decision does not use: actions are compared by their bytes.
static void decision_write(const struct walk *k, struct flow_action *a)
{
	a->epoch = k->snap->epoch;
	a->fdb_gen = fdb_gen(k->sw->fdb) - 1; // its first packet looks at the entries
	if (k->dst_key != 0) {
		a->dst_key = k->dst_key;
		a->dst_slot = k->dst_ref.slot;
		a->dst_version = k->dst_ref.version;
	}
	if (k->missed) {
		a->missed = true;
		a->news = k->news;
	}
	a->plan.ops = k->plan.ops;
	a->plan.again = k->plan.again;
	a->plan.drop = k->plan.drop;
	a->plan.why = k->plan.why;
	a->plan.n_excluded = k->plan.n_excluded;
	a->plan.tells = k->plan.tells;
	a->plan.tell = k->plan.tell;
	a->plan.gives = k->plan.gives;
	if (k->plan.gives)
		a->plan.rewrite = k->plan.rewrite;
	a->plan.flood = k->plan.flood;
	if (k->plan.flood)
		return;
	a->plan.n_dests = k->plan.n_dests;
	for (uint8_t i = 0; i < k->plan.n_dests; i++) {
		a->plan.dests[i].port = k->plan.dests[i].port;
		a->plan.dests[i].tagged = k->plan.dests[i].tagged;
		a->plan.dests[i].tci = k->plan.dests[i].tci;
		a->plan.dests[i].ops = k->plan.dests[i].ops;
	}
}

static void keep(struct flow_table *t, const struct pkt *p, enum flow_shape shape,
		 const struct flow_action *like, uint32_t now_s)
{
	struct flow_key key;

	key_build(p, shape, &key);
	uint32_t number = flow_place(t, &key, key_hash(t, &key), now_s);

	if (number == 0)
		return;
	uint32_t action = action_place(t, like);

	uint64_t left = t->actions[t->flows[number].action].plan.tell & ~t->actions[action].plan.tell;

	if (unlikely(left != 0))
		flow_end_note(t, number, left);
	struct flow_side *s = &t->sides[number];

	flow_change_begin(s);
	action_set(t, number, action);
	if (unlikely(
		like->plan.tells)) { // who is told of it is told of this packet too, which it did not decide
		s->packets_sum++;
		s->bytes_sum += p->len;
		flow_end_flags(s, p, 1);
	}
	flow_change_end(s);
}

void flow_compile(struct worker *w, struct flow_table *t, const struct pkt *p)
{
	const struct walk *k = &w->walk;
	struct flow_action a;
	uint8_t reads;

	memset(&a, 0, sizeof(a));
	if ((k->plan.drop != DROP_NONE && k->plan.drop != DROP_EXTENSION) || k->per_packet ||
	    !rests_on(k, &a, &reads) || !source_ref(k, p, &a))
		return;
	enum flow_shape first = shape_of(k->in->reads_in), shape = shape_of(reads);

	a.vid = p->vid;
	a.escape = shape == FLOW_L2 ? 0 : FLOW_ESCAPE_L3;
	if (p->flags & a.escape)
		return;
	if (shape != first) {
		struct flow_action again;

		memset(&again, 0, sizeof(again));
		again.again = shape;
		keep(t, p, first, &again, w->now_s);
	}
	decision_write(k, &a);
	keep(t, p, shape, &a, w->now_s);
}
