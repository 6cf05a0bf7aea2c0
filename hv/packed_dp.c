// Packed virtqueues (virtio 1.2, 2.8). Workers.
//
// One ring of descriptors holds what is available and what is used: a descriptor becomes used in the place
// where it was available. As in split_dp.c a burst goes in passes. Its used descriptors are written in order
// but for the first, which comes last: the guest looks there first, so that it sees all of them at once.
#include "virtq_dp.h"

#include <rte_atomic.h>

#include "dp/worker.h"
#include "journal.h"
#include "virtq_quad.h"

#define AVAIL       (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED        (1u << VRING_PACKED_DESC_F_USED)
#define EVENT_WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)
#define CHAIN_FLAGS (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT)
#define LINE        (64 / sizeof(struct vring_packed_desc))
#define ID_MASK     (0xffffull << 32) // in the upper half of a descriptor, whose flags stand above
#define FLAGS_SHIFT 48

// Where in the ring, and how the two flags look in this round over it, of descriptors that the driver has
// made available.
struct place {
	uint16_t at;
	uint16_t available; // AVAIL or USED, in turn
};

static inline struct place place_of(uint16_t at, bool wrap)
{
	return (struct place){at, wrap ? AVAIL : USED};
}

static inline struct place place_after(const struct virtq *r, struct place p, uint16_t n)
{
	uint32_t at = (uint32_t)p.at + n;

	if (unlikely(at >= r->size))
		return (struct place){at - r->size, p.available ^ (AVAIL | USED)};
	return (struct place){at, p.available};
}

static inline bool is_available(uint16_t flags, struct place p)
{
	return (flags & (AVAIL | USED)) == p.available;
}

static inline void next_set(struct virtq *r, struct place p)
{
	r->next = p.at;
	r->next_wrap = p.available == AVAIL;
}

// Chains of descriptors

// DPDK's driver calls the buffers in a table of a frame that it sends writable: they are read all the same.
static bool chain_indirect(struct virtq *r, struct chain *c, struct vring_packed_desc ref)
{
	uint32_t n;
	const uint8_t *table = chain_table(r, ref.addr, ref.len, ref.flags, &n);

	for (uint32_t i = 0; table != NULL && i < n; i++) {
		struct vring_packed_desc e;

		entry_load_unaligned(&e, table + i * sizeof(e));
		if (!chain_add(r, c, e.addr, e.len, e.flags & c->direction))
			return false;
	}
	return table != NULL;
}

// All buffers of a chain, behind those that are there, and its id, which is the last descriptor's. Returns
// its number of descriptors in the ring, 0 where chain_add() is false. The driver makes the first one
// available last.
static uint16_t chain_read(struct virtq *r, struct chain *c, struct place p, uint16_t *id)
{
	for (uint16_t n = 1; n <= r->size; n++) {
		struct vring_packed_desc e;

		entry_load(&e, &r->packed[p.at]);
		*id = e.id;
		if (e.flags & VRING_DESC_F_INDIRECT)
			return chain_indirect(r, c, e) ? n : 0;
		if (!chain_add(r, c, e.addr, e.len, e.flags))
			return 0;
		if (!(e.flags & VRING_DESC_F_NEXT))
			return n;
		p = place_after(r, p, 1);
	}
	virtq_refuse(r, VIRTQ_CHAIN);
	return 0;
}

// Completing

struct batch {
	struct place at; // the next one to complete
	uint64_t *first; // where the first used descriptor will be written
	uint64_t used;   // and what
	uint32_t n;      // descriptors that the batch completes
};

static inline struct batch batch_start(const struct virtq *r)
{
	return (struct batch){.at = place_of(r->done, r->done_wrap)};
}

// The flags of a used descriptor in this place, as they stand in its upper half. `write` says whether its length counts.
// Buffers complete in order, so a place is the same one when it is taken and when it is completed.
static inline uint64_t used_flags(struct place p, uint16_t write)
{
	return (uint64_t)(write | (p.available == AVAIL ? AVAIL | USED : 0)) << FLAGS_SHIFT;
}

// Completes one buffer of n descriptors: writes the upper half of a used one.
static inline void used_put(const struct virtq *r, struct batch *b, uint64_t used, uint16_t n)
{
	uint64_t *to = (uint64_t *)&r->packed[b->at.at] + 1;

	if (b->n == 0) {
		b->first = to;
		b->used = used;
	} else {
		__atomic_store_n(to, used, __ATOMIC_RELAXED);
	}
	b->n += n;
	b->at = place_after(r, b->at, n);
}

static inline void used_store(uint64_t *to, const uint64_t *used, uint16_t n)
{
	const uint64_t *end = used + n;

	for (; end - used >= QUAD; used += QUAD, to += QUAD * 2) {
		__atomic_store_n(&to[0], used[0], __ATOMIC_RELAXED);
		__atomic_store_n(&to[2], used[1], __ATOMIC_RELAXED);
		__atomic_store_n(&to[4], used[2], __ATOMIC_RELAXED);
		__atomic_store_n(&to[6], used[3], __ATOMIC_RELAXED);
	}
	for (; used < end; used++, to += 2)
		__atomic_store_n(to, *used, __ATOMIC_RELAXED);
}

// Completes n buffers of one descriptor each.
static inline void used_put_all(const struct virtq *r, struct batch *b, const uint64_t *used, uint16_t n)
{
	if (n > 0 && b->n == 0) {
		used_put(r, b, *used++, 1);
		n--;
	}
	while (n > 0) {
		uint16_t lap = RTE_MIN(n, r->size - b->at.at);

		used_store((uint64_t *)&r->packed[b->at.at] + 1, used, lap);
		b->n += lap;
		b->at = place_after(r, b->at, lap);
		used += lap;
		n -= lap;
	}
}

// Of four buffers of one descriptor each.
static inline __m256i quad_used(struct quad q, __m256i len, uint64_t flags)
{
	__m256i id = _mm256_and_si256(q.rest, _mm256_set1_epi64x(ID_MASK));

	return _mm256_or_si256(_mm256_or_si256(id, len), _mm256_set1_epi64x(flags));
}

// In the order of the ring: a driver may have made several available by the flags of the first.
static inline struct quad quad_read(const struct vring_packed_desc *d)
{
	__m128i a = entry_read(&d[0]), b = entry_read(&d[1]), c = entry_read(&d[2]), e = entry_read(&d[3]);

	return quad_of(a, b, c, e);
}

static void used_log(const struct virtq *r, uint16_t at, uint32_t n)
{
	struct dirty d = dirty_begin(r);
	uint32_t lap = RTE_MIN(n, (uint32_t)r->size - at);

	dirty_add_at(&d, &r->packed[at], lap * sizeof(r->packed[0]));
	dirty_add_at(&d, r->packed, (n - lap) * sizeof(r->packed[0]));
	dirty_end(&d);
}

// 2.8.10: whether the guest wants to hear of the last n descriptors. With an event index it hears of the
// first ones in any case, as in split_dp.c.
static bool wants_call(struct virtq *r, uint32_t n)
{
	uint32_t both = __atomic_load_n((uint32_t *)r->driver_event, __ATOMIC_RELAXED);
	uint16_t flags = both >> 16, off = both & (EVENT_WRAP - 1);
	bool wrap = both & EVENT_WRAP;
	int32_t ago;

	if (!r->event_idx || flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (!r->signalled) {
		r->signalled = true;
		return true;
	}
	ago = r->done - off + (wrap == r->done_wrap ? 0 : r->size);
	return ago > 0 && (uint32_t)ago <= n;
}

static void publish(struct virtq *r, struct batch b)
{
	r->done = b.at.at;
	r->done_wrap = b.at.available == AVAIL;
	__atomic_store_n(b.first, b.used, __ATOMIC_RELEASE);
	if (unlikely(r->log))
		used_log(r, (struct vring_packed_desc *)(b.first - 1) - r->packed, b.n);
	rte_smp_mb(); // the guest sees it before we see whether it wants to be told
	if (unlikely(wants_call(r, b.n)))
		virtq_call(r);
}

// Descriptors that are likely to be there. They will be written, too.
static void prefetch_ring(const struct virtq *r, uint16_t n)
{
	for (uint16_t i = 0; i < n && r->next + i < r->size; i += LINE)
		rte_prefetch0_write(&r->packed[r->next + i]);
}

// Taking

// Returns the number of descriptors, 0: not taken.
static uint16_t take_hard(struct worker *w, struct virtq *r, struct pkt *p, struct place at, uint16_t src,
			  uint16_t *id)
{
	struct chain c;

	chain_begin(&c, 0, VIRTQ_MAX_FRAME + r->header);
	uint16_t n = chain_read(r, &c, at, id);

	return n > 0 && virtq_lend(w, r, p, &c, src) ? n : 0;
}

static bool is_empty(const struct virtq *r, struct place at)
{
	return !is_available(__atomic_load_n(&r->packed[at.at].flags, __ATOMIC_RELAXED), at);
}

// The next four buffers, if each is a whole frame in one descriptor.
static inline bool take_four(struct virtq *r, struct place at, uint16_t i, struct spans *s)
{
	const uint64_t checked = (uint64_t)(AVAIL | USED | CHAIN_FLAGS) << FLAGS_SHIFT,
		       ones = 0x0001000100010001;
	struct quad q = quad_read(&r->packed[at.at]);

	if (!quad_matches(q, (uint64_t)at.available << FLAGS_SHIFT, checked) ||
	    unlikely(!quad_spans(r, q, s, i, r->asks)))
		return false;
	quad_store(&r->lent[i], quad_used(q, _mm256_setzero_si256(), used_flags(at, 0)));
	memcpy(&r->lent_n[i], &ones, sizeof(ones));
	return true;
}

// The next buffer, however it is made. Returns its number of descriptors, 0: not taken.
static uint16_t take_next(struct worker *w, struct virtq *r, struct place at, uint16_t i, struct spans *s,
			  struct pkt *p, uint16_t src)
{
	__m128i e = entry_read(&r->packed[at.at]);
	uint64_t rest = entry_rest(e);
	uint16_t id = rest >> 32, n_desc = 1;
	uint16_t odd = (rest >> FLAGS_SHIFT ^ at.available) & (AVAIL | USED | CHAIN_FLAGS);
	bool alone = likely(odd == 0) && r->header == VIRTIO_NET_HEADER;

	if (odd & (AVAIL | USED))
		return 0;
	if (unlikely(!span_find(r, s, i, entry_addr(e), alone ? (uint32_t)rest : UINT64_MAX, r->asks))) {
		n_desc = take_hard(w, r, p, at, src, &id);
		r->lent_chains = true;
	}
	r->lent[i] = (uint64_t)id << 32 | used_flags(at, 0);
	r->lent_n[i] = n_desc;
	return n_desc;
}

// Finds up to n packets: those that are not in spans are lent already. Returns how many.
static uint16_t take_all(struct worker *w, struct virtq *r, struct spans *s, struct pkt *pkts, uint16_t n,
			 uint16_t src)
{
	struct place at = place_of(r->next, r->next_wrap);
	uint16_t i = 0, n_desc = 1;

	while (i < n && n_desc > 0) {
		uint16_t end = RTE_MIN(i + QUAD, n);

		if (likely(end - i == QUAD && r->size - at.at >= QUAD && r->header == VIRTIO_NET_HEADER) &&
		    likely(take_four(r, at, i, s))) {
			at = place_after(r, at, QUAD);
			i = end;
			continue;
		}
		for (; i < end && (n_desc = take_next(w, r, at, i, s, &pkts[i], src)) > 0; i++)
			at = place_after(r, at, n_desc);
	}
	next_set(r, at);
	return i;
}

uint16_t packed_take(struct worker *w, struct virtq *r, struct pkt *pkts, uint16_t n, uint16_t src)
{
	const bool asks = r->asks;
	struct spans s;

	if (is_empty(r, place_of(r->next, r->next_wrap))) {
		r->n_before = 0;
		return 0;
	}
	prefetch_ring(r, r->n_before);
	w->n_lent = 0;
	r->lent_chains = false;
	n = take_all(w, r, &s, pkts, n, src);
	for (uint16_t i = 0; i < n; i++)
		if (likely(s.va[i] != 0))
			lend_one(&pkts[i], (void *)s.va[i], s.len[i], src, asks);
	r->n_lent = r->n_before = n;
	return n;
}

void packed_give_back(struct virtq *r)
{
	struct batch b = batch_start(r);
	uint16_t n = r->n_lent;

	journal_note(r);
	if (unlikely(r->lent_chains)) {
		for (uint16_t i = 0; i < n; i++)
			used_put(r, &b, r->lent[i], r->lent_n[i]);
	} else {
		used_put_all(r, &b, r->lent, n);
	}
	if (b.n > 0)
		publish(r, b);
	r->n_lent = 0;
}

// Putting

static inline bool slot_four(const struct virtq *r, struct place at, uint16_t i, struct pkt **pkts,
			     struct slots *s)
{
	const uint64_t checked = (uint64_t)(AVAIL | USED | CHAIN_FLAGS) << FLAGS_SHIFT;
	struct quad q = quad_read(&r->packed[at.at]);
	__m256i need = quad_need(&pkts[i]);

	if (unlikely(
		!quad_matches(q, (uint64_t)(at.available | VRING_DESC_F_WRITE) << FLAGS_SHIFT, checked)) ||
	    unlikely(!quad_slots(r, q, &pkts[i], need, s, i)))
		return false;
	quad_store(&s->used[i], quad_used(q, need, used_flags(at, VRING_DESC_F_WRITE)));
	return true;
}

static inline bool slot_next(struct virtq *r, struct place at, uint16_t i, const struct pkt *p,
			     struct slots *s)
{
	uint16_t wanted = at.available | VRING_DESC_F_WRITE;
	uint32_t need = VIRTIO_NET_HEADER + p->len;
	__m128i e = entry_read(&r->packed[at.at]);
	uint64_t rest = entry_rest(e);

	if (unlikely(((rest >> FLAGS_SHIFT) & (AVAIL | USED | CHAIN_FLAGS)) != wanted ||
		     (uint32_t)rest < need))
		return false;
	s->va[i] = (uintptr_t)virtq_va(r, entry_addr(e), need);
	s->gpa[i] = entry_addr(e);
	s->used[i] = (rest & ID_MASK) | need | used_flags(at, VRING_DESC_F_WRITE);
	if (unlikely(s->va[i] == 0))
		return false;
	frame_prefetch_write((void *)s->va[i], p->len);
	return true;
}

// Receive buffers for the first packets that fit into one descriptor each, up to the end of the ring.
static uint16_t collect(struct virtq *r, struct pkt **pkts, uint16_t n, struct slots *s)
{
	struct place at = place_of(r->next, r->next_wrap);
	uint16_t i = 0;

	while (i < n) {
		uint16_t end = RTE_MIN(i + QUAD, n);

		if (likely(end - i == QUAD) && likely(slot_four(r, at, i, pkts, s))) {
			i = end;
			at.at += QUAD;
			continue;
		}
		for (; i < end; i++, at.at++)
			if (unlikely(!slot_next(r, at, i, pkts[i], s)))
				return i;
	}
	return n;
}

static void slots_log(const struct virtq *r, const struct slots *s, uint16_t n)
{
	struct dirty d = dirty_begin(r);

	for (uint16_t i = 0; i < n; i++)
		dirty_add(&d, s->gpa[i], (uint32_t)s->used[i]);
	dirty_end(&d);
}

static void put_collected(struct virtq *r, struct batch *batch, struct pkt **pkts, uint16_t n,
			  const struct slots *s)
{
	for (uint16_t i = 0; i < n; i++)
		whole_put((void *)s->va[i], pkts[i]);
	if (unlikely(r->log))
		slots_log(r, s, n);
	next_set(r, place_after(r, place_of(r->next, r->next_wrap), n));
	journal_note(r);
	// The guest looks at these lines all the time: they are written at once.
	used_put_all(r, batch, s->used, n);
}

// One packet into as many buffers as it takes. False: it does not fit.
static bool put_hard(struct virtq *r, struct batch *b, const struct pkt *p)
{
	struct place at = place_of(r->next, r->next_wrap);
	uint32_t need = r->header + p->len;
	uint64_t used[VIRTQ_MAX_PIECES];
	struct chain c;
	uint16_t n = 0, id, n_desc[VIRTQ_MAX_PIECES];
	uint32_t n_all = 0; // descriptors

	chain_begin(&c, VRING_DESC_F_WRITE, need);
	while (c.bytes < need) {
		uint32_t before = c.bytes;
		uint16_t flags = __atomic_load_n(&r->packed[at.at].flags, __ATOMIC_ACQUIRE);

		if (n == VIRTQ_MAX_PIECES || n_all >= r->size || (n > 0 && !r->mergeable))
			return virtq_unfit(r);
		if (!is_available(flags, at))
			return false;
		n_desc[n] = chain_read(r, &c, at, &id);
		if (n_desc[n] == 0)
			return r->fault == VIRTQ_FINE && virtq_unfit(r);
		n_all += n_desc[n];
		used[n] = (c.bytes - before) | (uint64_t)id << 32 | used_flags(at, VRING_DESC_F_WRITE);
		at = place_after(r, at, n_desc[n++]);
	}
	virtq_fill(r, p, c.pieces, n);
	next_set(r, at);
	journal_note(r);
	for (uint16_t i = 0; i < n; i++)
		used_put(r, b, used[i], n_desc[i]);
	return true;
}

uint16_t packed_put(struct virtq *r, struct pkt **pkts, uint16_t n)
{
	struct batch b = batch_start(r);
	struct slots slots;
	uint16_t sent = 0;

	r->unfit = false;
	prefetch_ring(r, n);
	while (sent < n) {
		uint16_t room = RTE_MIN(RTE_MIN(n - sent, PKT_BURST), r->size - r->next), k = 0;

		if (likely(r->header == VIRTIO_NET_HEADER))
			k = collect(r, pkts + sent, room, &slots);
		put_collected(r, &b, pkts + sent, k, &slots);
		sent += k;
		if (likely(k == room))
			continue;
		if (!put_hard(r, &b, pkts[sent]))
			break;
		sent++;
	}
	if (likely(b.n > 0)) {
		publish(r, b);
		prefetch_ring(r, LINE + 1);
	}
	return sent;
}

// 2.8.10: with event indexes the next descriptor that becomes available is what we wait for. Without them that half counts
// for nothing, and keeps the word from being 0, as it is in a ring that the driver has just made (journal.h).
void packed_notify(struct virtq *r, bool on)
{
	uint32_t flags = !on            ? VRING_PACKED_EVENT_FLAG_DISABLE
			 : r->event_idx ? VRING_PACKED_EVENT_FLAG_DESC
					: VRING_PACKED_EVENT_FLAG_ENABLE;
	uint32_t off_wrap = r->event_idx && !r->next_wrap ? r->next : r->next | EVENT_WRAP;

	__atomic_store_n((uint32_t *)r->device_event, off_wrap | flags << 16, __ATOMIC_RELAXED);
	if (unlikely(r->log))
		virtq_log_at(r, r->device_event, sizeof(*r->device_event));
}
