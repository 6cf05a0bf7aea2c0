// Transmit queues, for packets with a request: here it is known at last what the receiver finishes itself.
//
// What it lacks is done in software: a checksum in place, so that runs of packets still enter the driver at once;
// segments in bursts. Order holds: behind a refused frame nothing more of the list is tried. Worker inside the queue.
#include "txq_priv.h"

#include <rte_branch_prediction.h>

#include "offload.h"
#include "worker.h"

struct sending {
	struct worker *w;
	const struct snap_port *dst;
	struct txq *q;
	bool refused; // nothing is tried any more, for the sake of order
};

static struct taken try_tx(struct sending *s, struct pkt **list, uint16_t n)
{
	struct taken t = {0, 0};

	if (!s->refused)
		t = txq_drive(s->w, s->dst, s->q, list, n);
	s->refused |= (t.sent | t.unfit) != taken_bits(0, n);
	return t;
}

static void send_whole(struct sending *s, struct pkt **list, uint16_t n, struct outcome *out)
{
	struct taken t = try_tx(s, list, n);

	for (uint16_t i = 0; i < n; i++) {
		bool sent = t.sent >> i & 1;

		out[i] = (struct outcome){1, sent, sent ? list[i]->len : 0, taken_why(s->dst, t, i)};
	}
}

// One burst of segments at most. Returns how many were made.
static uint16_t send_some(struct sending *s, struct segments *from, struct outcome *out)
{
	struct pkt *list[PKT_BURST];
	uint16_t n = 0;

	while (n < PKT_BURST && from->next < from->n && segments_next(s->w, from, &s->w->cut[n])) {
		list[n] = &s->w->cut[n];
		n++;
	}
	struct taken t = try_tx(s, list, n);

	for (uint16_t i = 0; i < n; i++) {
		out->bytes += t.sent >> i & 1 ? list[i]->len : 0;
		pkt_free(list[i]);
	}
	out->sent += __builtin_popcount(t.sent);
	if (t.unfit != 0)
		out->why = DROP_TX_UNFIT;
	return n;
}

static void send_segments(struct sending *s, struct pkt *p, struct outcome *out)
{
	struct segments from;

	*out = (struct outcome){1, 0, 0, DROP_NO_MEMORY};
	if (!segments_begin(s->w, &from, p))
		return;
	out->n = from.n;
	while (from.next < from.n && !s->refused && send_some(s, &from, out) > 0)
		;
	if (s->refused)
		out->why = txq_refusal(s->dst);
}

// What `p` has to be cut for, or completed in vain.
static bool is_settled(struct sending *s, struct pkt *p)
{
	uint32_t lacks =
	    offload_needs(p) & ~atomic_load_explicit(&s->dst->live->offloads, memory_order_relaxed);

	return lacks == 0 || (!(p->flags & PKT_GSO) && offload_complete(s->w, p));
}

void txq_send_asking(struct worker *w, const struct snap_port *dst, struct txq *q, struct pkt **list,
		     uint16_t n, struct outcome *out)
{
	struct sending s = {w, dst, q, false};
	uint16_t i = 0, run;

	for (;; i++) {
		for (run = 0; i + run < n && is_settled(&s, list[i + run]); run++)
			;
		send_whole(&s, list + i, run, out + i);
		i += run;
		if (i == n)
			return;
		if (list[i]->flags & PKT_GSO)
			send_segments(&s, list[i], &out[i]);
		else
			out[i] = (struct outcome){1, 0, 0, DROP_NO_MEMORY};
	}
}

void txq_count(struct worker *w, const struct snap_port *dst, const struct snap_port *in,
	       const struct outcome *o)
{
	struct port_counters *to = worker_counters(w, dst), *from = worker_counters(w, in);

	to->tx_packets += o->sent;
	to->tx_bytes += o->bytes;
	from->made += o->n - 1;
	from->delivered += o->sent;
	from->dropped[o->why] += o->n - o->sent;
}
