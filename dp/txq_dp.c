// Transmit queues, the workers' side: enter by try, deliver, or leave it in the mailbox.
//
// A list in which somebody asks for a checksum or segments goes by txq_ask_dp.c.
#include "txq.h"

#include <string.h>

#include <rte_ring.h>

#include "snap.h"
#include "txq_priv.h"
#include "worker.h"

static bool txq_enter(struct txq *q)
{
	return atomic_load_explicit(&q->busy, memory_order_relaxed) == 0 &&
	       atomic_exchange_explicit(&q->busy, 1, memory_order_acquire) == 0;
}

static void txq_leave(struct txq *q)
{
	atomic_store(&q->busy, 0);
}

static void count_sent(struct worker *w, const struct snap_port *dst, uint16_t src, uint32_t bytes)
{
	const struct snap_port *in = w->snap->ports[src];
	struct port_counters *to = worker_counters(w, dst);

	to->tx_packets++;
	to->tx_bytes += bytes;
	if (in != NULL)
		worker_counters(w, in)->delivered++;
}

// A frame from the mailbox leaves it: its source may have been removed meanwhile.
static void count_held(struct worker *w, const struct snap_port *dst, const struct pkt *p, enum drop reason)
{
	const struct snap_port *in = p->src < w->snap->n_ports ? w->snap->ports[p->src] : NULL;

	if (in == NULL)
		return;
	worker_counters(w, in)->held_out++;
	if (reason == DROP_NONE)
		return;
	worker_drop(w, in, reason, 1);
	worker_tell(w, in, p, reason, dst);
}

// What a packet in a mailbox has to remember, at the begin of its first buffer.
struct slip {
	struct virtio_net_hdr_v1 vnet;
	uint16_t flags, l3_off, l4_off;
	uint8_t ip_version, ip_proto;
};

static_assert(sizeof(struct slip) + PKT_HEADROOM <= RTE_PKTMBUF_HEADROOM, "stands in front of the frame");

static void slip_write(struct rte_mbuf *m, const struct pkt *p)
{
	struct slip s = {p->vnet, p->flags, p->l3_off, p->l4_off, p->ip_version, p->ip_proto};

	memcpy(m->buf_addr, &s, sizeof(s));
}

static void slip_read(const struct rte_mbuf *m, struct pkt *p)
{
	struct slip s;

	memcpy(&s, m->buf_addr, sizeof(s));
	p->vnet = s.vnet;
	p->flags = s.flags;
	p->l3_off = s.l3_off;
	p->l4_off = s.l4_off;
	p->ip_version = s.ip_version;
	p->ip_proto = s.ip_proto;
}

struct taken txq_drive(struct worker *w, const struct snap_port *dst, struct txq *q, struct pkt **list,
		       uint16_t n)
{
	struct taken t = {0, 0};

	for (uint16_t done = 0; done < n;) {
		q->unfit = false;
		uint16_t sent = dst->driver->tx(w, q, list + done, n - done);

		t.sent |= taken_bits(done, sent);
		done += sent;
		if (likely(done == n) || !q->unfit)
			break;
		t.unfit |= taken_bits(done++, 1);
	}
	return t;
}

static void asking_count(struct worker *w, const struct snap_port *dst, const struct snap_port *in,
			 const struct pkt *p, const struct outcome *o)
{
	txq_count(w, dst, in, o);
	if (o->sent < o->n)
		worker_tell(w, in, p, o->why, dst);
}

static void drain_asking(struct worker *w, const struct snap_port *dst, struct txq *q, struct pkt **list,
			 uint16_t n)
{
	struct outcome out[PKT_BURST];

	txq_send_asking(w, dst, q, list, n, out);
	for (uint16_t i = 0; i < n; i++) {
		uint16_t src = list[i]->src;
		const struct snap_port *in = src < w->snap->n_ports ? w->snap->ports[src] : NULL;

		if (in != NULL)
			asking_count(w, dst, in, list[i], &out[i]);
		count_held(w, dst, list[i], DROP_NONE);
		pkt_free(list[i]);
	}
}

static void drain(struct worker *w, const struct snap_port *dst, struct txq *q)
{
	struct rte_mbuf *m[PKT_BURST];
	struct pkt *list[PKT_BURST];
	uint32_t n;

	while ((n = rte_ring_sc_dequeue_burst(q->mailbox, (void **)m, PKT_BURST, NULL)) > 0) {
		uint32_t bytes[PKT_BURST];
		uint16_t src[PKT_BURST], flags = 0;

		for (uint32_t i = 0; i < n; i++) {
			list[i] = &w->held[i];
			src[i] = m[i]->port;
			pkt_init_owned(list[i], m[i], src[i]);
			slip_read(m[i], list[i]);
			list[i]->n_users = 1;
			bytes[i] = list[i]->len;
			flags |= list[i]->flags;
		}
		if (flags & PKT_ASKS) {
			drain_asking(w, dst, q, list, n);
			continue;
		}
		struct taken t = txq_drive(w, dst, q, list, n);

		for (uint32_t i = 0; i < n; i++) {
			bool sent = t.sent >> i & 1;

			if (sent && src[i] < w->snap->n_ports && w->snap->ports[src[i]] != NULL)
				count_sent(w, dst, src[i], bytes[i]);
			count_held(w, dst, list[i], sent ? DROP_NONE : taken_why(dst, t, i));
			pkt_free(list[i]);
		}
	}
}

// Takes what was left while we were on the way out; whoever enters next sees the rest.
static void drain_rest(struct worker *w, const struct snap_port *dst, struct txq *q)
{
	while (!rte_ring_empty(q->mailbox) && txq_enter(q)) {
		drain(w, dst, q);
		txq_leave(q);
	}
}

static __attribute__((noinline)) void send_direct_asking(struct worker *w, const struct snap_port *dst,
							 struct txq *q, struct tx_batch *b)
{
	const struct snap_port *in = w->snap->ports[b->p[0]->src];
	struct outcome out[PKT_BURST];

	txq_send_asking(w, dst, q, b->p, b->n, out);
	for (uint16_t i = 0; i < b->n; i++)
		asking_count(w, dst, in, b->p[i], &out[i]);
}

// What is in other batches, too, may have got another tag there.
static uint16_t flags_now(const struct tx_batch *b)
{
	uint16_t flags = b->flags;

	for (uint16_t i = 0; b->shared && i < b->n; i++)
		flags |= b->p[i]->flags;
	return flags;
}

static uint32_t bytes_of(struct pkt *const *list, uint32_t bits)
{
	uint32_t sum = 0;

	for (; bits != 0; bits &= bits - 1)
		sum += list[__builtin_ctz(bits)]->len;
	return sum;
}

static void send_direct(struct worker *w, const struct snap_port *dst, struct txq *q, struct tx_batch *b)
{
	const uint16_t flags = flags_now(b);
	struct port_counters *to = worker_counters(w, dst);
	const bool tags = b->tags || flags & PKT_TAGGED;

	if (unlikely(tags))
		for (uint16_t i = 0; i < b->n; i++)
			pkt_set_tag(b->p[i], b->d[i].tagged, b->d[i].tci);
	if (unlikely(flags & PKT_ASKS)) {
		send_direct_asking(w, dst, q, b);
		return;
	}
	struct taken t = txq_drive(w, dst, q, b->p, b->n);
	uint32_t sent = __builtin_popcount(t.sent), unfit = __builtin_popcount(t.unfit);

	to->tx_packets += sent;
	to->tx_bytes += likely(!tags && sent == b->n) ? b->bytes : bytes_of(b->p, t.sent);
	// All packets of a batch come from one burst of one port.
	const struct snap_port *in = w->snap->ports[b->p[0]->src];

	worker_counters(w, in)->delivered += sent;
	if (likely(sent == b->n))
		return;
	worker_drop(w, in, DROP_TX_UNFIT, unfit);
	worker_drop(w, in, txq_refusal(dst), b->n - sent - unfit);
	for (uint16_t i = 0; i < b->n; i++)
		if (!(t.sent >> i & 1))
			worker_tell(w, in, b->p[i], taken_why(dst, t, i), dst);
}

static void leave_in_mailbox(struct worker *w, const struct snap_port *dst, struct txq *q, struct tx_batch *b)
{
	const struct snap_port *in = w->snap->ports[b->p[0]->src];

	for (uint16_t i = 0; i < b->n; i++) {
		struct pkt *p = b->p[i];
		bool last = p->n_users == 1;

		pkt_set_tag(p, b->d[i].tagged, b->d[i].tci);
		struct rte_mbuf *m = last && pkt_own(w, p) ? p->m : pkt_copy(w, p);

		if (m == NULL) {
			worker_drop(w, in, DROP_NO_MEMORY, 1);
			worker_tell(w, in, p, DROP_NO_MEMORY, dst);
			continue;
		}
		m->port = p->src;
		slip_write(m, p);
		// Counted before it can be taken out, so that the sum of held frames is never negative.
		worker_counters(w, in)->held_in++;
		if (rte_ring_mp_enqueue(q->mailbox, m) == 0) {
			if (last)
				p->m = NULL;
			continue;
		}
		worker_counters(w, in)->held_out++;
		worker_drop(w, in, DROP_TX_BUSY, 1);
		worker_tell(w, in, p, DROP_TX_BUSY, dst);
		if (!last)
			rte_pktmbuf_free(m);
	}
	// Pairs with the leaver's store: either it sees our packets or we see it gone.
	atomic_thread_fence(memory_order_seq_cst);
}

void txq_send(struct worker *w, const struct snap_port *dst, struct txq *q, struct tx_batch *b)
{
	if (!txq_enter(q)) {
		leave_in_mailbox(w, dst, q, b);
	} else {
		if (unlikely(!rte_ring_empty(q->mailbox)))
			drain(w, dst, q);
		send_direct(w, dst, q, b);
		txq_leave(q);
	}
	if (unlikely(!rte_ring_empty(q->mailbox)))
		drain_rest(w, dst, q);
}
