// Guests by vhost-user, bursts: the library's own enqueue and dequeue between rings and mbufs. Workers.
//
// What protects what: the library holds a ring's access lock in its bursts and in every message that
// changes memory or rings (guest memory hot-plug, dirty log), so those need nothing from us. `stop` and
// `busy` cover what it does without that lock: freeing rings and device after destroy_device.
#include "vhost.h"

#include <rte_branch_prediction.h>
#include <rte_vhost.h>

#include "dp/worker.h"

static inline bool ring_enter(struct vhost_ring *r)
{
	// Rings that nobody uses cost one load of a line that stays in this core's cache.
	if (atomic_load_explicit(&r->stop, memory_order_relaxed))
		return false;
	atomic_store(&r->busy, true);
	if (likely(!atomic_load(&r->stop)))
		return true;
	atomic_store_explicit(&r->busy, false, memory_order_release);
	return false;
}

static inline void ring_leave(struct vhost_ring *r)
{
	atomic_store_explicit(&r->busy, false, memory_order_release);
}

uint16_t vhost_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	struct vhost_ring *r = q->drv;
	struct rte_mbuf *m[PKT_BURST];

	if (!ring_enter(r))
		return 0;
	n = rte_vhost_dequeue_burst(r->vid, r->index, w->pool, m, RTE_MIN(n, PKT_BURST));
	ring_leave(r);
	for (uint16_t i = 0; i < n; i++)
		pkt_init_owned(&pkts[i], m[i], q->port_index);
	return n;
}

// A ring that cannot be used is silent until its bell rings.
int vhost_notify(struct worker *w, struct rxq *q, bool on)
{
	struct vhost_ring *r = q->drv;

	(void)w;
	if (!ring_enter(r))
		return r->watch;
	bool can = r->watch >= 0 && atomic_load(&r->kick) >= 0;

	if (can || !on)
		rte_vhost_enable_guest_notification(r->vid, r->index, on);
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

uint16_t vhost_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n)
{
	struct vhost_ring *r = q->drv;
	struct rte_mbuf *m[PKT_BURST];
	uint16_t done = 0, sent, want;

	if (!ring_enter(r))
		return 0;
	do {
		want = chains_of(w, pkts + done, m, RTE_MIN(n - done, PKT_BURST));
		sent = rte_vhost_enqueue_burst(r->vid, r->index, m, want);
		done += sent;
	} while (done < n && want > 0 && sent == want);
	ring_leave(r);
	return done;
}
