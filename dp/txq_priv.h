// What the two halves of transmit queues share (txq_dp.c, txq_ask_dp.c). Workers, inside the queue.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "snap.h"
#include "txq.h"

// What a packet of a list came to.
struct outcome {
	uint32_t n;     // frames that it was
	uint32_t sent;  // of these, accepted
	uint32_t bytes; // of the accepted ones
	enum drop why;  // the others were not
};

static inline enum drop txq_refusal(const struct snap_port *dst)
{
	return atomic_load_explicit(&dst->live->up, memory_order_relaxed) ? DROP_TX_FULL : DROP_PORT_DOWN;
}

// What a driver accepted of a list; a bit for each packet.
struct taken {
	uint32_t sent;
	uint32_t unfit; // left out alone, as no buffer of the receiver holds them
};

static_assert(PKT_BURST <= 32, "a bit for each packet");

static inline uint32_t taken_bits(uint16_t from, uint16_t n)
{
	return ((1ull << n) - 1) << from;
}

// Why the packet of this bit, which was not sent, was not.
static inline enum drop taken_why(const struct snap_port *dst, struct taken t, uint16_t i)
{
	return t.unfit >> i & 1 ? DROP_TX_UNFIT : txq_refusal(dst);
}

// The driver takes a list of up to PKT_BURST packets.
struct taken txq_drive(struct worker *w, const struct snap_port *dst, struct txq *q, struct pkt **list,
		       uint16_t n);

// Sends a list in which some ask for something; what the receiver does not finish is finished before its driver sees
// the packet. Nothing is counted, and the packets stay the caller's.
void txq_send_asking(struct worker *w, const struct snap_port *dst, struct txq *q, struct pkt **list,
		     uint16_t n, struct outcome *out);

// Counts what a packet from `in` came to.
void txq_count(struct worker *w, const struct snap_port *dst, const struct snap_port *in,
	       const struct outcome *o);
