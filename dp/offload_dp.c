// Checksum and segmentation requests: checking what a sender asks, and completing checksums in software.
//
// A request names offsets where a later stage writes: it may only point at the checksum that belongs to the parsed
// headers, or behind everything that was looked at (a tunnel's inner headers), or a sender could have an address
// rewritten after it was allowed. Workers.
#include "offload.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_ip.h>

#include "offload_priv.h"

#define TCP_CSUM  16
#define UDP_CSUM  6
#define ICMP_CSUM 2 // ICMPv6 alike

// Smaller segments are taken only as long as they are few: each costs the worker a frame.
#define GSO_SMALL 48
#define GSO_FEW   128

static uint32_t l2_bytes(const struct pkt *p)
{
	return 14 + (p->flags & PKT_TAGGED ? 4 : 0) + (p->flags & PKT_INNER_TAG ? 4 : 0);
}

// Where the headers end that stages look at.
static uint32_t headers_end(const struct pkt *p)
{
	switch (p->ip_proto) {
	case IPPROTO_TCP:
		return p->l4_off + (p->data[p->l4_off + 12] >> 4) * 4u;
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return p->l4_off + 8u;
	case IPPROTO_SCTP:
		return p->l4_off + 12u;
	}
	return p->l4_off;
}

// Where the L4 header has its checksum, 0 = nowhere, or it is no sum (SCTP).
static uint32_t csum_field(const struct pkt *p)
{
	switch (p->ip_proto) {
	case IPPROTO_TCP:
		return TCP_CSUM;
	case IPPROTO_UDP:
		return UDP_CSUM;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return ICMP_CSUM;
	}
	return 0;
}

static bool csum_is_sound(const struct pkt *p)
{
	const struct virtio_net_hdr_v1 *v = &p->vnet;
	uint32_t at = (uint32_t)v->csum_start + v->csum_offset;

	if (at + sizeof(uint16_t) > p->len)
		return false;
	if (p->l3_off == 0)
		return v->csum_start >= l2_bytes(p);
	if (p->l4_off == 0 || p->flags & PKT_FRAG || v->csum_start < p->l4_off)
		return false;
	if (p->flags & PKT_L4_UNKNOWN)
		return true;
	if (v->csum_start == p->l4_off && v->csum_offset == csum_field(p))
		return true;
	return at >= headers_end(p);
}

static bool gso_type_fits(const struct pkt *p)
{
	bool ecn = p->vnet.gso_type & VIRTIO_NET_HDR_GSO_ECN;

	switch (p->vnet.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return p->ip_version == 4 && p->ip_proto == IPPROTO_TCP;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return p->ip_version == 6 && p->ip_proto == IPPROTO_TCP;
	case OFFLOAD_GSO_UDP_L4:
		return p->ip_proto == IPPROTO_UDP && !ecn;
	case VIRTIO_NET_HDR_GSO_UDP: // which options a fragment repeats is another matter
		return p->ip_proto == IPPROTO_UDP && !ecn && !(p->flags & PKT_IP_OPTIONS);
	}
	return false;
}

static bool gso_is_sound(const struct pkt *p)
{
	const struct virtio_net_hdr_v1 *v = &p->vnet;

	if (v->flags == 0 || p->l4_off == 0 || v->csum_start != p->l4_off ||
	    v->csum_offset != csum_field(p) || !gso_type_fits(p) || headers_end(p) > PKT_HEAD)
		return false;
	uint32_t size = segment_size(p);
	uint32_t payload = ip_end(p) - (is_ufo(p) ? p->l4_off : headers_end(p));

	return size > 0 && (size >= GSO_SMALL || payload / size < GSO_FEW);
}

enum drop offload_check(struct pkt *p)
{
	struct virtio_net_hdr_v1 *v = &p->vnet;

	v->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (v->flags != 0 && !csum_is_sound(p))
		return DROP_OFFLOAD_CHECKSUM;
	if (v->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		if (!gso_is_sound(p))
			return DROP_OFFLOAD_SEGMENT;
		v->hdr_len = headers_end(p);
		p->flags |= PKT_ASKS | PKT_GSO;
	} else if (v->flags != 0) {
		v->hdr_len = v->gso_size = 0;
		p->flags |= PKT_ASKS;
	} else {
		memset(v, 0, sizeof(*v));
	}
	return DROP_NONE;
}

static uint32_t gso_needs(const struct pkt *p)
{
	switch (p->vnet.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return OFFLOAD_TSO4;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return OFFLOAD_TSO6;
	case VIRTIO_NET_HDR_GSO_UDP:
		return OFFLOAD_UFO;
	}
	return p->ip_version == 4 ? OFFLOAD_USO4 : OFFLOAD_USO6;
}

uint32_t offload_needs(const struct pkt *p)
{
	if (!(p->flags & PKT_ASKS))
		return 0;
	return OFFLOAD_CSUM | (p->flags & PKT_GSO ? gso_needs(p) : 0) |
	       (p->vnet.gso_type & VIRTIO_NET_HDR_GSO_ECN ? OFFLOAD_ECN : 0);
}

bool offload_is_outer(const struct pkt *p)
{
	return p->l4_off != 0 && p->vnet.csum_start == p->l4_off &&
	       (p->ip_proto == IPPROTO_TCP || p->ip_proto == IPPROTO_UDP);
}

void offload_forget_length(const struct pkt *p, uint8_t *frame)
{
	uint8_t *field = frame + p->vnet.csum_start + p->vnet.csum_offset;
	uint32_t sum = get_be16(field) + (0xffff - (ip_end(p) - p->l4_off));

	put_be16(field, (sum & 0xffff) + (sum >> 16));
	if (p->ip_version == 4)
		put_be16(frame + p->l3_off + 10, 0);
}

uint32_t pkt_longest(const struct pkt *p)
{
	uint32_t fragment_header = is_ufo(p) && p->ip_version == 6 ? FRAGMENT_BYTES : 0;

	return RTE_MIN(p->len, head_bytes(p) + fragment_header + p->vnet.gso_size);
}

uint16_t csum_of(const struct rte_mbuf *m, uint32_t start, uint32_t end, uint16_t offset)
{
	uint16_t sum = 0;

	rte_raw_cksum_mbuf(m, start, end - start, &sum);
	sum = ~sum;
	return sum == 0 && offset == UDP_CSUM ? 0xffff : sum; // in UDP, 0 would mean: none
}

void chain_write(struct rte_mbuf *m, uint32_t at, const void *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++, at++) {
		while (at >= m->data_len) {
			at -= m->data_len;
			m = m->next;
		}
		rte_pktmbuf_mtod(m, uint8_t *)[at] = ((const uint8_t *)from)[i];
	}
}

bool offload_complete(struct worker *w, struct pkt *p)
{
	// What is summed must be what is delivered: a sender may still write to bytes that are only lent.
	if (!pkt_own(w, p))
		return false;
	uint16_t sum = csum_of(p->m, p->vnet.csum_start, p->len, p->vnet.csum_offset);

	chain_write(p->m, p->vnet.csum_start + p->vnet.csum_offset, &sum, sizeof(sum));
	memset(&p->vnet, 0, sizeof(p->vnet));
	p->flags &= ~PKT_ASKS;
	return true;
}
