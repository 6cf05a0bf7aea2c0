// Checksum and segmentation requests: what a sender left open in p->vnet (virtio 1.2, 5.1.6.2).
//
// A request travels with its packet and is left alone as long as the receiver finishes it itself (port_live.offloads).
// It is checked once, after parsing: from then on PKT_ASKS says that there is one, PKT_GSO that the frame stands for
// several, and csum_start, csum_offset and hdr_len lie where the parsed headers are. A transmit queue finishes what
// its port lacks: a checksum in place, segments as copies.
#pragma once

#include <jansson.h>

#include "drop.h"
#include "pkt.h"

struct worker;

#define OFFLOAD_GSO_UDP_L4 5 // VIRTIO_NET_HDR_GSO_UDP_L4: datagrams of one size

enum port_offload {
	OFFLOAD_CSUM = 1,
	OFFLOAD_TSO4 = 2,
	OFFLOAD_TSO6 = 4,
	OFFLOAD_ECN = 8, // segments whose first one carries CWR
	OFFLOAD_UFO = 16,
	OFFLOAD_USO4 = 32,
	OFFLOAD_USO6 = 64,
};

// control thread

json_t *offload_names(uint32_t set); // of enum port_offload: ["csum", ...]

// workers

// Refuses a request that contradicts the packet's headers; p is parsed. What a sender has no business to tell
// receivers (DATA_VALID and the like) is taken away.
enum drop offload_check(struct pkt *p);

// What has to be finished for the packet, as a set of enum port_offload.
uint32_t offload_needs(const struct pkt *p);

// Whether the checksum asked for is that of the parsed TCP or UDP header, not of something behind it.
bool offload_is_outer(const struct pkt *p);

// TCP segmentation in a device's words: `frame`, a copy of the headers or the packet itself, gets the pseudo header's sum
// without a length and no IPv4 checksum.
void offload_forget_length(const struct pkt *p, uint8_t *frame);

// Completes the checksum, in the packet's own bytes. False when there is no buffer: the packet is unchanged.
bool offload_complete(struct worker *w, struct pkt *p);

// Software segmentation: from one packet with PKT_GSO, whose bytes stay as they are, its frames one after the other.
struct segments {
	const struct pkt *p;
	uint32_t n;    // frames in all
	uint32_t next; // number of the next one
	uint32_t size; // payload bytes of each but the last
	uint32_t left; // payload bytes to come
	uint32_t id;   // of IPv6 fragments
	uint16_t csum; // fragments: of the whole datagram
	uint16_t head; // header bytes that each begins with
	// Where the payload goes on
	const struct rte_mbuf *m; // owned
	uint16_t piece;           // borrowed
	uint32_t off;
};

// False when there is no buffer.
bool segments_begin(struct worker *w, struct segments *s, struct pkt *p);
// The next frame as an owned packet in `out`. False when there is no buffer.
bool segments_next(struct worker *w, struct segments *s, struct pkt *out);
