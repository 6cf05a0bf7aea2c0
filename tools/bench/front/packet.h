// Frames: one 64-byte head that is written per frame, by size; addresses, ports and a stamp are filled in.
//
//   Ethernet 14 | IPv4 20 | UDP 8 | sequence 4, flow 4, TSC 8 | zeros
//   Ethernet 14 | IPv4 20 | TCP 20 (sequence and acknowledgement are the stamp's) | TSC 8 | zeros
//
// A flow is a pair of ports; its MAC pair is flow modulo macs. Flows are visited in a fixed permutation, each
// once per turn, so the sequence number is the number of the turn. Pure.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PACKET_HEAD  64
#define PACKET_MIN   60
#define PACKET_SIZES 16 // slots of a size mix

struct packet_conf {
	uint32_t flows, macs; // flows ≥ macs
	uint16_t sizes[PACKET_SIZES];
	unsigned n_sizes;
	bool tcp, stamp;
};

struct packet_head {
	uint8_t bytes[PACKET_HEAD];
} __attribute__((aligned(32)));

struct packet_source {
	const struct packet_conf *conf;
	uint16_t from, to; // device numbers
	uint32_t flow, step, turn, left;
	unsigned size_at;
	struct packet_head heads[PACKET_SIZES];
};

struct packet_view {
	uint32_t flow, seq;
	uint64_t tsc;
};

unsigned packet_longest(const struct packet_conf *conf);
void packet_mac(uint8_t mac[6], uint16_t device, uint32_t n);
void packet_source_init(struct packet_source *s, const struct packet_conf *conf, uint16_t from, uint16_t to);

// Writes the next frame's head into `frame` (64 bytes) and returns the frame's length.
unsigned packet_write(struct packet_source *s, uint8_t *frame, uint64_t tsc);

// Broadcast by which address n of a device is learned; 60 bytes.
void packet_announce(uint8_t *frame, uint16_t device, uint32_t n);
bool packet_is_announce(const uint8_t *frame, uint16_t device, uint32_t *n);

// Whether a frame is from `from` to `to` (device numbers).
bool packet_is(const uint8_t *frame, uint16_t from, uint16_t to);

// False if it carries no stamp of ours.
bool packet_read(const struct packet_conf *conf, const uint8_t *frame, unsigned len, struct packet_view *v);
