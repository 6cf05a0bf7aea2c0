// The walk: every stage in order, deciding what happens with one packet and doing nothing yet.
//
// The decision is a plan; run() carries it out (run.h). A trace runs the same code with notes taken and no plan
// carried out. Workers, and the control thread for traces.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <rte_branch_prediction.h>

#include "pkt.h"
#include "snap.h"

#define PLAN_DESTS 8

struct dest {
	uint16_t port;
	uint16_t ops; // of the destination, to be run for each packet (stage.h)
	uint16_t tci;
	bool tagged;
};

// What happens with a packet: what a compiled flow will hold.
struct plan {
	uint8_t drop;    // enum drop; of the fields below only `why` and `ops` mean something unless 0
	uint8_t n_dests; // with `flood` 0
	uint8_t
	    again; // 1 + the source's step with which the walk goes on behind the ops, 0 = the plan is complete
	bool flood : 1; // more than PLAN_DESTS: run the egress half per member when delivering
	bool gives : 1; // the fields of `rewrite`
	bool tells : 1; // those of `tell`, when the flow ends
	uint16_t ops;   // of the source port, to be run for each packet (stage.h)
	uint16_t
	    why; // more about `drop`, or about destinations that were excluded: drop_detail.h, 0 = there is no more
	struct dest dests[PLAN_DESTS];
	struct rewrite rewrite;
	uint8_t n_excluded; // destinations, without which the packet goes on
	uint64_t tell;      // who wants to hear of the flow's end: bits of the extensions' numbers
};

// Whether it takes the packet to one destination, and that is all. What else there may be stands in front of `dests`.
static inline bool plan_is_usual(const struct plan *p)
{
	static const struct plan usual = {.n_dests = 1};
	uint64_t a, b;

	static_assert(offsetof(struct plan, dests) == sizeof(a), "compared at once");
	memcpy(&a, p, sizeof(a));
	memcpy(&b, &usual, sizeof(b));
	return a == b;
}

#define TRACE_NOTES 1024
struct trace_note {
	enum stage stage;
	const char *step; // static text
	uint16_t port;    // destination looked at, NO_PORT on ingress
	enum drop drop;
	uint16_t why; // drop_detail.h
	struct dest dest;
	uint16_t vid;
};

struct trace {
	uint32_t n, n_left_out;
	struct trace_note notes[TRACE_NOTES];
};

struct walk {
	struct worker *w;
	const struct snap *snap;
	const struct snap_switch *sw;
	const struct snap_port *in;
	struct trace *trace; // NULL on the packet path
	struct plan plan;
	bool learn; // the source is to be learned, under learn_key
	uint64_t learn_key;
	uint16_t op; // the step's
	bool again;  // set by a step: what comes behind it may see other bytes
	bool
	    waits; // set by a step that has done nothing: it has to see what the plan so far makes of the packet
	bool nobody;  // the packet has no source: `in` stands for its destination
	bool runs;    // the plan is being carried out: what a step excludes it counts at once
	bool stopped; // on ingress: neither learning nor destinations have a part in the plan
	// Set by a step: where to, instead of by the address. With no port and no `flood`: nowhere.
	struct {
		bool is;
		bool flood;
		uint8_t n;
		uint16_t ports[PLAN_DESTS];
	} chosen;
	// What the decision rests on in the FDB, for a flow to check.
	uint64_t dst_key; // of the entry that was found, 0 = none
	struct fdb_ref dst_ref;
	bool missed;     // an address was looked up in vain
	bool per_packet; // a step looked at more than what flows are told apart by
	uint32_t news;   // of the FDB, before that
};

// Decides: fills k->plan. k->w, snap, trace are set by the caller; p is parsed. From the source's step number `from` on
// (0 = all), besides those that classify.
void walk_packet(struct walk *k, struct pkt *p, uint8_t from);
// The addresses that it will have, as far as is decided.
static inline const uint8_t *walk_dst(const struct walk *k, const struct pkt *p)
{
	return unlikely(k->plan.gives) && k->plan.rewrite.what & REWRITE_DST ? k->plan.rewrite.dst : p->data;
}

static inline const uint8_t *walk_src(const struct walk *k, const struct pkt *p)
{
	return unlikely(k->plan.gives) && k->plan.rewrite.what & REWRITE_SRC ? k->plan.rewrite.src
									     : p->data + 6;
}

// A step of the egress half excludes a destination, with a reason of its own (drop_detail.h).
enum drop walk_exclude(struct walk *k, uint16_t why);

// The egress half for one candidate; DROP_NONE = `d` is how it leaves.
enum drop walk_out(struct walk *k, const struct pkt *p, uint16_t port, struct dest *d);

// The same for a packet that nobody has sent, which leaves as it is: extensions see it and may exclude it. Writes the plan.
void walk_out_as_is(struct walk *k, const struct pkt *p, const struct snap_port *dst);

// Whether the port can take frames at this moment.
static inline bool walk_is_up(const struct snap_port *dst)
{
	return atomic_load_explicit(&dst->live->up, memory_order_relaxed);
}

// Calls fn for every flood candidate of the packet's VLAN.
void walk_flood(struct walk *k, const struct pkt *p,
		void (*fn)(struct walk *k, const struct pkt *p, uint16_t port, void *arg), void *arg);
