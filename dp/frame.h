// Building a frame from words, for traces and tests: addresses, a tag, IP, ports. Pure.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctrl/api/value.h"

#define FRAME_MIN 60 // without FCS

struct frame_spec {
	uint8_t dst[6], src[6];
	bool tagged;
	uint16_t vlan;
	bool has_ip;
	struct value_ip ip_src, ip_dst; // of one family
	uint8_t proto;                  // 6, 17, or 0 = no L4 header
	uint16_t sport, dport;
};

// Writes a valid frame of at least FRAME_MIN bytes. `size` >= 128. Returns its length.
size_t frame_build(const struct frame_spec *s, uint8_t *out, size_t size);

// Both sides of "A>B". False when there is no '>' or a side does not fit n bytes.
bool frame_split(const char *text, char *left, char *right, size_t n);
