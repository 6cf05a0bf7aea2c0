// Inside the rings: what split and packed ones share. Workers.
#pragma once

#include "virtq.h"

#include <string.h>

#include <immintrin.h>
#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

// Where a frame's bytes are in the guest.
struct virtq_piece {
	uint8_t *va;
	uint64_t gpa;
	uint32_t len;
};

// The buffers of one frame, in order.
struct chain {
	struct virtq_piece pieces[VIRTQ_MAX_PIECES];
	uint16_t n;
	uint16_t direction;    // 0, or VRING_DESC_F_WRITE
	uint32_t bytes, limit; // so far; to read: no frame is longer, to write: more is not needed
};

// Not by an initializer, which would clear the pieces.
static inline void chain_begin(struct chain *c, uint16_t direction, uint32_t limit)
{
	c->n = 0;
	c->bytes = 0;
	c->direction = direction;
	c->limit = limit;
}

// A descriptor of a ring, read once. Volatile, as else the compiler may read parts of it again; in one
// aligned load, as that makes the flags of a packed descriptor no newer than the rest.
static inline __m128i entry_read(const void *from)
{
	return *(const volatile __m128i *)from;
}

static inline void entry_load(void *to, const void *from)
{
	__m128i v = entry_read(from);

	memcpy(to, &v, sizeof(v));
}

static inline uint64_t entry_addr(__m128i entry)
{
	return _mm_cvtsi128_si64(entry);
}

// Its length, and above that the two halves of 16 bits.
static inline uint64_t entry_rest(__m128i entry)
{
	return _mm_extract_epi64(entry, 1);
}

// The same of an indirect table, which may stand anywhere.
static inline void entry_load_unaligned(void *to, const void *from)
{
	const volatile __m128i_u *v = from;
	__m128i copy = *v;

	memcpy(to, &copy, sizeof(copy));
}

void *virtq_va_search(struct virtq *r, uint64_t gpa, uint32_t len);

// NULL when it is not in one piece of the guest's memory.
static inline void *virtq_va(struct virtq *r, uint64_t gpa, uint32_t len)
{
	uint64_t off = gpa - r->last.gpa;

	if (likely(off < r->last.size && len <= r->last.size - off))
		return r->last.va + off;
	return virtq_va_search(r, gpa, len);
}

static inline bool virtq_refuse(struct virtq *r, enum virtq_fault fault)
{
	__atomic_store_n(&r->fault, fault, __ATOMIC_RELAXED);
	return false;
}

// For a frame that does not fit into buffers which are there. Returns 0.
static inline uint16_t virtq_unfit(struct virtq *r)
{
	r->unfit = true;
	return 0;
}

// Adds a buffer, which must be of the chain's direction. False: the ring has a fault, or, of buffers to
// write, there are more pieces than one frame can have.
bool chain_add(struct virtq *r, struct chain *c, uint64_t gpa, uint32_t len, uint16_t flags);

// The table that a descriptor without VRING_DESC_F_NEXT refers to, and its number of descriptors. NULL:
// fault.
const uint8_t *chain_table(struct virtq *r, uint64_t gpa, uint32_t len, uint16_t flags, uint32_t *n);

// n >= 1. Nothing beyond n bytes is written or read. Where the two overlap (two devices of one guest) there
// are any bytes.
static inline void copy_bytes(uint8_t *to, const uint8_t *from, uint32_t n)
{
	if (unlikely(n < 32)) {
		if (n >= 16) {
			__m128i a = _mm_loadu_si128((const void *)from),
				b = _mm_loadu_si128((const void *)(from + n - 16));

			_mm_storeu_si128((void *)to, a);
			_mm_storeu_si128((void *)(to + n - 16), b);
		} else {
			memmove(to, from, n);
		}
		return;
	}
	__m256i last = _mm256_loadu_si256((const void *)(from + n - 32));
	uint32_t i = 0;

	for (; i + 64 <= n; i += 64) {
		__m256i a = _mm256_loadu_si256((const void *)(from + i)),
			b = _mm256_loadu_si256((const void *)(from + i + 32));

		_mm256_storeu_si256((void *)(to + i), a);
		_mm256_storeu_si256((void *)(to + i + 32), b);
	}
	if (i + 32 < n)
		_mm256_storeu_si256((void *)(to + i), _mm256_loadu_si256((const void *)(from + i)));
	_mm256_storeu_si256((void *)(to + n - 32), last);
}

// The same of at least 32 and up to PKT_HEAD bytes, without a loop.
static inline void copy_short(uint8_t *to, const uint8_t *from, uint32_t n)
{
	__m256i a = _mm256_loadu_si256((const void *)from),
		z = _mm256_loadu_si256((const void *)(from + n - 32));

	if (n > 64) {
		__m256i b = _mm256_loadu_si256((const void *)(from + 32)),
			y = _mm256_loadu_si256((const void *)(from + n - 64));

		_mm256_storeu_si256((void *)(to + 32), b);
		_mm256_storeu_si256((void *)(to + n - 64), y);
	}
	_mm256_storeu_si256((void *)to, a);
	_mm256_storeu_si256((void *)(to + n - 32), z);
}
static_assert(PKT_HEAD <= 128, "two loads from each end");

static inline void copy_head(uint8_t *to, const uint8_t *from, uint32_t n)
{
	if (likely(n - 32 <= PKT_HEAD - 32))
		copy_short(to, from, n);
	else
		copy_bytes(to, from, n);
}

static inline const uint8_t *line_of(const uint8_t *va)
{
	return (const uint8_t *)((uintptr_t)va & ~(uintptr_t)(RTE_CACHE_LINE_SIZE - 1));
}

#define PREFETCH_BYTES 512 // of a buffer: then the processor has seen where a copy goes

// The last byte of those that are fetched of a frame.
static inline const uint8_t *fetched_last(const uint8_t *frame, uint32_t len)
{
	return frame + RTE_MIN(len, (uint32_t)PREFETCH_BYTES) - 1;
}

// The first bytes of a frame to be read. A virtio header stands in front of them; it often ends the line before.
static inline void frame_prefetch(const uint8_t *frame, uint32_t len)
{
	rte_prefetch0(frame);
	if (likely(len <= RTE_CACHE_LINE_SIZE)) {
		rte_prefetch0(frame + len - 1);
		return;
	}
	const uint8_t *last = fetched_last(frame, len);

	for (frame = line_of(frame) + RTE_CACHE_LINE_SIZE; frame <= last; frame += RTE_CACHE_LINE_SIZE)
		rte_prefetch0(frame);
}

// A buffer to be written, for a frame of `len` bytes. Its virtio header mostly is what it has to be already, and is only
// read then: both sides keep that line when it holds nothing else.
static inline void frame_prefetch_write(const uint8_t *va, uint32_t len)
{
	const uint8_t *frame = va + VIRTIO_NET_HEADER;

	rte_prefetch0(va);
	rte_prefetch0_write(frame);
	if (likely(len <= RTE_CACHE_LINE_SIZE)) {
		rte_prefetch0_write(frame + len - 1);
		return;
	}
	const uint8_t *last = fetched_last(frame, len);

	for (frame = line_of(frame) + RTE_CACHE_LINE_SIZE; frame <= last; frame += RTE_CACHE_LINE_SIZE)
		rte_prefetch0_write(frame);
}

// Buffers of a burst that hold a whole frame each, behind its virtio header; va 0 = the frame is in several.
struct spans {
	uint64_t va[PKT_BURST], len[PKT_BURST];
};

#define SPAN_MIN (VIRTIO_NET_HEADER + 1)
#define SPAN_MAX (VIRTIO_NET_HEADER + VIRTQ_MAX_FRAME)

static inline void span_prefetch(const uint8_t *va, uint32_t len, bool asks)
{
	if (asks) // else the line of a header that says nothing is not even fetched
		rte_prefetch0(va);
	frame_prefetch(va + VIRTIO_NET_HEADER, len - VIRTIO_NET_HEADER);
}

// Where a buffer to read is, if it is one that frames are in by themselves. `len` has bits above the lower half
// that say otherwise.
static inline bool span_find(struct virtq *r, struct spans *s, uint16_t at, uint64_t gpa, uint64_t len,
			     bool asks)
{
	uint8_t *va = NULL;

	if (likely(len - SPAN_MIN <= SPAN_MAX - SPAN_MIN))
		va = virtq_va(r, gpa, len);
	s->va[at] = (uintptr_t)va;
	s->len[at] = len;
	if (likely(va != NULL))
		span_prefetch(va, len, asks);
	return va != NULL;
}

static inline void lend_one(struct pkt *p, const uint8_t *va, uint32_t bytes, uint16_t src, bool asks)
{
	const uint8_t *frame = va + VIRTIO_NET_HEADER;
	uint32_t len = bytes - VIRTIO_NET_HEADER;

	p->data = p->head + PKT_HEADROOM;
	p->m = NULL;
	p->len = len;
	p->head_len = len;
	p->src = src;
	pkt_clear(p);
	if (asks)
		memcpy(&p->vnet, va, sizeof(p->vnet));
	if (unlikely(len > PKT_HEAD)) {
		p->head_len = PKT_HEAD;
		p->n_tail = 1;
		p->tail.iov = &p->tail.one;
		p->tail.one = (struct iovec){(uint8_t *)frame + PKT_HEAD, len - PKT_HEAD};
		copy_short(p->head + PKT_HEADROOM, frame, PKT_HEAD);
	} else {
		copy_head(p->head + PKT_HEADROOM, frame, len);
	}
}

// The same of any pieces. False: a fault, or no room in the worker for more of them.
bool virtq_lend(struct worker *w, struct virtq *r, struct pkt *p, const struct chain *c, uint16_t src);

// Buffers of a burst to write, each of which has room for a whole packet.
struct slots {
	uint64_t va[PKT_BURST], gpa[PKT_BURST];
	uint64_t used[PKT_BURST]; // what the used ring says of each
};

// The virtio header that a frame in n_buffers buffers gets, as two words.
struct virtq_header {
	uint64_t first;
	uint32_t last;
};

static inline struct virtq_header header_for(const struct pkt *p, uint16_t n_buffers)
{
	struct virtq_header h;

	memcpy(&h.first, &p->vnet, sizeof(h.first));
	h.last = p->vnet.csum_offset | (uint32_t)n_buffers << 16;
	return h;
}

// Writes only what differs: the guest's lines are dear.
static inline void header_put(uint8_t *to, struct virtq_header h)
{
	uint64_t first;
	uint32_t last;

	memcpy(&first, to, sizeof(first));
	memcpy(&last, to + sizeof(first), sizeof(last));
	if (first != h.first)
		memcpy(to, &h.first, sizeof(h.first));
	if (last != h.last)
		memcpy(to + sizeof(h.first), &h.last, sizeof(h.last));
}

// What is not in a packet's first piece.
static inline void frame_put_rest(uint8_t *to, const struct pkt *p)
{
	for (uint16_t i = 0; p->m == NULL && i < p->n_tail; i++) {
		copy_bytes(to, p->tail.iov[i].iov_base, p->tail.iov[i].iov_len);
		to += p->tail.iov[i].iov_len;
	}
	for (const struct rte_mbuf *m = p->m == NULL ? NULL : p->m->next; m != NULL; m = m->next) {
		if (m->data_len > 0)
			copy_bytes(to, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);
		to += m->data_len;
	}
}

// The whole frame behind one header, into one buffer that has room.
static inline void frame_put(uint8_t *to, const struct pkt *p)
{
	const uint32_t n = p->head_len, more = p->len - n;

	copy_head(to, p->data, n);
	if (unlikely(more > 0))
		frame_put_rest(to + n, p);
}

// With its header.
static inline void whole_put(uint8_t *to, const struct pkt *p)
{
	header_put(to, header_for(p, 1));
	frame_put(to + VIRTIO_NET_HEADER, p);
}

// The same into any pieces that have room for it: the header for n_buffers, then the frame.
void virtq_fill(const struct virtq *r, const struct pkt *p, const struct virtq_piece *pieces,
		uint16_t n_buffers);

// Guest pages that are to be logged as written, after the writing; only with r->log. Pages of 64 that are neighbours go
// into the log at once: that is dear, as it must not be torn.
#define LOG_PAGE 4096 // vhost-user specification, "Migration"

struct dirty {
	const struct virtq_memory *memory;
	uint64_t word, bits; // of the log
};

void dirty_end(struct dirty *d);

static inline struct dirty dirty_begin(const struct virtq *r)
{
	return (struct dirty){r->memory, 0, 0};
}

// The range is within the guest's memory, so it does not wrap.
static inline void dirty_add(struct dirty *d, uint64_t gpa, uint32_t len)
{
	uint64_t page = gpa / LOG_PAGE, last = (gpa + len - 1) / LOG_PAGE;

	for (; len > 0 && page <= last; page++) {
		if (unlikely(page / 64 != d->word)) {
			dirty_end(d);
			d->word = page / 64;
		}
		d->bits |= 1ULL << page % 64;
	}
}

// The same of anything of ours in the guest's memory; by itself: virtq_log_at().
void dirty_add_at(struct dirty *d, const void *va, uint32_t len);
void virtq_log_at(const struct virtq *r, const void *va, uint32_t len);

// Interrupts the guest.
void virtq_call(struct virtq *r);
