// The index of a flow table, inline: where a hash may stand. Workers.
#pragma once

#include <immintrin.h>

#include "flow_priv.h"

static inline struct flow_bucket *bucket_of(struct flow_index *x, uint32_t hash, int choice)
{
	uint32_t at = choice == 0 ? hash : (hash * 0x9e3779b1u) >> 3 ^ hash >> 16;

	return &x->buckets[at & x->mask];
}

// A bit per way that holds this hash, or is free and the hash is 0.
static inline uint32_t bucket_matches(const struct flow_bucket *b, uint32_t hash)
{
	__m256i same =
	    _mm256_cmpeq_epi32(_mm256_load_si256((const void *)b->hash), _mm256_set1_epi32((int)hash));

	return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(same));
}
