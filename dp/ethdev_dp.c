// Bursts of a DPDK device. Workers.
#include "ethdev_priv.h"

#include <netinet/in.h>

#include <rte_branch_prediction.h>
#include <rte_ethdev.h>

#include "offload.h"
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

// Says it in DPDK's words. A device adds each segment's length to the pseudo header's sum itself.
static void ask_device(const struct pkt *p, struct rte_mbuf *m)
{
	bool tcp = p->ip_proto == IPPROTO_TCP, ipv4 = p->ip_version == 4;

	m->l2_len = p->l3_off;
	m->l3_len = p->l4_off - p->l3_off;
	m->ol_flags |= (ipv4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6) |
		       (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
	if (!(p->flags & PKT_GSO))
		return;
	m->l4_len = p->vnet.hdr_len - p->l4_off;
	m->tso_segsz = p->vnet.gso_size;
	m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | (ipv4 ? RTE_MBUF_F_TX_IP_CKSUM : 0);
	offload_forget_length(p, rte_pktmbuf_mtod(m, uint8_t *));
}

// What is not a TCP or UDP checksum of the frame's own headers is no device's.
static struct rte_mbuf *chain_ready(struct worker *w, const struct ethdev *d, struct pkt *p)
{
	if (likely(!(p->flags & PKT_ASKS)))
		return chain_for(w, d, p);
	if (!offload_is_outer(p) && !offload_complete(w, p))
		return NULL;
	struct rte_mbuf *m = chain_for(w, d, p);

	if (m != NULL && p->flags & PKT_ASKS)
		ask_device(p, m);
	return m;
}

uint16_t ethdev_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n)
{
	const struct ethdev *d = q->drv;
	struct rte_mbuf *m[PKT_BURST];
	uint16_t ready = 0, asks = 0, can, sent;

	if (unlikely(!atomic_load_explicit(&d->live->up, memory_order_relaxed)))
		return 0;
	while (ready < n && (m[ready] = chain_ready(w, d, pkts[ready])) != NULL) {
		asks |= pkts[ready]->flags;
		ready++;
	}
	can = unlikely(asks & PKT_ASKS) ? rte_eth_tx_prepare(d->id, q->id, m, ready) : ready;
	// From here on the device may give a chain back to its pool at any time: it is told by its pointer only.
	sent = rte_eth_tx_burst(d->id, q->id, m, can);
	for (uint16_t i = 0; i < ready; i++) {
		bool is_own = m[i] == pkts[i]->m;

		if (i < sent && is_own)
			pkts[i]->m = NULL;
		else if (i >= sent && !is_own)
			rte_pktmbuf_free(m[i]);
	}
	return sent;
}
