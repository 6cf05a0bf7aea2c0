// Keys of flows: which bytes of a packet tell flows apart, and how they are hashed and compared. Workers; inline, as
// every packet needs them.
#pragma once

#include <string.h>

#include <immintrin.h>
#include <netinet/in.h>
#include <rte_branch_prediction.h>

#include "flow_priv.h"
#include "mix.h"
#include "stage.h"

static inline uint64_t key_load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t key_load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

// By what the steps on the way read (enum step_reads).
static inline enum flow_shape shape_of(uint8_t reads)
{
	return reads & STEP_READS_L4 ? FLOW_L4 : reads & STEP_READS_L3 ? FLOW_L3 : FLOW_L2;
}

static_assert(offsetof(struct pkt, tci) == offsetof(struct pkt, ether_type) + 2, "read at once");

static inline void key_l2(const struct pkt *p, struct flow_key *k)
{
	const size_t type_and_tag = offsetof(struct pkt, ether_type);
	uint8_t flags = p->flags & (PKT_TAGGED | PKT_INNER_TAG | PKT_STAG);

	k->w[0] = key_load64(p->data);
	k->w[1] = key_load32(p->data + 8) | (uint64_t)key_load32((const uint8_t *)p + type_and_tag) << 32;
	k->w[2] = (uint64_t)flags << 8;
	k->w[3] = k->w[4] = k->w[5] = k->tail = 0;
}

// L3: addresses and protocol, L4: ports too, where they are. Packets without them keep the L2 part.
static inline void key_widen(const struct pkt *p, enum flow_shape shape, struct flow_key *k)
{
	const uint8_t *l3 = p->data + p->l3_off;

	k->w[2] |= (uint64_t)shape | (uint64_t)p->ip_proto << 16 | (uint64_t)p->ip_version << 24;
	if (p->ip_version == 4) {
		k->w[3] = key_load64(l3 + 12);
	} else if (p->ip_version == 6) {
		k->w[3] = key_load64(l3 + 8);
		k->w[4] = key_load64(l3 + 16);
		k->w[5] = key_load64(l3 + 24);
		k->tail = key_load64(l3 + 32);
	}
	if (shape == FLOW_L4 && p->l4_off != 0 && !(p->flags & (PKT_FRAG | PKT_L4_UNKNOWN))) {
		uint32_t ports = key_load32(p->data + p->l4_off);

		// Behind the type and code of ICMP stands a checksum.
		if (unlikely(p->ip_proto == IPPROTO_ICMP || p->ip_proto == IPPROTO_ICMPV6))
			ports &= 0xffff;
		k->w[2] |= (uint64_t)ports << 32;
	}
}

static inline void key_build(const struct pkt *p, enum flow_shape shape, struct flow_key *k)
{
	key_l2(p, k);
	if (shape != FLOW_L2)
		key_widen(p, shape, k);
}

// Only such keys have more than four words.
static inline bool key_is_ipv6(const struct flow_key *k)
{
	return (uint8_t)(k->w[2] >> 24) == 6;
}

static inline uint32_t key_hash(const struct flow_table *t, const struct flow_key *k)
{
	uint64_t h = mix(k->w[0] ^ t->seed, k->w[1] ^ 0x9e3779b97f4a7c15);

	h = mix(h ^ k->w[2], t->seed ^ k->w[3]);
	if (unlikely(key_is_ipv6(k)))
		h = mix(h ^ k->w[4], t->seed ^ mix(k->w[5] ^ t->seed, k->tail ^ 0xbf58476d1ce4e5b9));
	return h ^ h >> 32;
}

static inline bool key_equal(const struct flow_table *t, uint32_t number, const struct flow_key *k)
{
	const uint64_t *a = t->flows[number].key;
	__m256i x =
	    _mm256_xor_si256(_mm256_loadu_si256((const void *)a), _mm256_loadu_si256((const void *)k->w));
	__m128i y =
	    _mm_xor_si128(_mm_loadu_si128((const void *)(a + 4)), _mm_loadu_si128((const void *)(k->w + 4)));

	return (_mm256_testz_si256(x, x) & _mm_testz_si128(y, y)) &&
	       (likely(!key_is_ipv6(k)) || t->sides[number].key_tail == k->tail);
}

// Of two keys of one shape. By words: wider loads would wait for the stores just made.
static inline bool key_same(const struct flow_key *a, const struct flow_key *b, enum flow_shape shape)
{
	if (a->w[0] != b->w[0] || a->w[1] != b->w[1] || a->w[2] != b->w[2])
		return false;
	return shape == FLOW_L2 ||
	       (a->w[3] == b->w[3] && a->w[4] == b->w[4] && a->w[5] == b->w[5] && a->tail == b->tail);
}
