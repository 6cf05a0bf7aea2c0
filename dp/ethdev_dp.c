// Bursts of a DPDK device. Workers.
#include "ethdev_priv.h"

#include <rte_branch_prediction.h>
#include <rte_ethdev.h>

#include "worker.h"

uint16_t ethdev_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	const struct ethdev *d = q->drv;
	struct rte_mbuf *m[PKT_BURST];

	(void)w;
	n = rte_eth_rx_burst(d->id, q->id, m, n);
	for (uint16_t i = 0; i < n; i++)
		pkt_init_owned(&pkts[i], m[i], q->port_index);
	return n;
}

// What the device may keep: the packet's own chain when nobody else needs it, else a copy. NULL: no buffer.
static struct rte_mbuf *chain_for(struct worker *w, const struct ethdev *d, struct pkt *p)
{
	bool last = p->n_users == 1;
	struct rte_mbuf *m, *whole;

	if (last && !pkt_own(w, p))
		return NULL;
	m = last ? p->m : pkt_copy(w, p);
	if (likely(m == NULL || m->nb_segs == 1 || d->takes_chains))
		return m;
	whole = rte_pktmbuf_copy(m, d->pool, 0, UINT32_MAX);
	if (!last)
		rte_pktmbuf_free(m);
	if (whole != NULL && whole->nb_segs > 1) {
		rte_pktmbuf_free(whole);
		return NULL;
	}
	return whole;
}

uint16_t ethdev_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n)
{
	const struct ethdev *d = q->drv;
	struct rte_mbuf *m[PKT_BURST];
	uint16_t ready = 0, sent;

	if (unlikely(!atomic_load_explicit(&d->live->up, memory_order_relaxed)))
		return 0;
	while (ready < n && (m[ready] = chain_for(w, d, pkts[ready])) != NULL)
		ready++;
	// From here on the device may give a chain back to its pool at any time: it is told by its pointer only.
	sent = rte_eth_tx_burst(d->id, q->id, m, ready);
	for (uint16_t i = 0; i < ready; i++) {
		bool is_own = m[i] == pkts[i]->m;

		if (i < sent && is_own)
			pkts[i]->m = NULL;
		else if (i >= sent && !is_own)
			rte_pktmbuf_free(m[i]);
	}
	return sent;
}
