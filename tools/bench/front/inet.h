// Bytes in wire order, and Internet checksums (RFC 1071).
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { PROTO_TCP = 6, PROTO_UDP = 17 };

static inline void put16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static inline uint16_t get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline uint16_t sum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

// Not folded; an odd last byte counts as a high one.
static inline uint64_t sum_bytes(const uint8_t *p, unsigned n, uint64_t sum)
{
	for (; n > 1; n -= 2, p += 2)
		sum += get16(p);
	return n ? sum + (p[0] << 8) : sum;
}

// Of the addresses, the protocol and the length behind an IP header.
static inline uint64_t sum_pseudo(const uint8_t *ip, bool ip6, uint8_t protocol, unsigned l4_len)
{
	uint64_t sum = ip6 ? sum_bytes(ip + 8, 32, 0) : sum_bytes(ip + 12, 8, 0);
	return sum + protocol + (l4_len >> 16) + (l4_len & 0xffff);
}

// The first bytes of a word.
static inline uint64_t word_head(uint64_t word, unsigned bytes)
{
	return bytes < 8 ? word & ((1ull << 8 * bytes) - 1) : word;
}

// What a word adds to a sum that does not depend on order.
static inline uint64_t word_mix(uint64_t word, unsigned bytes)
{
	uint64_t x = word_head(word, bytes) * 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}
