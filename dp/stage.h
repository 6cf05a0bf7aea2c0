// Stages: the places of the walk, and how features put a step there.
//
// A step is a function that looks at a packet (ingress) or at a packet and one destination (egress) and
// says go on or names a drop reason. Each port's snapshot holds only the steps that it needs, in stage order, so
// that an empty stage costs nothing. A feature lists itself in ctrl/features.c with a build function.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "drop.h"

#define MAX_STEPS 28
#define MAX_OPS   16

struct dest;
struct pkt;
struct port;
struct snap_port;
struct walk;
struct worker;
struct err;

enum stage {            // the order of the walk (semantics: the path of a packet)
	STAGE_CLASSIFY, // annotates, except for frames that no switch may forward
	STAGE_CAPTURE_IN,
	STAGE_FILTER_IN,
	STAGE_POLICY_IN,
	STAGE_LEARN,
	STAGE_FORWARD,
	STAGE_TUNNEL,
	STAGE_FORWARD_OUT, // may only exclude
	STAGE_POLICY_OUT,
	STAGE_FILTER_OUT,
	STAGE_CAPTURE_OUT,
	STAGE_TRANSMIT,
	N_STAGES
};

const char *stage_name(enum stage s);

// What a step reads of a packet, besides its port, Ethernet header, tags, VLAN and (as a bound) its length: packets that
// differ in nothing that is read may share a flow. A step that reads more in some case sets walk.per_packet then.
enum step_reads { STEP_READS_L2 = 0, STEP_READS_L3 = 1, STEP_READS_L4 = 2 };

typedef enum drop (*step_in_fn)(struct walk *k, struct pkt *p, const void *arg);
// `dst` is the candidate, `d` how the frame would leave to it (tag), which the step may set.
typedef enum drop (*step_out_fn)(struct walk *k, const struct pkt *p, const struct snap_port *dst,
				 struct dest *d, const void *arg);

struct step {
	union {
		step_in_fn in;
		step_out_fn out;
	};
	const void *arg;
	const char *name; // for traces
	enum stage stage;
	uint16_t op; // that the step may ask for: k->op while it is called
};

// A feature's part in building a port's snapshot. Control thread.
struct snap_feature {
	const char *name;
	// Appends steps with snap_step_in/out() and sets fields of `sp`. May fail only for memory.
	int (*build)(const struct port *p, struct snap_port *sp, struct err *e);
};

extern const struct snap_feature *const snap_features[]; // NULL-terminated

// An op: what has to be done or asked for each packet, also of a compiled flow (a meter, a policer, a sampler). Its state
// lives outside the flow, and as long as a snapshot shows it. A step puts an op of the source port into the plan
// (k->plan.ops |= bit), or one of the destination (d->ops |= bit); it is run when the plan is carried out, not by a
// trace, before the packet is delivered. It gets packets of one plan, and writes reasons to drop beside them; those that
// have one already are not its business. `dst` is the destination, NULL for an op of the source. Worker threads.
typedef void (*op_fn)(struct worker *w, struct pkt *pkts, uint8_t *drops, uint16_t n,
		      const struct snap_port *dst, void *state);

struct op {
	op_fn run;
	void *state;
};

// Whether there is room for so many more steps on each side, and for as many ops. The rest is the switch's own.
bool snap_has_room(const struct snap_port *sp, unsigned n_steps, unsigned n_ops);

// The op's bit, for steps of this port. Ops are run in the order in which they were made.
uint16_t snap_op(struct snap_port *sp, op_fn run, void *state);

struct step *snap_step_in(struct snap_port *sp, enum stage s, uint8_t reads, const char *name, step_in_fn fn,
			  const void *arg);
struct step *snap_step_out(struct snap_port *sp, enum stage s, uint8_t reads, const char *name,
			   step_out_fn fn, const void *arg);

// What is told of a packet that is dropped, before it is gone, to whoever watches the ports of a switch. Worker threads.
struct drop_note {
	enum drop reason;
	uint16_t why;                // drop_detail.h
	const struct snap_port *dst; // where it was on its way to, NULL = not known
};
typedef void (*watch_fn)(struct worker *w, const struct pkt *p, const struct drop_note *note, void *state);

#define MAX_WATCHES 4
struct watch {
	watch_fn fn;
	void *state; // lives as long as a snapshot shows it
};

// Of what is dropped of this source port's packets. One more than MAX_WATCHES hears nothing.
void snap_watch(struct snap_port *sp, watch_fn fn, void *state);
