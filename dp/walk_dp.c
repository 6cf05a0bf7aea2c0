// The walk: runs a packet through the stages of its port and of its destinations, and writes the plan.
//
// The ingress half is the source port's list of steps, then learning and forwarding; the egress half is each
// candidate's list of steps. Nothing is sent, counted or learned here. Workers, and traces.
#include "walk.h"

#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_ether.h>

#include "worker.h"

static __attribute__((noinline, cold)) void note_take(struct trace *t, const struct trace_note *n)
{
	if (t->n == TRACE_NOTES)
		t->n_left_out++;
	else
		t->notes[t->n++] = *n;
}

// Traces only: a packet's walk pays one test.
static inline __attribute__((always_inline)) void note(struct walk *k, enum stage stage, const char *step,
						       uint16_t port, enum drop drop, const struct dest *d,
						       uint16_t vid)
{
	if (unlikely(k->trace != NULL)) {
		struct trace_note n = {
		    .stage = stage, .step = step, .port = port, .drop = drop, .why = k->plan.why, .vid = vid};

		if (d != NULL)
			n.dest = *d;
		note_take(k->trace, &n);
	}
}

static enum drop ingress(struct walk *k, struct pkt *p, uint8_t from)
{
	const struct snap_port *in = k->in;

	for (uint8_t i = 0; i < in->n_in; i++) {
		if (unlikely(i < from && in->in[i].stage != STAGE_CLASSIFY))
			continue;
		k->op = in->in[i].op;
		enum drop drop = in->in[i].in(k, p, in->in[i].arg);

		note(k, in->in[i].stage, in->in[i].name, NO_PORT, drop, NULL, p->vid);
		if (unlikely(drop != DROP_NONE))
			return drop;
		if (unlikely(k->again || k->waits)) {
			k->plan.again = i + k->again;
			return DROP_NONE;
		}
	}
	return DROP_NONE;
}

enum drop walk_out(struct walk *k, const struct pkt *p, uint16_t port, struct dest *d)
{
	const struct snap_port *dst = k->snap->ports[port];
	enum drop drop = DROP_NONE;

	*d = (struct dest){.port = port};
	if (port == p->src)
		drop = DROP_HAIRPIN;
	else if (dst->flags & k->in->flags & SNAP_UPLINK)
		drop = DROP_UPLINK_TO_UPLINK;
	if (unlikely(drop != DROP_NONE)) {
		note(k, STAGE_FORWARD, "destination", port, drop, d, p->vid);
		return drop;
	}
	for (uint8_t i = 0; i < dst->n_out; i++) {
		k->op = dst->out[i].op;
		drop = dst->out[i].out(k, p, dst, d, dst->out[i].arg);
		note(k, dst->out[i].stage, dst->out[i].name, port, drop, d, p->vid);
		if (unlikely(drop != DROP_NONE))
			return drop;
	}
	// Whether it is up at this moment is seen when the plan is carried out.
	note(k, STAGE_TRANSMIT, "port", port, walk_is_up(dst) ? DROP_NONE : DROP_PORT_DOWN, d, p->vid);
	return DROP_NONE;
}

// Several reasons for one packet have no room in a plan: such a packet is decided by itself.
enum drop walk_exclude(struct walk *k, uint16_t why)
{
	struct plan *plan = &k->plan;

	if (k->trace != NULL)
		plan->why = why;
	else if (k->runs)
		k->w->details[why]++;
	else if (plan->n_excluded == 0 || plan->why == why)
		plan->n_excluded++, plan->why = why;
	else
		k->w->details[why]++, k->per_packet = true;
	return DROP_EXTENSION;
}

static void plan_clear(struct plan *plan)
{
	memset(plan, 0, offsetof(struct plan, dests));
	plan->n_excluded = 0;
	plan->tell = 0;
}

// One packet that is dropped counts once; members of a flood count when it is carried out.
static void excluded_settle(struct plan *plan)
{
	if (plan->drop != DROP_NONE || plan->flood)
		plan->n_excluded = 0;
	if (plan->drop != DROP_EXTENSION && plan->n_excluded == 0)
		plan->why = 0;
}

static bool is_of_extensions(enum stage s)
{
	return s == STAGE_FORWARD_OUT || s == STAGE_FILTER_OUT || s == STAGE_CAPTURE_OUT;
}

void walk_out_as_is(struct walk *k, const struct pkt *p, const struct snap_port *dst)
{
	struct plan *plan = &k->plan;
	struct dest *d = &plan->dests[0];

	plan_clear(plan);
	plan->n_dests = 1;
	*d = (struct dest){.port = dst->index, .tagged = (p->flags & PKT_TAGGED) != 0, .tci = p->tci};
	if (pkt_payload(p) > dst->max_payload)
		plan->drop = DROP_MTU_EXCEEDED;
	for (uint8_t i = 0; i < dst->n_out && plan->drop == DROP_NONE; i++) {
		if (!is_of_extensions(dst->out[i].stage))
			continue;
		k->op = dst->out[i].op;
		plan->drop = dst->out[i].out(k, p, dst, d, dst->out[i].arg);
	}
	excluded_settle(plan);
}

static void flood_list(struct walk *k, const struct pkt *p, const struct snap_flood *list,
		       void (*fn)(struct walk *k, const struct pkt *p, uint16_t port, void *arg), void *arg)
{
	if (list == NULL)
		return;
	bool unicast = !rte_is_multicast_ether_addr((const struct rte_ether_addr *)walk_dst(k, p));

	for (uint32_t i = 0; i < list->n; i++) {
		const struct snap_port *dst = k->snap->ports[list->ports[i]];

		if (list->ports[i] == p->src || dst->flags & k->in->flags & SNAP_UPLINK)
			continue;
		// A port with an address of its own takes no unknown unicast.
		if (unicast && dst->flags & SNAP_OWN_MAC)
			continue;
		fn(k, p, list->ports[i], arg);
	}
}

void walk_flood(struct walk *k, const struct pkt *p,
		void (*fn)(struct walk *k, const struct pkt *p, uint16_t port, void *arg), void *arg)
{
	flood_list(k, p, k->sw->by_vid[p->vid], fn, arg);
	flood_list(k, p, k->sw->every_vlan, fn, arg);
}

static void add_dest(struct walk *k, const struct pkt *p, uint16_t port, void *arg)
{
	struct plan *plan = &k->plan;
	struct dest d;

	(void)arg;
	// A trace goes on to show every member.
	if ((plan->flood && k->trace == NULL) || walk_out(k, p, port, &d) != DROP_NONE)
		return;
	if (plan->n_dests < PLAN_DESTS)
		plan->dests[plan->n_dests++] = d;
	else
		plan->flood = true;
}

// NULL = none such on this switch: it was removed, or attached to another one, after a worker had learned it.
static const struct snap_port *known_port(struct walk *k, uint16_t port)
{
	const struct snap_port *dst = port < k->snap->n_ports ? k->snap->ports[port] : NULL;

	return dst != NULL && likely(dst->sw == k->in->sw) ? dst : NULL;
}

static const struct snap_port *lookup_key(struct walk *k, uint64_t key)
{
	const struct snap_port *dst = known_port(k, fdb_lookup_ref(k->sw->fdb, key, &k->dst_ref));

	k->dst_key = dst != NULL ? key : 0;
	return dst;
}

// Which port the address is known on, in the packet's VLAN or as the own address of a trunk that has this VLAN.
static uint16_t lookup(struct walk *k, const struct pkt *p)
{
	k->news = fdb_news(k->sw->fdb);
	const struct snap_port *dst = lookup_key(k, fdb_key(walk_dst(k, p), p->vid));

	if (likely(dst != NULL))
		return dst->index;
	k->missed = true;
	dst = lookup_key(k, fdb_key(walk_dst(k, p), FDB_ANY_FID));
	if (dst != NULL && snap_port_has_vlan(dst, p->vid))
		return dst->index;
	k->dst_key = 0;
	return FDB_NO_PORT;
}

// What an extension has chosen is still under the policies of the egress half.
static enum drop forward_chosen(struct walk *k, struct pkt *p)
{
	struct plan *plan = &k->plan;
	enum drop drop = DROP_NO_DESTINATION;

	for (uint8_t i = 0; i < k->chosen.n; i++) {
		if (known_port(k, k->chosen.ports[i]) == NULL)
			continue;
		enum drop why = walk_out(k, p, k->chosen.ports[i], &plan->dests[plan->n_dests]);

		if (why == DROP_NONE)
			plan->n_dests++;
		else
			drop = why;
	}
	return plan->n_dests > 0 ? DROP_NONE : drop;
}

// A known destination that policy forbids is dropped, never flooded.
static enum drop forward(struct walk *k, struct pkt *p)
{
	struct plan *plan = &k->plan;
	uint16_t port = FDB_NO_PORT;

	if (unlikely(k->chosen.is && !k->chosen.flood))
		return forward_chosen(k, p);
	if (!k->chosen.is && !rte_is_multicast_ether_addr((const struct rte_ether_addr *)walk_dst(k, p)))
		port = lookup(k, p);
	if (port != FDB_NO_PORT) {
		note(k, STAGE_FORWARD, "fdb", port, DROP_NONE, NULL, p->vid);
		plan->n_dests = 1;
		return walk_out(k, p, port, &plan->dests[0]);
	}
	note(k, STAGE_FORWARD, "flood", NO_PORT, DROP_NONE, NULL, p->vid);
	walk_flood(k, p, add_dest, NULL);
	if (likely(plan->n_dests > 0))
		return DROP_NONE;
	return plan->why != 0 ? DROP_EXTENSION : DROP_NO_DESTINATION;
}

void walk_packet(struct walk *k, struct pkt *p, uint8_t from)
{
	struct plan *plan = &k->plan;

	plan_clear(plan);
	k->dst_key = 0;
	k->chosen.is = k->learn = false;
	k->missed = k->per_packet = k->again = k->waits = false;
	plan->drop = ingress(k, p, from);
	k->stopped = plan->drop != DROP_NONE || plan->again != 0;
	if (unlikely(k->stopped))
		return;
	// A port with an address of its own has a static entry; there is nothing to learn.
	k->learn = !(k->in->flags & SNAP_OWN_MAC);
	k->learn_key = fdb_key(walk_src(k, p), p->vid);
	note(k, STAGE_LEARN, k->learn ? "learn" : "own address", NO_PORT, DROP_NONE, NULL, p->vid);
	plan->drop = forward(k, p);
	if (unlikely(plan->why != 0))
		excluded_settle(plan);
}
