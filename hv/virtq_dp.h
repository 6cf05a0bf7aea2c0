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
static inline void entry_load(void *to, const void *from)
{
	__m128i v = *(const volatile __m128i *)from;

	memcpy(to, &v, sizeof(v));
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

static inline const uint8_t *line_of(const uint8_t *va)
{
	return (const uint8_t *)((uintptr_t)va & ~(uintptr_t)(RTE_CACHE_LINE_SIZE - 1));
}

#define PREFETCH_BYTES 512 // of a buffer: then the processor has seen where a copy goes

// The lines of a header, where it matters, and of the first bytes of a frame, to be read or to be written.
static inline void frame_prefetch(const uint8_t *va, uint32_t len, bool header)
{
	const uint8_t *end = va + RTE_MIN(len, (uint32_t)PREFETCH_BYTES);

	if (header)
		rte_prefetch0(va);
	rte_prefetch0(va + VIRTIO_NET_HEADER);
	rte_prefetch0(end - 1);
	for (va = line_of(va) + 2 * RTE_CACHE_LINE_SIZE; unlikely(va < end); va += RTE_CACHE_LINE_SIZE)
		rte_prefetch0(va);
}

static inline void frame_prefetch_write(const uint8_t *va, uint32_t len)
{
	const uint8_t *end = va + RTE_MIN(len, (uint32_t)PREFETCH_BYTES);

	rte_prefetch0_write(va);
	rte_prefetch0_write(end - 1);
	for (va = line_of(va) + RTE_CACHE_LINE_SIZE; unlikely(va + RTE_CACHE_LINE_SIZE < end);
	     va += RTE_CACHE_LINE_SIZE)
		rte_prefetch0_write(va);
}

// A packet of frame bytes [header, len) of one buffer.
static inline void lend_one(const struct virtq *r, struct pkt *p, uint8_t *va, uint32_t len, uint16_t src)
{
	uint32_t n;

	// The line of a header that says nothing is not even fetched.
	if (r->asks)
		memcpy(&p->vnet, va, sizeof(p->vnet));
	else
		memset(&p->vnet, 0, sizeof(p->vnet));
	va += VIRTIO_NET_HEADER;
	len -= VIRTIO_NET_HEADER;
	n = RTE_MIN(len, (uint32_t)PKT_HEAD);
	copy_bytes(p->head + PKT_HEADROOM, va, n);
	p->m = NULL;
	p->data = p->head + PKT_HEADROOM;
	p->len = len;
	p->head_len = n;
	p->src = src;
	p->vid = 0;
	p->flags = 0;
	p->n_users = 0;
	p->hash = 0;
	p->vsid = 0;
	p->n_tail = len > n;
	if (p->n_tail) {
		p->tail.iov = &p->tail.one;
		p->tail.one = (struct iovec){va + n, len - n};
	}
}

// The same of any pieces. False: a fault, or no room in the worker for more of them.
bool virtq_lend(struct worker *w, struct virtq *r, struct pkt *p, const struct chain *c, uint16_t src);

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

// The whole frame behind one header, into one buffer that has room.
static inline void frame_put(uint8_t *to, const struct pkt *p)
{
	copy_bytes(to, p->data, p->head_len);
	if (p->m == NULL ? p->n_tail == 0 : p->m->next == NULL)
		return;
	to += p->head_len;
	if (p->m == NULL) {
		for (uint16_t i = 0; i < p->n_tail; i++) {
			copy_bytes(to, p->tail.iov[i].iov_base, p->tail.iov[i].iov_len);
			to += p->tail.iov[i].iov_len;
		}
		return;
	}
	for (const struct rte_mbuf *m = p->m->next; m != NULL; m = m->next) {
		if (m->data_len > 0)
			copy_bytes(to, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);
		to += m->data_len;
	}
}

// The same into any pieces that have room for it: the header for n_buffers, then the frame.
void virtq_fill(const struct virtq *r, const struct pkt *p, const struct virtq_piece *pieces,
		uint16_t n_buffers);

// Log guest pages as written, after the writing; only with r->log. virtq_log_used(): bytes of a split ring's
// used area, virtq_log_at(): bytes of anything of ours in the guest's memory.
void virtq_log(const struct virtq *r, uint64_t gpa, uint32_t len);
void virtq_log_used(const struct virtq *r, uint64_t offset, uint32_t len);
void virtq_log_at(const struct virtq *r, const void *va, uint32_t len);

// Interrupts the guest.
void virtq_call(struct virtq *r);
