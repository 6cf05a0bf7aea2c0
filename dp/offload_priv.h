// What checksums and segmentation share. Workers.
#pragma once

#include "offload.h"

#define FRAGMENT_BYTES 8 // IPv6 fragment header

static inline uint16_t get_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void put_be16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static inline bool is_ufo(const struct pkt *p)
{
	return p->vnet.gso_type == VIRTIO_NET_HDR_GSO_UDP;
}

// Bytes of the frame up to where IP says that it ends.
static inline uint32_t ip_end(const struct pkt *p)
{
	const uint8_t *ip = p->data + p->l3_off;

	return p->l3_off + (p->ip_version == 4 ? get_be16(ip + 2) : 40u + get_be16(ip + 4));
}

// Header bytes that each frame begins with: a fragment repeats none of L4.
static inline uint32_t head_bytes(const struct pkt *p)
{
	return is_ufo(p) ? p->l4_off : p->vnet.hdr_len;
}

// Payload bytes of a frame; fragments count in units of 8.
static inline uint32_t segment_size(const struct pkt *p)
{
	return is_ufo(p) ? p->vnet.gso_size & ~7u : p->vnet.gso_size;
}

// What goes into a checksum field whose sum is of the bytes from `start` to `end`; before, the field there holds the
// sum of the pseudo header.
uint16_t csum_of(const struct rte_mbuf *m, uint32_t start, uint32_t end,
		 uint16_t offset); // offset: of the field

// Writes into a chain that is long enough.
void chain_write(struct rte_mbuf *m, uint32_t at, const void *from, uint32_t n);
