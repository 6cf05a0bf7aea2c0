// Four descriptors side by side: to check four costs hardly more than to check one. Inside the rings. Workers.
//
// This is for what nearly all descriptors are: buffers that hold a whole frame behind its virtio header, in the region of
// the guest's memory that was found last. Where one of four is something else, each is looked at by itself; the copy
// that was read here is forgotten then.
#pragma once

#include "virtq_dp.h"

#define QUAD 4

struct quad {
	__m256i addr, rest; // of each as entry_addr() and entry_rest() say
};

static inline struct quad quad_of(__m128i a, __m128i b, __m128i c, __m128i d)
{
	__m256i ac = _mm256_set_m128i(c, a), bd = _mm256_set_m128i(d, b);

	return (struct quad){_mm256_unpacklo_epi64(ac, bd), _mm256_unpackhi_epi64(ac, bd)};
}

static inline __m256i quad_len(struct quad q)
{
	return _mm256_and_si256(q.rest, _mm256_set1_epi64x(UINT32_MAX));
}

// Whether all have these of the flags in `mask`; both as they stand in the upper half.
static inline bool quad_matches(struct quad q, uint64_t flags, uint64_t mask)
{
	return _mm256_testz_si256(_mm256_xor_si256(q.rest, _mm256_set1_epi64x(flags)),
				  _mm256_set1_epi64x(mask));
}

static inline void quad_store(uint64_t *to, __m256i four)
{
	_mm256_storeu_si256((void *)to, four);
}

// Where `len` bytes at each address are, unless one has them not all in the last region, or a bit of `bad` is set
// that is a sign. A region is smaller than 2^62 bytes: no difference here passes for positive.
static inline bool quad_va(const struct virtq *r, struct quad q, __m256i len, __m256i bad, uint64_t *va)
{
	__m256i off = _mm256_sub_epi64(q.addr, _mm256_set1_epi64x(r->last.gpa)),
		room = _mm256_sub_epi64(_mm256_set1_epi64x(r->last.size), off),
		beyond = _mm256_or_si256(_mm256_or_si256(off, room), _mm256_sub_epi64(room, len));
	__m256d any = _mm256_castsi256_pd(_mm256_or_si256(beyond, bad));

	if (unlikely(!_mm256_testz_pd(any, any)))
		return false;
	quad_store(va, _mm256_add_epi64(_mm256_set1_epi64x((uintptr_t)r->last.va), off));
	return true;
}

// As span_of() for four.
static inline bool quad_spans(const struct virtq *r, struct quad q, struct spans *s, uint16_t at, bool asks)
{
	__m256i len = quad_len(q), too_short = _mm256_sub_epi64(len, _mm256_set1_epi64x(SPAN_MIN)),
		too_long = _mm256_sub_epi64(_mm256_set1_epi64x(SPAN_MAX), len);

	if (unlikely(!quad_va(r, q, len, _mm256_or_si256(too_short, too_long), &s->va[at])))
		return false;
	quad_store(&s->len[at], len);
	span_prefetch((void *)s->va[at], s->len[at], asks);
	span_prefetch((void *)s->va[at + 1], s->len[at + 1], asks);
	span_prefetch((void *)s->va[at + 2], s->len[at + 2], asks);
	span_prefetch((void *)s->va[at + 3], s->len[at + 3], asks);
	return true;
}

// Bytes that four packets need in their buffers.
static inline __m256i quad_need(struct pkt *const *p)
{
	return _mm256_add_epi64(_mm256_set_epi64x(p[3]->len, p[2]->len, p[1]->len, p[0]->len),
				_mm256_set1_epi64x(VIRTIO_NET_HEADER));
}

// As slot_find() for four.
static inline bool quad_slots(const struct virtq *r, struct quad q, struct pkt *const *p, __m256i need,
			      struct slots *s, uint16_t at)
{
	if (unlikely(!quad_va(r, q, need, _mm256_sub_epi64(quad_len(q), need), &s->va[at])))
		return false;
	quad_store(&s->gpa[at], q.addr);
	frame_prefetch_write((void *)s->va[at], p[0]->len);
	frame_prefetch_write((void *)s->va[at + 1], p[1]->len);
	frame_prefetch_write((void *)s->va[at + 2], p[2]->len);
	frame_prefetch_write((void *)s->va[at + 3], p[3]->len);
	return true;
}
