// Ends of flows that somebody wants to hear of: what they were, and how much of it there was.
//
// A worker that gives a flow back, or decides it anew without somebody, leaves a note in a ring; the control thread takes
// the notes out. Without room they are lost and counted.
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct flow_side;
struct flow_table;
struct flow_view;
struct pkt;

struct flow_end {
	uint64_t key[7];
	uint64_t packets, bytes;
	uint64_t tell;   // plan.tell: who
	uint32_t source; // the port's id
	uint16_t vid;
	uint8_t tcp_flags; // of all its packets, or'ed
	uint8_t unused;
};
static_assert(sizeof(struct flow_end) % 4 == 0, "an element of a ring");

int flow_ends_open(void); // -ENOMEM; once opened it stays. Jobs thread

// control thread
bool flow_ends_next(struct flow_end *out);
uint64_t flow_ends_lost(void);
void flow_end_view(const struct flow_end *end, struct flow_view *out); // key and counters

// workers; and the control thread for tables that no worker has any more
void flow_end_note(struct flow_table *t, uint32_t number, uint64_t tell);
// Packets of a flow with plan.tells.
void flow_end_flags(struct flow_side *s, const struct pkt *pkts, uint16_t n);
