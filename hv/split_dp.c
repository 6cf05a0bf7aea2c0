// Split virtqueues (virtio 1.2, 2.7). Workers.
//
// Both directions go in passes over a burst, so that lines of the guest's memory come while others are worked
// on: heads, then descriptors, then bytes; the used index is published once.
#include "virtq_dp.h"

#include <rte_atomic.h>

#include "dp/worker.h"
#include "virtq_quad.h"

// Entries that the guest has made available and nobody has taken.
static uint16_t available(struct virtq *r)
{
	uint16_t n = __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE) - r->next;

	if (unlikely(n > r->size)) {
		virtq_refuse(r, VIRTQ_INDEX);
		return 0;
	}
	return n;
}

static uint16_t head_at(const struct virtq *r, uint16_t entry)
{
	return __atomic_load_n(&r->avail->ring[entry & (r->size - 1)], __ATOMIC_RELAXED);
}

// Chains of descriptors

static bool chain_indirect(struct virtq *r, struct chain *c, struct vring_desc ref)
{
	uint32_t n, at = 0;
	const uint8_t *table = chain_table(r, ref.addr, ref.len, ref.flags, &n);

	for (uint32_t seen = 0; table != NULL && seen < n; seen++) {
		struct vring_desc e;

		if (at >= n)
			break;
		entry_load_unaligned(&e, table + at * sizeof(e));
		if (e.flags & VRING_DESC_F_INDIRECT)
			return virtq_refuse(r, VIRTQ_INDIRECT);
		if (!chain_add(r, c, e.addr, e.len, e.flags))
			return false;
		if (!(e.flags & VRING_DESC_F_NEXT))
			return true;
		at = e.next;
	}
	return table != NULL && virtq_refuse(r, VIRTQ_CHAIN);
}

// All buffers of a chain, behind those that are there. False: as chain_add().
static bool chain_read(struct virtq *r, struct chain *c, uint16_t head)
{
	uint16_t at = head;

	for (uint32_t seen = 0; seen < r->size; seen++) {
		struct vring_desc e;

		if (at >= r->size)
			return virtq_refuse(r, seen == 0 ? VIRTQ_HEAD : VIRTQ_CHAIN);
		entry_load(&e, &r->desc[at]);
		if (e.flags & VRING_DESC_F_INDIRECT)
			return chain_indirect(r, c, e);
		if (!chain_add(r, c, e.addr, e.len, e.flags))
			return false;
		if (!(e.flags & VRING_DESC_F_NEXT))
			return true;
		at = e.next;
	}
	return virtq_refuse(r, VIRTQ_CHAIN);
}

// Completing

// An element of the used ring.
static inline uint64_t used_of(uint16_t id, uint32_t len)
{
	return id | (uint64_t)len << 32;
}

// Writes n elements from the entry on; they count when the index is published.
static void used_put(struct virtq *r, uint16_t entry, const uint64_t *used, uint16_t n)
{
	uint16_t at = entry & (r->size - 1), lap = RTE_MIN(n, r->size - at);
	struct vring_used_elem *ring = r->used->ring;

	memcpy(&ring[at], used, lap * sizeof(*used));
	if (unlikely(n > lap))
		memcpy(ring, used + lap, (n - lap) * sizeof(*used));
}

static void used_log(const struct virtq *r, uint16_t entry, uint16_t n)
{
	struct dirty d = dirty_begin(r);
	uint16_t at = entry & (r->size - 1), lap = RTE_MIN(n, r->size - at);

	dirty_add_at(&d, &r->used->ring[at], lap * sizeof(struct vring_used_elem));
	dirty_add_at(&d, r->used->ring, (n - lap) * sizeof(struct vring_used_elem));
	dirty_add_at(&d, &r->used->idx, sizeof(r->used->idx));
	dirty_end(&d);
}

// 2.7.7.2, 2.7.10: whether the guest wants to hear of what was completed since `was`. The first time it hears
// in any case: whoever worked on the ring before may have completed without saying so.
static bool wants_call(struct virtq *r, uint16_t was)
{
	uint16_t wanted;

	if (!r->event_idx)
		return !(__atomic_load_n(&r->avail->flags, __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT);
	if (!r->signalled) {
		r->signalled = true;
		return true;
	}
	wanted = __atomic_load_n(&r->avail->ring[r->size], __ATOMIC_RELAXED);
	return (uint16_t)(r->done - wanted - 1) < (uint16_t)(r->done - was);
}

// The next n entries of the used ring have been written.
static void publish(struct virtq *r, uint16_t n)
{
	uint16_t was = r->done;

	r->done += n;
	__atomic_store_n(&r->used->idx, r->done, __ATOMIC_RELEASE);
	if (unlikely(r->log))
		used_log(r, was, n);
	rte_smp_mb(); // the guest sees it before we see whether it wants to be told
	if (unlikely(wants_call(r, was)))
		virtq_call(r);
}

// Taking

static bool take_hard(struct worker *w, struct virtq *r, struct pkt *p, uint16_t head, uint16_t src)
{
	struct chain c;

	chain_begin(&c, 0, VIRTQ_MAX_FRAME + r->header);
	return chain_read(r, &c, head) && virtq_lend(w, r, p, &c, src);
}

// The heads of the next n chains, as the used ring will say them. Returns how many of them are good.
static uint16_t heads_take(struct virtq *r, uint16_t n)
{
	const uint16_t *ring = r->avail->ring, next = r->next, size = r->size;
	const struct vring_desc *desc = r->desc;
	uint64_t *heads = r->lent;

	for (uint16_t i = 0; i < n; i++) {
		uint16_t head = __atomic_load_n(&ring[(next + i) & (size - 1)], __ATOMIC_RELAXED);

		if (unlikely(head >= size)) {
			virtq_refuse(r, VIRTQ_HEAD);
			return i;
		}
		heads[i] = used_of(head, 0);
		rte_prefetch0(&desc[head]);
	}
	return n;
}

static inline struct quad quad_read(const struct vring_desc *desc, const uint64_t *heads)
{
	return quad_of(entry_read(&desc[(uint16_t)heads[0]]), entry_read(&desc[(uint16_t)heads[1]]),
		       entry_read(&desc[(uint16_t)heads[2]]), entry_read(&desc[(uint16_t)heads[3]]));
}

// The flags stand between the length and the number of a next descriptor, which says nothing without them.
#define FLAGS(flags) ((uint64_t)(flags) << 32)
#define ALL_FLAGS    FLAGS(UINT16_MAX)

static inline bool span_four(struct virtq *r, struct spans *s, uint16_t i)
{
	struct quad q = quad_read(r->desc, &r->lent[i]);

	return likely(quad_matches(q, 0, ALL_FLAGS)) && quad_spans(r, q, s, i, r->asks);
}

static inline void span_next(struct virtq *r, struct spans *s, uint16_t i)
{
	__m128i e = entry_read(&r->desc[(uint16_t)r->lent[i]]);

	span_find(r, s, i, entry_addr(e), entry_rest(e) & (ALL_FLAGS | UINT32_MAX), r->asks);
}

// Of chains of one descriptor.
static void spans_find(struct virtq *r, struct spans *s, uint16_t n)
{
	for (uint16_t i = 0; i < n;) {
		uint16_t end = RTE_MIN(i + QUAD, n);

		if (likely(end - i == QUAD) && likely(span_four(r, s, i)))
			i = end;
		for (; i < end; i++)
			span_next(r, s, i);
	}
}

uint16_t split_take(struct worker *w, struct virtq *r, struct pkt *pkts, uint16_t n, uint16_t src)
{
	bool asks = r->asks;
	struct spans s;
	uint16_t i;

	n = RTE_MIN(n, available(r));
	if (n == 0)
		return 0;
	w->n_lent = 0;
	n = heads_take(r, n);
	if (likely(r->header == VIRTIO_NET_HEADER))
		spans_find(r, &s, n);
	else
		memset(s.va, 0, sizeof(s.va));
	for (i = 0; i < n; i++) {
		if (likely(s.va[i] != 0))
			lend_one(&pkts[i], (void *)s.va[i], s.len[i], src, asks);
		else if (!take_hard(w, r, &pkts[i], r->lent[i], src))
			break;
	}
	r->next += i;
	r->n_lent = i;
	return i;
}

void split_give_back(struct virtq *r)
{
	uint16_t n = r->n_lent;

	used_put(r, r->done, r->lent, n);
	if (n > 0)
		publish(r, n);
	r->n_lent = 0;
}

// Putting

// The heads of the next chains, up to the first that is not good.
static uint16_t heads_look(const struct virtq *r, uint64_t *heads, uint16_t n)
{
	const uint16_t *ring = r->avail->ring, next = r->next, size = r->size;

	for (uint16_t i = 0; i < n; i++) {
		uint16_t head = __atomic_load_n(&ring[(next + i) & (size - 1)], __ATOMIC_RELAXED);

		if (unlikely(head >= size))
			return i;
		heads[i] = head;
	}
	return n;
}

// s->used has the heads, which get their lengths.
static inline bool slot_four(const struct virtq *r, uint16_t i, struct pkt **pkts, struct slots *s)
{
	struct quad q = quad_read(r->desc, &s->used[i]);
	__m256i need = quad_need(&pkts[i]), heads = _mm256_loadu_si256((void *)&s->used[i]);

	if (unlikely(!quad_matches(q, FLAGS(VRING_DESC_F_WRITE), ALL_FLAGS)) ||
	    unlikely(!quad_slots(r, q, &pkts[i], need, s, i)))
		return false;
	quad_store(&s->used[i], _mm256_or_si256(heads, _mm256_slli_epi64(need, 32)));
	return true;
}

static inline bool slot_next(struct virtq *r, uint16_t i, const struct pkt *p, struct slots *s)
{
	uint32_t need = VIRTIO_NET_HEADER + p->len;
	__m128i e = entry_read(&r->desc[(uint16_t)s->used[i]]);
	uint64_t rest = entry_rest(e);

	if (unlikely((rest & ALL_FLAGS) != FLAGS(VRING_DESC_F_WRITE) || (uint32_t)rest < need))
		return false;
	s->va[i] = (uintptr_t)virtq_va(r, entry_addr(e), need);
	s->gpa[i] = entry_addr(e);
	s->used[i] = used_of(s->used[i], need);
	if (unlikely(s->va[i] == 0))
		return false;
	frame_prefetch_write((void *)s->va[i], p->len);
	return true;
}

// Receive buffers for the first packets that fit into one descriptor each.
static uint16_t collect(struct virtq *r, struct pkt **pkts, uint16_t n, struct slots *s)
{
	n = heads_look(r, s->used, n);
	for (uint16_t i = 0; i < n;) {
		uint16_t end = RTE_MIN(i + QUAD, n);

		if (likely(end - i == QUAD) && likely(slot_four(r, i, pkts, s)))
			i = end;
		for (; i < end; i++)
			if (unlikely(!slot_next(r, i, pkts[i], s)))
				return i;
	}
	return n;
}

static void slots_log(const struct virtq *r, const struct slots *s, uint16_t n)
{
	struct dirty d = dirty_begin(r);

	for (uint16_t i = 0; i < n; i++)
		dirty_add(&d, s->gpa[i], s->used[i] >> 32);
	dirty_end(&d);
}

static void put_collected(struct virtq *r, struct pkt **pkts, uint16_t n, const struct slots *s,
			  uint16_t n_before)
{
	for (uint16_t i = 0; i < n; i++)
		whole_put((void *)s->va[i], pkts[i]);
	used_put(r, r->done + n_before, s->used, n);
	if (unlikely(r->log))
		slots_log(r, s, n);
	r->next += n;
}

// One packet into as many chains as it takes. Returns how many, 0 if it does not fit.
static uint16_t put_hard(struct virtq *r, const struct pkt *p, uint16_t n_available, uint16_t n_before)
{
	uint32_t need = r->header + p->len;
	uint64_t used[VIRTQ_MAX_PIECES];
	struct chain c;
	uint16_t n = 0;

	chain_begin(&c, VRING_DESC_F_WRITE, need);
	do {
		uint32_t before = c.bytes;

		if (n == VIRTQ_MAX_PIECES || n == r->size || (n > 0 && !r->mergeable))
			return virtq_unfit(r);
		if (n == n_available)
			return 0;
		uint16_t head = head_at(r, r->next + n);

		if (!chain_read(r, &c, head))
			return r->fault == VIRTQ_FINE ? virtq_unfit(r) : 0;
		used[n++] = used_of(head, c.bytes - before);
	} while (c.bytes < need);
	virtq_fill(r, p, c.pieces, n);
	used_put(r, r->done + n_before, used, n);
	r->next += n;
	return n;
}

// What the next burst will touch first.
static void prefetch_next(const struct virtq *r)
{
	uint16_t entry = r->next & (r->size - 1);

	rte_prefetch0(&r->avail->ring[entry]);
	rte_prefetch0_write(&r->used->ring[entry]);
}

uint16_t split_put(struct virtq *r, struct pkt **pkts, uint16_t n)
{
	uint16_t n_available = available(r), entries = 0, sent = 0;
	struct slots slots;

	r->unfit = false;
	while (sent < n && entries < n_available) {
		uint16_t room = RTE_MIN(RTE_MIN(n - sent, n_available - entries), PKT_BURST), k = 0;

		if (likely(r->header == VIRTIO_NET_HEADER))
			k = collect(r, pkts + sent, room, &slots);
		put_collected(r, pkts + sent, k, &slots, entries);
		sent += k;
		entries += k;
		if (likely(k == room))
			continue;
		k = put_hard(r, pkts[sent], n_available - entries, entries);
		if (k == 0)
			break;
		sent++;
		entries += k;
	}
	if (likely(entries > 0)) {
		publish(r, entries);
		prefetch_next(r);
	}
	return sent;
}

// With event indexes the flags stay as they are, 0 (2.7.10.1): an index that is not renewed is passed once in
// 65,536.
void split_notify(struct virtq *r, bool on)
{
	uint16_t *at = &r->used->flags;
	uint16_t value = on ? 0 : VRING_USED_F_NO_NOTIFY;

	if (r->event_idx) {
		if (!on)
			return;
		at = (uint16_t *)&r->used->ring[r->size];
		value = r->next;
	}
	__atomic_store_n(at, value, __ATOMIC_RELAXED);
	if (unlikely(r->log))
		virtq_log_at(r, at, sizeof(*at));
}
