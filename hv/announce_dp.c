// Guests by vhost-user, announcing: a front end whose guest has come from another host, and cannot say so itself, asks
// for a RARP frame (VHOST_USER_SEND_RARP), so that switches learn where the guest's address is now.
//
// The vhost thread leaves the address with the first transmit ring, and the worker that polls the ring finds the frame
// there, once, as if the guest had sent it. There is room for one address: of a flood the last one counts. Workers.
#include "announce.h"

#include <string.h>

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "dp/worker.h"

#define MOST_PER_S 100 // frames

struct rarp {
	struct rte_ether_hdr ether;
	struct rte_arp_hdr arp;
	uint8_t padding[RTE_ETHER_MIN_LEN - RTE_ETHER_CRC_LEN - sizeof(struct rte_ether_hdr) -
			sizeof(struct rte_arp_hdr)];
};

static_assert(sizeof(struct rarp) == 60, "the shortest frame");

// RFC 903: a station that asks for its own protocol address, as QEMU asks for guests without vhost.
static void rarp_write(struct rarp *to, const void *address)
{
	memset(to, 0, sizeof(*to));
	memset(&to->ether.dst_addr, 0xff, RTE_ETHER_ADDR_LEN);
	memcpy(&to->ether.src_addr, address, RTE_ETHER_ADDR_LEN);
	to->ether.ether_type = RTE_BE16(RTE_ETHER_TYPE_RARP);
	to->arp.arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER);
	to->arp.arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	to->arp.arp_hlen = RTE_ETHER_ADDR_LEN;
	to->arp.arp_plen = sizeof(to->arp.arp_data.arp_sip);
	to->arp.arp_opcode = RTE_BE16(RTE_ARP_OP_REVREQUEST);
	memcpy(&to->arp.arp_data.arp_sha, address, RTE_ETHER_ADDR_LEN);
	memcpy(&to->arp.arp_data.arp_tha, address, RTE_ETHER_ADDR_LEN);
}

bool announce_take(struct worker *w, struct vhost_ring *r, struct pkt *p, uint16_t src)
{
	if (w->now_tsc - r->announced_tsc < w->hz / MOST_PER_S)
		return false;
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);

	if (m == NULL)
		return false;
	uint64_t address = atomic_exchange(&r->announce, 0);
	struct rarp frame;

	rarp_write(&frame, &address);
	memcpy(rte_pktmbuf_append(m, sizeof(frame)), &frame, sizeof(frame));
	r->announced_tsc = w->now_tsc;
	pkt_init_owned(p, m, src);
	return true;
}
