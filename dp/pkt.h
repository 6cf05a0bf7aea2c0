// A packet on its way through one burst: facts, private header bytes, and who owns the rest.
//
// Owned: `m` is an mbuf chain and all of the frame is in it; `data` points into its first segment.
// Borrowed: `m` is NULL, the first `head_len` bytes stand in `head`, the rest is still in the
// sender's memory (`tail`), valid until the end of the burst and never to be decided on. pkt_own()
// makes a borrowed packet owned; that is required before it is queued, handed to another worker or to
// a device that keeps it, changed beyond its private bytes, or injected.
//
// Lives in its worker's burst array. Worker that received it only.
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include <linux/virtio_net.h>
#include <rte_mbuf.h>

#define PKT_HEAD      128 // private bytes of a borrowed packet's frame
#define PKT_BURST     32
#define FRAME_MAX_MTU 9216

struct worker;

enum pkt_flags {
	PKT_TAGGED = 1,        // the frame's bytes carry an 802.1Q tag (tci)
	PKT_INNER_TAG = 2,     // behind that tag (or without one) stands one more VLAN tag
	PKT_STAG = 4,          // the outer tag is a service tag (0x88a8 or 0x9100)
	PKT_FRAG = 8,          // a fragment
	PKT_FRAG_LATER = 16,   // and not the first one: no L4 header
	PKT_IP_OPTIONS = 32,   // IPv4 options or IPv6 extension headers
	PKT_L4_UNKNOWN = 64,   // l4_off is valid, the protocol is none that we check
	PKT_BEYOND_HEAD = 128, // headers reach beyond the private bytes
	PKT_ASKS = 256,        // vnet asks for something, and was checked (offload.h)
	PKT_GSO = 512,         // and the frame stands for several
};

struct pkt_tail {
	struct iovec *iov; // the frame's bytes behind head_len
	struct iovec one;  // room for the usual single piece
};

// Of four lines; the frame's private bytes begin with a line.
struct pkt {
	uint8_t *data; // Ethernet header
	struct rte_mbuf *m;
	uint32_t len;      // bytes of the frame, without FCS
	uint16_t head_len; // private bytes at data
	uint16_t src;      // source port's index
	// What a new packet has none of: to `tail`
	uint32_t hash;                 // flow hash, 0 = not computed yet
	uint32_t vsid;                 // virtual subnet, 0 = none
	uint16_t vid;                  // VLAN it was classified to, 0 = untagged
	uint16_t flags;                // enum pkt_flags
	uint16_t ether_type;           // behind the outer tag, host order
	uint16_t tci;                  // tag in the bytes, with PKT_TAGGED
	uint16_t l3_off;               // 0 = neither IPv4, IPv6 nor ARP
	uint16_t l4_off;               // 0 = none (not IP, or a later fragment)
	uint8_t ip_proto;              // behind extension headers
	uint8_t ip_version;            // 4, 6, 0
	bool may_control;              // control_is() has to look closer
	uint8_t n_users;               // deliveries under way that still need `m`
	struct virtio_net_hdr_v1 vnet; // checksum and segmentation requests of the sender
	uint16_t n_tail;               // pieces of the tail
	struct pkt_tail tail;
	uint8_t head[40 + PKT_HEAD]; // headroom for a tag, then the private bytes
};

#define PKT_HEADROOM 40
static_assert(offsetof(struct pkt, head) + PKT_HEADROOM == 128 && sizeof(struct pkt) == 256, "see above");

static inline void pkt_clear(struct pkt *p)
{
	const size_t from = offsetof(struct pkt, hash), to = offsetof(struct pkt, tail);

	memset((char *)p + from, 0, to - from);
}

uint32_t pkt_longest(const struct pkt *p); // with PKT_GSO: bytes of the longest frame it stands for

// What an MTU bounds: the bytes behind the Ethernet header and the tags.
static inline uint32_t pkt_payload(const struct pkt *p)
{
	uint32_t len = __builtin_expect(p->flags & PKT_GSO, 0) ? pkt_longest(p) : p->len;

	return len - 14 - (p->flags & PKT_TAGGED ? 4 : 0) - (p->flags & PKT_INNER_TAG ? 4 : 0);
}

// workers

// Starts a packet on an owned chain.
void pkt_init_owned(struct pkt *p, struct rte_mbuf *m, uint16_t src);

// Starts a borrowed packet of iovecs in foreign memory: copies the first PKT_HEAD bytes, keeps the
// rest as tail in `rest` (room for n iovecs, which must outlive the burst).
void pkt_init_borrowed(struct pkt *p, const struct iovec *iov, uint16_t n, struct iovec *rest, uint16_t src);

// Makes it owned. False when there is no buffer: the packet is unchanged.
bool pkt_own(struct worker *w, struct pkt *p);

// An owned chain with a copy of the frame, for one more receiver. NULL when there is no buffer.
struct rte_mbuf *pkt_copy(struct worker *w, const struct pkt *p);

// At least `n` private bytes at data (n <= p->len and, borrowed, n <= PKT_HEAD). False if impossible.
bool pkt_pull(struct pkt *p, uint16_t n);

// Gives the frame the outer tag `tci`, or none, in place, whatever it has now. Only for frames whose
// outer tag, if any, is 802.1Q. Offsets follow.
void pkt_set_tag(struct pkt *p, bool tagged, uint16_t tci);

enum rewrite_what { REWRITE_DST = 1, REWRITE_SRC = 2, REWRITE_DSCP = 4 };

// Fields that every packet of a flow is given, once it has passed the ops of its source.
struct rewrite {
	uint8_t what; // enum rewrite_what
	uint8_t dscp;
	uint8_t dst[6], src[6];
};

// DSCP where there is an IP header, whose checksum follows (RFC 1624).
void pkt_rewrite(struct pkt *p, const struct rewrite *r);

// Writes the whole frame as iovecs (private bytes, then the rest). Returns how many, 0 if more than max.
uint16_t pkt_iov(const struct pkt *p, struct iovec *iov, uint16_t max);

// Appends bytes to a chain that grows by whole buffers. False when there is none: some of them may be there.
bool pkt_append(struct rte_mempool *pool, struct rte_mbuf *first, const void *from, size_t n);

void pkt_free(struct pkt *p); // the chain, if any
