// Packed virtqueues (virtio 1.2, 2.8). Workers.
//
// One ring of descriptors holds what is available and what is used: a descriptor becomes used in the place
// where it was available. As in split_dp.c a burst goes in passes. Its used descriptors are written in order
// but for the first, which comes last: the guest looks there first, so that it sees all of them at once.
#include "virtq_dp.h"

#include <rte_atomic.h>

#include "dp/worker.h"
#include "journal.h"

#define AVAIL       (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED        (1u << VRING_PACKED_DESC_F_USED)
#define EVENT_WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)
#define CHAIN_FLAGS (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT)
#define LINE        (64 / sizeof(struct vring_packed_desc))

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

static bool chain_indirect(struct virtq *r, struct chain *c, struct vring_packed_desc ref)
{
	uint32_t n;
	const uint8_t *table = chain_table(r, ref.addr, ref.len, ref.flags, &n);

	for (uint32_t i = 0; table != NULL && i < n; i++) {
		struct vring_packed_desc e;

		entry_load_unaligned(&e, table + i * sizeof(e));
		if (!chain_add(r, c, e.addr, e.len, e.flags))
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

// Completes one buffer of n descriptors: writes the upper half of a used one. `write` says whether its length
// counts.
static inline void used_put(const struct virtq *r, struct batch *b, uint16_t id, uint16_t n, uint32_t len,
			    uint16_t write)
{
	uint64_t *to = (uint64_t *)&r->packed[b->at.at] + 1;
	uint64_t flags = write | (b->at.available == AVAIL ? AVAIL | USED : 0);
	uint64_t used = len | (uint64_t)id << 32 | flags << 48;

	if (b->n == 0) {
		b->first = to;
		b->used = used;
	} else {
		__atomic_store_n(to, used, __ATOMIC_RELAXED);
	}
	b->n += n;
	b->at = place_after(r, b->at, n);
}

// Completes n buffers of one descriptor each: `used` are ids and lengths, as they stand in the ring.
static inline void used_put_all(const struct virtq *r, struct batch *b, const uint64_t *used, uint16_t n,
				uint16_t write)
{
	while (n > 0) {
		uint16_t lap = RTE_MIN(n, r->size - b->at.at), i = 0;
		uint64_t *to = (uint64_t *)&r->packed[b->at.at] + 1;
		uint64_t flags = (uint64_t)(write | (b->at.available == AVAIL ? AVAIL | USED : 0)) << 48;

		if (b->n == 0) {
			b->first = to;
			b->used = used[i++] | flags;
		}
		for (; i < lap; i++)
			__atomic_store_n(&to[i * 2], used[i] | flags, __ATOMIC_RELAXED);
		b->n += lap;
		b->at = place_after(r, b->at, lap);
		used += lap;
		n -= lap;
	}
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

uint16_t packed_take(struct worker *w, struct virtq *r, struct pkt *pkts, uint16_t n, uint16_t src)
{
	const struct vring_packed_desc *ring = r->packed;
	const bool asks = r->asks, one_header = r->header == VIRTIO_NET_HEADER;
	struct place at = place_of(r->next, r->next_wrap);
	struct span spans[PKT_BURST];
	uint16_t found = 0, hard = 0;

	if (is_empty(r, at)) {
		r->n_before = 0;
		return 0;
	}
	prefetch_ring(r, r->n_before);
	w->n_lent = 0;
	for (; found < n; found++) {
		__m128i e = entry_read(&ring[at.at]);
		uint64_t rest = entry_rest(e);
		uint16_t id = rest >> 32, n_desc = 1;
		uint16_t odd = (rest >> 48 ^ at.available) & (AVAIL | USED | CHAIN_FLAGS);

		if (odd & (AVAIL | USED))
			break;
		bool alone = likely(odd == 0) && one_header;

		spans[found] = span_of(r, entry_addr(e), alone ? (uint32_t)rest : UINT64_MAX, asks);
		if (unlikely(spans[found].va == NULL)) {
			n_desc = take_hard(w, r, &pkts[found], at, src, &id);
			if (n_desc == 0)
				break;
			hard++;
		}
		r->lent[found] = id;
		r->lent_n[found] = n_desc;
		at = place_after(r, at, n_desc);
	}
	for (uint16_t i = 0; i < found; i++)
		if (likely(spans[i].va != NULL))
			lend_one(&pkts[i], spans[i], src, asks);
	next_set(r, at);
	r->n_lent = r->n_before = found;
	r->lent_chains = hard > 0;
	return found;
}

void packed_give_back(struct virtq *r)
{
	struct batch b = batch_start(r);
	uint64_t used[PKT_BURST];
	uint16_t n = r->n_lent;

	journal_note(r);
	if (unlikely(r->lent_chains)) {
		for (uint16_t i = 0; i < n; i++)
			used_put(r, &b, r->lent[i], r->lent_n[i], 0, 0);
	} else {
		for (uint16_t i = 0; i < n; i++)
			used[i] = (uint64_t)r->lent[i] << 32;
		used_put_all(r, &b, used, n, 0);
	}
	if (b.n > 0)
		publish(r, b);
	r->n_lent = 0;
}

// Putting

struct slot {
	uint8_t *va;
	uint64_t gpa;
	uint64_t used; // as used_put_all() wants it
};

// Receive buffers for the first packets that fit into one descriptor each, up to the end of the ring.
static uint16_t collect(struct virtq *r, struct pkt **pkts, uint16_t n, struct slot *slots)
{
	const uint16_t wanted = place_of(r->next, r->next_wrap).available | VRING_DESC_F_WRITE;
	const struct vring_packed_desc *ring = &r->packed[r->next];

	for (uint16_t i = 0; i < n; i++) {
		uint32_t need = VIRTIO_NET_HEADER + pkts[i]->len;
		__m128i e = entry_read(&ring[i]);
		uint64_t rest = entry_rest(e);

		if (unlikely(((rest >> 48) & (AVAIL | USED | CHAIN_FLAGS)) != wanted ||
			     (uint32_t)rest < need))
			return i;
		uint8_t *va = virtq_va(r, entry_addr(e), need);

		if (unlikely(va == NULL))
			return i;
		slots[i] = (struct slot){va, entry_addr(e), need | (rest & 0xffffull << 32)};
		frame_prefetch_write(va, need);
	}
	return n;
}

static void slots_log(const struct virtq *r, const struct slot *slots, uint16_t n)
{
	struct dirty d = dirty_begin(r);

	for (uint16_t i = 0; i < n; i++)
		dirty_add(&d, slots[i].gpa, (uint32_t)slots[i].used);
	dirty_end(&d);
}

static void put_collected(struct virtq *r, struct batch *batch, struct pkt **pkts, uint16_t n,
			  const struct slot *slots)
{
	uint64_t used[PKT_BURST];

	for (uint16_t i = 0; i < n; i++) {
		header_put(slots[i].va, header_for(pkts[i], 1));
		frame_put(slots[i].va + VIRTIO_NET_HEADER, pkts[i]);
		used[i] = slots[i].used;
	}
	if (unlikely(r->log))
		slots_log(r, slots, n);
	next_set(r, place_after(r, place_of(r->next, r->next_wrap), n));
	journal_note(r);
	// The guest looks at these lines all the time: they are written at once.
	used_put_all(r, batch, used, n, VRING_DESC_F_WRITE);
}

// One packet into as many buffers as it takes. False: it does not fit.
static bool put_hard(struct virtq *r, struct batch *b, const struct pkt *p)
{
	struct place at = place_of(r->next, r->next_wrap);
	uint32_t need = r->header + p->len, len[VIRTQ_MAX_PIECES];
	struct chain c;
	uint16_t n = 0, id[VIRTQ_MAX_PIECES], n_desc[VIRTQ_MAX_PIECES];

	chain_begin(&c, VRING_DESC_F_WRITE, need);
	while (c.bytes < need) {
		uint32_t before = c.bytes;
		uint16_t flags = __atomic_load_n(&r->packed[at.at].flags, __ATOMIC_ACQUIRE);

		if (!is_available(flags, at) || n == VIRTQ_MAX_PIECES || (n > 0 && !r->mergeable))
			return false;
		n_desc[n] = chain_read(r, &c, at, &id[n]);
		if (n_desc[n] == 0)
			return false;
		at = place_after(r, at, n_desc[n]);
		len[n++] = c.bytes - before;
	}
	virtq_fill(r, p, c.pieces, n);
	next_set(r, at);
	journal_note(r);
	for (uint16_t i = 0; i < n; i++)
		used_put(r, b, id[i], n_desc[i], len[i], VRING_DESC_F_WRITE);
	return true;
}

uint16_t packed_put(struct virtq *r, struct pkt **pkts, uint16_t n)
{
	struct batch b = batch_start(r);
	struct slot slots[PKT_BURST];
	uint16_t sent = 0;

	prefetch_ring(r, n);
	while (sent < n) {
		uint16_t room = RTE_MIN(RTE_MIN(n - sent, PKT_BURST), r->size - r->next), k = 0;

		if (likely(r->header == VIRTIO_NET_HEADER))
			k = collect(r, pkts + sent, room, slots);
		put_collected(r, &b, pkts + sent, k, slots);
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
