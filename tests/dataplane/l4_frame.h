// TCP and UDP frames with checksum and segmentation requests, and a receiver that puts together what came of them.
#pragma once

#include "house.h"

struct l4_spec {
	int version;    // 4, 6
	uint8_t proto;  // IPPROTO_TCP, IPPROTO_UDP
	size_t payload; // bytes; each follows from its position
	bool csum;      // left open
	uint8_t gso_type;
	uint16_t gso_size;
};

struct frame *l4_frame(const uint8_t dst[6], const uint8_t src[6], const struct l4_spec *s);
size_t l4_header_bytes(const struct l4_spec *s);              // up to the payload
struct frame *l4_tagged(const struct frame *f, uint16_t vid); // its request moves along

struct l4_seen {
	const struct l4_spec *spec;
	uint16_t vid; // of the tag that each has to have, 0 = none
	size_t frames, payload;
	size_t longest;                // bytes behind Ethernet header and tag
	bool asks;                     // some frame still had a request
	uint8_t datagram[FRAME_BYTES]; // of fragments
	bool ended;
};

// The next frame that `port` got. Fails unless its lengths and every checksum are right (or still open as its request
// says), its numbers go on where the one before ended, and its payload is what was sent.
void l4_take(const char *port, struct l4_seen *seen);
