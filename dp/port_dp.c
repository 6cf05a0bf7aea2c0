// Steps that every port has: frames that no switch may forward, the port's own address, its MTU.
#include "port_steps.h"

#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_ether.h>

#include "walk.h"

// 01-80-C2-00-00-00 … 0F are consumed by a bridge or not at all (IEEE 802.1Q, table 8-1).
static bool is_bridge_reserved(const uint8_t *mac)
{
	static const uint8_t prefix[5] = {0x01, 0x80, 0xc2, 0x00, 0x00};

	return mac[0] == 0x01 && memcmp(mac, prefix, sizeof(prefix)) == 0 && mac[5] < 0x10;
}

enum drop port_classify(struct walk *k, struct pkt *p, const void *arg)
{
	const struct rte_ether_addr *source = (const struct rte_ether_addr *)(p->data + RTE_ETHER_ADDR_LEN);

	(void)arg;
	if (unlikely(!rte_is_valid_assigned_ether_addr(source)))
		return DROP_SOURCE_MAC;
	if (unlikely(is_bridge_reserved(p->data)))
		return DROP_BRIDGE_RESERVED;
	if (unlikely(pkt_payload(p) > k->in->max_payload))
		return DROP_OVERSIZE;
	return DROP_NONE;
}

enum drop port_in_own_mac(struct walk *k, struct pkt *p, const void *arg)
{
	(void)arg;
	return likely(memcmp(p->data + RTE_ETHER_ADDR_LEN, k->in->mac, RTE_ETHER_ADDR_LEN) == 0)
		   ? DROP_NONE
		   : DROP_MAC_SPOOFING;
}

enum drop port_out_mtu(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
		       const void *arg)
{
	(void)d;
	(void)arg;
	if (likely(pkt_payload(p) <= dst->max_payload))
		return DROP_NONE;
	k->per_packet = true;
	return DROP_MTU_EXCEEDED;
}

static uint16_t closed_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n)
{
	(void)w;
	(void)q;
	(void)pkts;
	(void)n;
	return 0;
}

const struct port_driver port_closed = {.name = "closed", .tx = closed_tx};
