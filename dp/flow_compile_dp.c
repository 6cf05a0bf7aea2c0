// Compiling: what the walk has decided for a packet becomes a flow, with all that the decision rests on.
//
// Behind a packet that no flow decided. Workers.
#include "flow_key.h"

#include <rte_common.h>

#include "worker.h"

static void dep_add(struct flow *f, uint16_t port, uint32_t version)
{
	f->dep_port[f->n_deps] = port;
	f->dep_version[f->n_deps++] = version;
}

// What the plan rests on. False: this decision cannot be kept.
static bool rests_on(const struct walk *k, struct flow *f, uint8_t *reads)
{
	const struct plan *plan = &k->plan;

	*reads = k->in->reads_in;
	f->n_deps = 0;
	f->max_payload = k->in->max_payload;
	dep_add(f, k->in->index, k->in->version);
	// A flood rests on those that were left out as well.
	if (plan->flood || k->dst_key == 0) {
		dep_add(f, NO_PORT, k->sw->version);
		*reads |= k->sw->reads_out;
	}
	if (plan->flood)
		return true;
	for (uint8_t i = 0; i < plan->n_dests; i++) {
		const struct snap_port *dst = k->snap->ports[plan->dests[i].port];

		if (f->n_deps == FLOW_MAX_DEPS)
			return false;
		dep_add(f, dst->index, dst->version);
		f->max_payload = RTE_MIN(f->max_payload, dst->max_payload);
		*reads |= dst->reads_out;
	}
	return true;
}

static bool source_ref(const struct walk *k, const struct pkt *p, struct flow *f)
{
	f->src_key = k->plan.learn ? k->plan.learn_key : 0;
	return f->src_key == 0 || fdb_lookup_ref(k->sw->fdb, f->src_key, &f->src_ref) == p->src;
}

// `from` has what rests_on(), source_ref() and flow_compile() found out.
static void flow_write(struct flow *f, const struct walk *k, const struct flow_key *key,
		       const struct flow *from)
{
	flow_change_begin(f);
	memcpy(f->key, key->w, sizeof(f->key));
	f->key_tail = key->tail;
	f->epoch = k->snap->epoch;
	f->max_payload = from->max_payload;
	f->src_key = from->src_key;
	f->src_ref = from->src_ref;
	f->dst_key = k->dst_key;
	f->dst_ref = k->dst_ref;
	f->news = k->news;
	f->missed = k->missed;
	f->vid = from->vid;
	f->escape = from->escape;
	f->n_deps = from->n_deps;
	memcpy(f->dep_port, from->dep_port, sizeof(f->dep_port));
	memcpy(f->dep_version, from->dep_version, sizeof(f->dep_version));
	f->plan = k->plan;
	f->plan.learn = false; // the reference to the source's entry does that
	flow_change_end(f);
}

static void place_again(struct flow_table *t, const struct walk *k, const struct pkt *p,
			enum flow_shape shape, uint32_t now_s)
{
	struct flow_key key;

	key_build(p, shape_of(k->in->reads_in), &key);
	uint32_t number = flow_place(t, &key, key_hash(t, &key), now_s);

	if (number != 0)
		t->flows[number].again = shape;
}

void flow_compile(struct worker *w, struct flow_table *t, const struct pkt *p)
{
	struct walk *k = &w->walk;
	struct flow f;
	struct flow_key key;
	uint8_t reads;

	if (k->plan.drop != DROP_NONE || k->per_packet || !rests_on(k, &f, &reads) || !source_ref(k, p, &f))
		return;
	enum flow_shape shape = shape_of(reads);

	f.vid = p->vid;
	f.escape = shape == FLOW_L2 ? 0 : FLOW_ESCAPE_L3;
	if (p->flags & f.escape)
		return;
	if (shape != shape_of(k->in->reads_in))
		place_again(t, k, p, shape, w->now_s);
	key_build(p, shape, &key);
	uint32_t number = flow_place(t, &key, key_hash(t, &key), w->now_s);

	if (number != 0)
		flow_write(&t->flows[number], k, &key, &f);
}
