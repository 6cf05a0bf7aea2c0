// Driver side of a virtqueue. The worker posts and takes in bursts; each index that the switch reads
// is written once per burst.

#include "tools/bench/front/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };
enum { PACKED_AVAIL = 1 << 7, PACKED_USED = 1 << 15 };
enum { EVENT_DISABLE = 1, EVENT_DESC = 2 };

#define EVENT_FAR 0x8000 // split: an index that will not be reached before it is moved again

static size_t page_round(size_t n)
{
	return (n + 4095) & ~(size_t)4095;
}

static size_t desc_bytes(const struct ring_conf *c)
{
	return page_round(c->size * sizeof(struct ring_desc));
}

static size_t avail_bytes(const struct ring_conf *c)
{
	return page_round(sizeof(struct ring_avail) + (c->size + 1) * sizeof(uint16_t));
}

static size_t used_bytes(const struct ring_conf *c)
{
	return page_round(sizeof(struct ring_used) + c->size * 8 + sizeof(uint16_t));
}

size_t ring_bytes(const struct ring_conf *c)
{
	return desc_bytes(c) + avail_bytes(c) + used_bytes(c);
}

static uint16_t *used_event(struct ring *r)
{
	return &r->avail->ring[r->conf.size];
}

static uint16_t avail_event(const struct ring *r)
{
	return *(volatile uint16_t *)&r->used->ring[r->conf.size];
}

// Frames are polled for, so the switch never needs to interrupt.
static void quiet(struct ring *r)
{
	if (r->conf.packed)
		r->driver->flags = EVENT_DISABLE;
	else if (r->conf.event_idx)
		*used_event(r) = r->taken + EVENT_FAR;
	else
		r->avail->flags = AVAIL_NO_INTERRUPT;
}

int ring_init(struct ring *r, const struct ring_conf *c, void *memory)
{
	*r = (struct ring){
	    .conf = *c,
	    .desc = memory,
	    .avail = (void *)((char *)memory + desc_bytes(c)),
	    .used = (void *)((char *)memory + desc_bytes(c) + avail_bytes(c)),
	    .mask = c->size - 1,
	    .flags = c->receive ? DESC_WRITE : 0,
	    .post_wrap = true,
	    .take_wrap = true,
	    .id_put = c->size,
	    .slots = calloc(c->size, sizeof(struct ring_slot)),
	    .ids = calloc(c->size, sizeof(uint16_t)),
	};
	if (!r->slots || !r->ids) {
		ring_fini(r);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < c->size; i++)
		r->ids[i] = i;
	quiet(r);
	return 0;
}

void ring_fini(struct ring *r)
{
	free(r->slots);
	free(r->ids);
	r->slots = NULL;
	r->ids = NULL;
}

static inline uint16_t id_take(struct ring *r)
{
	return r->ids[r->id_get++ & r->mask];
}

static inline uint16_t id_peek(const struct ring *r)
{
	return r->ids[r->id_get & r->mask];
}

static inline void post_split(struct ring *r, const struct seg *segs, unsigned n)
{
	uint16_t head = id_peek(r), at = r->posted++ & r->mask;
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = id_take(r), next = i + 1 < n ? id_peek(r) : 0;
		r->desc[id] = (struct ring_desc){segs[i].off + RING_GPA, segs[i].len,
						 r->flags | (i + 1 < n ? DESC_NEXT : 0), next};
		r->slots[id] = (struct ring_slot){segs[i].off, 0, next};
	}
	r->slots[head].n = n;
	if (r->avail->ring[at] !=
	    head) // in order it never changes, and the switch keeps its copy of the line
		r->avail->ring[at] = head;
}

static inline void post_packed(struct ring *r, const struct seg *segs, unsigned n)
{
	uint16_t head = id_peek(r);
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = id_take(r);
		struct ring_pdesc *d = &r->pdesc[r->posted];
		uint16_t flags =
		    r->flags | (i + 1 < n ? DESC_NEXT : 0) | (r->post_wrap ? PACKED_AVAIL : PACKED_USED);
		d->addr = segs[i].off + RING_GPA;
		d->len = segs[i].len;
		d->id = head;
		if (r->batch++)
			d->flags = flags;
		else
			r->batch_flags = flags; // written last: it shows the whole batch
		r->slots[id] = (struct ring_slot){segs[i].off, 0, i + 1 < n ? id_peek(r) : 0};
		if (++r->posted == r->conf.size) {
			r->posted = 0;
			r->post_wrap = !r->post_wrap;
		}
	}
	r->slots[head].n = n;
}

void ring_post(struct ring *r, const struct seg *segs, unsigned n)
{
	if (r->conf.packed)
		post_packed(r, segs, n);
	else
		post_split(r, segs, n);
}

static void chain_split(struct ring *r, uint32_t off, const struct ring_desc *chain, unsigned n)
{
	uint16_t head = id_peek(r);
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = id_take(r), next = i + 1 < n ? id_peek(r) : 0;
		r->desc[id] = (struct ring_desc){chain[i].addr, chain[i].len,
						 chain[i].flags | (i + 1 < n ? DESC_NEXT : 0), next};
		r->slots[id] = (struct ring_slot){i ? RING_NONE : off, 0, next};
	}
	r->slots[head].n = n;
	r->avail->ring[r->posted++ & r->mask] = head;
}

static void chain_packed(struct ring *r, uint32_t off, const struct ring_desc *chain, unsigned n)
{
	uint16_t head = id_peek(r);
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = id_take(r), flags = chain[i].flags | (i + 1 < n ? DESC_NEXT : 0);
		struct ring_pdesc *d = &r->pdesc[r->posted];
		flags |= r->post_wrap ? PACKED_AVAIL : PACKED_USED;
		d->addr = chain[i].addr;
		d->len = chain[i].len;
		d->id = head;
		if (r->batch++)
			d->flags = flags;
		else
			r->batch_flags = flags;
		r->slots[id] = (struct ring_slot){i ? RING_NONE : off, 0, i + 1 < n ? id_peek(r) : 0};
		if (++r->posted == r->conf.size) {
			r->posted = 0;
			r->post_wrap = !r->post_wrap;
		}
	}
	r->slots[head].n = n;
}

void ring_post_chain(struct ring *r, uint32_t off, const struct ring_desc *chain, unsigned n)
{
	if (r->conf.packed)
		chain_packed(r, off, chain, n);
	else
		chain_split(r, off, chain, n);
}

// Whether an event at `event` lies in what was published last (virtio 1.2, 2.7.7.2).
static bool passed(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static bool publish_split(struct ring *r)
{
	uint16_t before = r->published;
	if (before == r->posted)
		return false;
	r->published = r->posted;
	__atomic_store_n(&r->avail->idx, r->posted, __ATOMIC_RELEASE);
	atomic_thread_fence(memory_order_seq_cst); // it is read whether to kick only after the index is seen
	if (r->conf.event_idx)
		return passed(avail_event(r), r->posted, before);
	return !(*(volatile uint16_t *)&r->used->flags & USED_NO_NOTIFY);
}

static bool publish_packed(struct ring *r)
{
	if (!r->batch)
		return false;
	uint16_t n = r->batch, before = r->published;
	r->batch = 0;
	__atomic_store_n(&r->pdesc[before].flags, r->batch_flags, __ATOMIC_RELEASE);
	r->published = r->posted;
	atomic_thread_fence(memory_order_seq_cst);
	uint16_t flags = *(volatile uint16_t *)&r->device->flags;
	if (flags != EVENT_DESC)
		return flags != EVENT_DISABLE;
	uint16_t where = *(volatile uint16_t *)&r->device->where, event = where & 0x7fff;
	if (where >> 15 != r->post_wrap)
		event -= r->conf.size;
	return passed(event, r->posted, r->posted - n);
}

bool ring_publish(struct ring *r)
{
	return r->conf.packed ? publish_packed(r) : publish_split(r);
}

// All buffers of the frame that starts at `id`; `descs` is what it took of the ring.
static inline unsigned complete(struct ring *r, uint16_t id, uint32_t len, struct seg *out, unsigned *descs)
{
	struct ring_slot *s = &r->slots[id];
	unsigned n = s->n, buffers = 0;
	*descs = n;
	s->n = 0;
	for (unsigned i = 0; i < n; i++) {
		out[buffers] = (struct seg){s->off, len};
		buffers += s->off != RING_NONE;
		r->ids[r->id_put++ & r->mask] = id;
		id = s->next;
		s = &r->slots[id];
	}
	return buffers;
}

// In order, a switch may name only the last frame of several (virtio 1.2, 2.7.9 and 2.8.9). What is posted
// first is then used first; a receive ring needs each length, so there nothing can be left out.
static inline uint16_t oldest(const struct ring *r)
{
	return r->ids[r->id_put & r->mask];
}

static unsigned take_split(struct ring *r, struct seg *out, unsigned max)
{
	uint16_t ready = __atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE) - r->taken;
	bool skips = r->conf.in_order && !r->conf.receive;
	unsigned n = 0, descs;
	if (!ready)
		return 0;
	if (ready > r->conf.size) {
		r->errors++;
		r->taken += ready; // lost count: go on with what comes
		return 0;
	}
	for (; ready && n + RING_SEGS <= max; ready--, r->taken++) {
		uint32_t id = skips ? oldest(r) : r->used->ring[r->taken & r->mask].id;
		if (id >= r->conf.size || !r->slots[id].n)
			r->errors++;
		else
			n += complete(r, id, r->used->ring[r->taken & r->mask].len, out + n, &descs);
	}
	if (r->conf.event_idx)
		quiet(r);
	return n;
}

static inline bool used_at(const struct ring *r, uint16_t at, bool wrap)
{
	uint16_t flags = __atomic_load_n(&r->pdesc[at].flags, __ATOMIC_ACQUIRE);
	return !!(flags & PACKED_AVAIL) == wrap && !!(flags & PACKED_USED) == wrap;
}

static inline void step_packed(struct ring *r, unsigned n)
{
	r->taken += n;
	if (r->taken >= r->conf.size) {
		r->taken -= r->conf.size;
		r->take_wrap = !r->take_wrap;
	}
}

static unsigned take_packed(struct ring *r, struct seg *out, unsigned max)
{
	bool skips = r->conf.in_order && !r->conf.receive;
	unsigned n = 0;
	while (n + RING_SEGS <= max && ring_held(r)) {
		if (!r->skipping) {
			if (!used_at(r, r->taken, r->take_wrap))
				break;
			r->until = r->pdesc[r->taken].id;
			r->len = r->pdesc[r->taken].len;
		}
		if (r->until >= r->conf.size || !r->slots[r->until].n) {
			r->errors++;
			step_packed(r, 1);
			continue;
		}
		uint16_t id = skips ? oldest(r) : r->until;
		r->skipping = id != r->until;
		unsigned descs;
		n += complete(r, id, r->len, out + n, &descs);
		step_packed(r, descs);
	}
	return n;
}

unsigned ring_take(struct ring *r, struct seg *out, unsigned max)
{
	return r->conf.packed ? take_packed(r, out, max) : take_split(r, out, max);
}

static bool all_used_packed(const struct ring *r)
{
	unsigned at = r->taken, left = ring_held(r);
	bool wrap = r->take_wrap;
	while (left > 0 && used_at(r, at, wrap)) {
		const struct ring_slot *s = &r->slots[r->pdesc[at].id & r->mask];
		unsigned n = s->n && s->n < left ? s->n : left;
		left -= n;
		wrap ^= at + n >= r->conf.size;
		at = (at + n) & r->mask;
	}
	return left == 0;
}

bool ring_all_used(const struct ring *r)
{
	return r->conf.packed ? all_used_packed(r)
			      : __atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE) == r->published;
}

uint16_t ring_base(const struct ring *r)
{
	return r->conf.packed ? r->taken | r->take_wrap << 15 : r->taken;
}
