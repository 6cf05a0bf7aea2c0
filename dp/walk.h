// The walk: every stage in order, deciding what happens with one packet and doing nothing yet.
//
// The decision is a plan; run() carries it out (run.h). A trace runs the same code with notes taken and no plan
// carried out. Workers, and the control thread for traces.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkt.h"
#include "snap.h"

#define PLAN_DESTS 8

struct dest {
	uint16_t port;
	bool tagged;
	uint8_t ops; // of the destination, to be run for each packet (stage.h)
	uint16_t tci;
};

// What happens with a packet: what a compiled flow will hold.
struct plan {
	uint8_t drop;    // enum drop; the fields below mean nothing unless 0
	uint8_t n_dests; // with `flood` 0
	bool learn;      // source is to be learned under learn_key
	uint8_t ops;     // of the source port, to be run for each packet (stage.h)
	bool flood;      // more than PLAN_DESTS: run the egress half per member when delivering
	struct dest dests[PLAN_DESTS];
	uint64_t learn_key;
};

#define TRACE_NOTES 1024
struct trace_note {
	enum stage stage;
	const char *step; // static text
	uint16_t port;    // destination looked at, NO_PORT on ingress
	enum drop drop;
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
	// What the decision rests on in the FDB, for a flow to check.
	uint64_t dst_key; // of the entry that was found, 0 = none
	struct fdb_ref dst_ref;
	bool missed;     // an address was looked up in vain
	bool per_packet; // a step looked at more than what flows are told apart by
	uint32_t news;   // of the FDB, before that
};

// Decides: fills k->plan. k->w, snap, trace are set by the caller; p is parsed.
void walk_packet(struct walk *k, struct pkt *p);

// The egress half for one candidate; DROP_NONE = `d` is how it leaves.
enum drop walk_out(struct walk *k, const struct pkt *p, uint16_t port, struct dest *d);

// Whether the port can take frames at this moment.
static inline bool walk_is_up(const struct snap_port *dst)
{
	return atomic_load_explicit(&dst->live->up, memory_order_relaxed);
}

// Calls fn for every flood candidate of the packet's VLAN.
void walk_flood(struct walk *k, const struct pkt *p,
		void (*fn)(struct walk *k, const struct pkt *p, uint16_t port, void *arg), void *arg);
