// Guests by vhost-user, bursts: by our own rings, or by the library's as a reference to compare with. Workers.
//
// `stop` and `busy` protect our rings and the guest's memory from the messages that change them. The library's bursts
// hold a ring's access lock, as does every message that changes memory or rings, so there they only cover what it
// does without that lock: freeing rings and device after destroy_device.
#include "vhost.h"

#include <rte_branch_prediction.h>
#include <rte_vhost.h>

#include "announce.h"
#include "dp/worker.h"

static inline bool ring_enter(struct vhost_ring *r)
{
	// Rings that nobody uses cost one load of a line that stays in this core's cache.
	if (atomic_load_explicit(&r->stop, memory_order_relaxed))
		return false;
	atomic_store_explicit(&r->busy, true, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (likely(!atomic_load_explicit(&r->stop, memory_order_acquire)))
		return true;
	atomic_store_explicit(&r->busy, false, memory_order_release);
	return false;
}

static inline void ring_leave(struct vhost_ring *r)
{
	atomic_store_explicit(&r->busy, false, memory_order_release);
}

static uint16_t library_rx(struct worker *w, const struct vhost_ring *r, struct pkt *pkts, uint16_t n,
			   uint16_t src)
{
	struct rte_mbuf *m[PKT_BURST];

	n = rte_vhost_dequeue_burst(r->vid, r->index, w->pool, m, RTE_MIN(n, PKT_BURST));
	for (uint16_t i = 0; i < n; i++)
		pkt_init_owned(&pkts[i], m[i], src);
	return n;
}

// What our rings lend out is in the guest's memory: the ring stays entered until vhost_rx_done().
uint16_t vhost_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	struct vhost_ring *r = q->drv;

	if (!ring_enter(r))
		return 0;
	if (unlikely(!r->own))
		n = library_rx(w, r, pkts, n, q->port_index);
	else if (unlikely(r->q.fault != VIRTQ_FINE) && !virtq_begin(&r->q))
		n = 0;
	else if (announce_is_asked(r) && announce_take(w, r, pkts, q->port_index))
		n = 1;
	else if (r->q.is_packed)
		n = packed_take(w, &r->q, pkts, n, q->port_index);
	else
		n = split_take(w, &r->q, pkts, n, q->port_index);
	if (n == 0 || !r->own)
		ring_leave(r);
	return n;
}

void vhost_rx_done(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	struct vhost_ring *r = q->drv;

	(void)w, (void)pkts, (void)n;
	if (unlikely(!r->own))
		return;
	if (r->q.is_packed)
		packed_give_back(&r->q);
	else
		split_give_back(&r->q);
	ring_leave(r);
}

static void ring_notify(struct vhost_ring *r, bool on)
{
	if (!r->own)
		rte_vhost_enable_guest_notification(r->vid, r->index, on);
	else if (r->q.is_packed)
		packed_notify(&r->q, on);
	else
		split_notify(&r->q, on);
}

// A ring that cannot be used is silent until its bell rings.
int vhost_notify(struct worker *w, struct rxq *q, bool on)
{
	struct vhost_ring *r = q->drv;

	(void)w;
	if (!ring_enter(r))
		return r->watch;
	bool can = r->watch >= 0 && atomic_load(&r->kick) >= 0 && !announce_is_asked(r);

	if (can || !on)
		ring_notify(r, on);
	ring_leave(r);
	atomic_thread_fence(memory_order_seq_cst); // the guest sees it before we look at the ring again
	return can ? r->watch : -1;
}

// The chains of the first packets; stops at one that cannot be made into a chain.
static uint16_t chains_of(struct worker *w, struct pkt **pkts, struct rte_mbuf **m, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		if (unlikely(pkts[i]->m == NULL) && !pkt_own(w, pkts[i]))
			return i;
		m[i] = pkts[i]->m;
	}
	return n;
}

static uint16_t library_tx(struct worker *w, const struct vhost_ring *r, struct pkt **pkts, uint16_t n)
{
	struct rte_mbuf *m[PKT_BURST];
	uint16_t done = 0, sent, want;

	do {
		want = chains_of(w, pkts + done, m, RTE_MIN(n - done, PKT_BURST));
		sent = rte_vhost_enqueue_burst(r->vid, r->index, m, want);
		done += sent;
	} while (done < n && want > 0 && sent == want);
	return done;
}

uint16_t vhost_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n)
{
	struct vhost_ring *r = q->drv;

	if (!ring_enter(r))
		return 0;
	if (unlikely(!r->own))
		n = library_tx(w, r, pkts, n);
	else if (unlikely(r->q.fault != VIRTQ_FINE) && !virtq_begin(&r->q))
		n = 0;
	else if (r->q.is_packed)
		n = packed_put(&r->q, pkts, n);
	else
		n = split_put(&r->q, pkts, n);
	q->unfit = r->own && r->q.fault == VIRTQ_FINE && r->q.unfit;
	ring_leave(r);
	return n;
}
