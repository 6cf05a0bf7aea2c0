// Frames whose payload is checked wherever a switch cuts them, with the requests of a virtio header for checksums and
// segmentation.
//
//   Ethernet 14 | IPv4 20 or IPv6 40 | TCP 20 or UDP 8 | words of 8 bytes
//
// The payload of a direction is one stream of words, each of which is its own number (top 16 bits: the sender). A frame
// takes up the stream at a word of its own; a TCP frame's sequence number is its place in bytes. So a segment, a fragment
// or a whole frame can be checked alone, and sums over words do not depend on how they were cut. Pure.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define STREAM_HEAD   74 // most bytes before the payload
#define SCRATCH_BYTES (72 << 10)

struct virtio_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

enum { HDR_NEEDS_CSUM = 1, HDR_DATA_VALID = 2 };
enum { GSO_NONE = 0, GSO_TCP4 = 1, GSO_UDP = 3, GSO_TCP6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };

enum offload { OFFLOAD_NONE, OFFLOAD_CSUM, OFFLOAD_TSO4, OFFLOAD_TSO6, OFFLOAD_UFO, OFFLOAD_USO, N_OFFLOADS };

extern const char *const offload_names[N_OFFLOADS];

struct stream_conf {
	enum offload offload;
	bool udp, ip6, ecn;
	bool blind; // payload is neither written nor checked: for measuring
	unsigned frame_bytes, gso_bytes;
};

struct stream { // of one sender
	const struct stream_conf *conf;
	uint16_t from, to;
	uint64_t word;
	uint64_t frames, bytes, sum; // payload sent
};

struct arrivals {                             // w: worker, control: r
	uint64_t frames, bytes, sum;          // payload received
	uint64_t gso, needs_csum, data_valid; // by the header's word
	uint64_t buffers, merged;             // receive buffers; frames of several
	uint64_t uncounted;                   // num_buffers is 0
	uint64_t bad_header, bad_checksum, bad_payload;
};

unsigned stream_longest(const struct stream_conf *c);
unsigned stream_payload(const struct stream_conf *c);
// Features without which a device must not send these frames.
uint64_t stream_needs(const struct stream_conf *c);

void stream_init(struct stream *s, const struct stream_conf *c, uint16_t from, uint16_t to);
// Writes header and frame; the frame's length.
unsigned stream_write(struct stream *s, struct virtio_header *h, uint8_t *frame);
// Judges what arrived; its payload bytes.
unsigned stream_check(const struct stream_conf *c, uint16_t from, const struct virtio_header *h,
		      const uint8_t *frame, unsigned len, struct arrivals *a);
