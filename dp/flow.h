// Compiled flows: what the walk decided for packets that look alike, kept per receive queue.
//
// A table belongs to its receive queue; the queue's worker is its only writer and the table moves with the queue.
// A packet that matches costs one line of the index, one of the flow and one of its action: what the flow decides, which
// is the plan that the walk made, and what that rests on, shared by all flows that have it in common. Nothing flushes a
// table: an action remembers the versions of the snapshot's parts and the FDB entries it rests on, compares two numbers
// (the snapshot's epoch, the FDB's generation) per packet, and looks closer only when one of them has changed.
//
// Kinds that no flow decides: control protocols (control.h), packets that are longer than a destination of the
// flow takes, and from the L3 shape on fragments, IP options and headers beyond the private bytes.
//
// Growth: the memory of a table's largest size is reserved as addresses only; the control thread gives a table four times
// as many flows when it is three quarters full (flow_grow_due), with a larger index that the worker moves to bit by bit.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "walk.h"

#define FLOW_FIRST    64 // flows of a new table
#define FLOW_MAX_DEPS 10 // parts of the snapshot that one action rests on
#define FLOW_IDLE_S   10 // unused for so long: given back

struct err;
struct flow_index;
struct flow_table;

// Shape of a key: which fields tell packets apart. Decided by what the steps on the way read.
enum flow_shape { FLOW_L2, FLOW_L3, FLOW_L4 };

struct flow_stats { // writer: the queue's worker; control: r
	uint64_t hits, misses, rechecked, rewalked, inserted, evicted, expired, no_room;
};

// A flow as it is shown.
struct flow_view {
	enum flow_shape shape;
	bool again; // only says that packets must be looked up once more, with their ports
	uint8_t dst[6], src[6];
	uint16_t ether_type, tci, vid;
	bool tagged;
	uint8_t ip_version, proto;
	uint8_t ip_src[16], ip_dst[16];
	uint16_t sport, dport;
	struct plan plan;
	uint64_t packets, bytes;
};

// control thread

// `max` flows at most (rounded down to FLOW_FIRST * 4^n). NULL without memory.
struct flow_table *flow_create(uint32_t max, uint32_t seed);
void flow_source_set(struct flow_table *t, uint32_t port_id); // before it is used
void flow_destroy(struct flow_table *t);                      // workers have passed; accepts NULL
uint32_t flow_size(const struct flow_table *t);               // flows it has room for
uint32_t flow_count(const struct flow_table *t);              // flows it holds; racy by a few
uint32_t flow_actions(const struct flow_table *t);            // decisions that these share, about
bool flow_grow_due(const struct flow_table *t);               // it asks for four times the room
// Gives it that room, which is `size` now, with this index; or frees the index, if it does not ask any more.
void flow_grow(struct flow_table *t, uint32_t size, struct flow_index *x);
void flow_tidy(struct flow_table *t); // frees an index that the worker has left
void flow_stats(const struct flow_table *t, struct flow_stats *out);
// Reads the next flow from *at (0 = first) on, while the worker goes on. False at the end.
bool flow_next(const struct flow_table *t, uint32_t *at, struct flow_view *out);

// Any thread; takes milliseconds for a million flows. An index for a table of `size` flows: half full when the table is. A
// large one gets huge pages. NULL without memory.
struct flow_index *flow_index_make(uint32_t size);

// workers

// Handles a burst of parsed packets that are not dropped yet (drops[i] == DROP_NONE). In order.
void flow_burst(struct worker *w, struct rxq *q, struct pkt *pkts, const uint8_t *drops, uint16_t n);
// Keeps what w->walk has decided for `p`, whose bytes are as they came, if it can be kept.
void flow_compile(struct worker *w, struct flow_table *t, const struct pkt *p);
// Gives back a few idle flows; once per burst or idle round.
void flow_sweep(struct flow_table *t, uint32_t now_s, uint32_t n);
