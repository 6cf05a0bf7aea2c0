// A guest's side of virtqueues, see guest_ring.h. Memory is never given back within a test; the next
// gring_init() does.
#include "guest_ring.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)

struct virtq_memory gring_memory;
static uint64_t allocated;

void gring_init(void)
{
	const struct virtq_region regions[] = {
	    {.gpa = GUEST_MEMORY, .size = GUEST_REGION},
	    {.gpa = GUEST_SEAM, .size = GUEST_REGION},
	    {.gpa = GUEST_ISLAND, .size = GUEST_ISLAND_BYTES},
	};

	for (uint32_t i = 0; i < gring_memory.n; i++)
		free(gring_memory.regions[i].va);
	gring_memory.n = 3;
	for (uint32_t i = 0; i < gring_memory.n; i++) {
		gring_memory.regions[i] = regions[i];
		gring_memory.regions[i].va = aligned_alloc(64, regions[i].size);
		ck_assert_ptr_nonnull(gring_memory.regions[i].va);
		memset(gring_memory.regions[i].va, GUEST_UNTOUCHED, regions[i].size);
	}
	allocated = GUEST_MEMORY;
}

uint64_t gring_alloc(uint32_t bytes, uint32_t align)
{
	uint64_t gpa = (allocated + align - 1) / align * align;

	allocated = gpa + bytes;
	ck_assert_uint_le(allocated, GUEST_SEAM);
	return gpa;
}

uint8_t *gring_va(uint64_t gpa)
{
	for (uint32_t i = 0; i < gring_memory.n; i++) {
		const struct virtq_region *m = &gring_memory.regions[i];

		if (gpa - m->gpa < m->size)
			return m->va + (gpa - m->gpa);
	}
	ck_abort_msg("guest address %lx", gpa);
}

void gring_read(void *to, uint64_t gpa, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = *gring_va(gpa + i);
}

void gring_write(uint64_t gpa, const void *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		*gring_va(gpa + i) = ((const uint8_t *)from)[i];
}

uint64_t gring_sum(uint64_t gpa, uint64_t n)
{
	uint64_t sum = 0;

	while (n > 0) {
		const uint8_t *va = gring_va(gpa);
		uint64_t part = gpa < GUEST_SEAM ? RTE_MIN(n, GUEST_SEAM - gpa) : n;

		for (uint64_t i = 0; i < part; i++)
			sum = (sum ^ va[i]) * 0x9e3779b97f4a7c15;
		gpa += part;
		n -= part;
	}
	return sum;
}

uint64_t gring_end(void)
{
	return allocated;
}

static void *zeroed(uint32_t bytes, uint32_t align)
{
	return memset(gring_va(gring_alloc(bytes, align)), 0, bytes);
}

void gring_open(struct guest_ring *g, bool packed, uint16_t size)
{
	*g = (struct guest_ring){.packed = packed,
				 .size = size,
				 .n_free = size,
				 .n_free_desc = size,
				 .wrap = true,
				 .used_wrap = true};
	g->q = (struct virtq){.size = size,
			      .is_packed = packed,
			      .next_wrap = true,
			      .done_wrap = true,
			      .memory = &gring_memory,
			      .header = VIRTIO_NET_HEADER,
			      .call = -1};
	if (packed) {
		g->q.packed = zeroed(size * sizeof(struct vring_packed_desc), 16);
		g->q.driver_event = zeroed(sizeof(*g->q.driver_event), 4);
		g->q.device_event = zeroed(sizeof(*g->q.device_event), 4);
	} else {
		g->q.desc = zeroed(size * sizeof(struct vring_desc), 16);
		g->q.avail = zeroed(sizeof(struct vring_avail) + (size + 1u) * 2, 2);
		g->q.used = zeroed(sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + 2, 4);
	}
	g->free_ids = calloc(size, sizeof(*g->free_ids));
	g->n_desc = calloc(size, sizeof(*g->n_desc));
	for (uint16_t i = 0; i < size; i++)
		g->free_ids[i] = i;
}

void gring_close(struct guest_ring *g)
{
	free(g->free_ids);
	free(g->n_desc);
}

void gring_start_at(struct guest_ring *g, uint16_t at, bool wrap)
{
	g->next = g->used = g->q.next = g->q.done = at;
	g->wrap = g->used_wrap = g->q.next_wrap = g->q.done_wrap = wrap;
	if (!g->packed)
		g->q.avail->idx = g->q.used->idx = at;
	for (uint16_t i = 0; g->packed && i < g->size; i++)
		g->q.packed[i].flags = (i < at) == wrap ? AVAIL | USED : 0; // used in this round or the last
}

// A table of the chain's buffers, for one descriptor that refers to it. Not even aligned: no rule says so.
static struct guest_buffer table_of(const struct guest_ring *g, const struct guest_buffer *b, uint16_t n,
				    uint16_t direction)
{
	struct guest_buffer table = {gring_alloc(n * 16u + 8, 16) + 8, n * 16};

	for (uint16_t i = 0; i < n; i++) {
		uint16_t next = i + 1 < n ? VRING_DESC_F_NEXT : 0;
		struct vring_desc split = {b[i].gpa, b[i].len, direction | next, i + 1};
		struct vring_packed_desc packed = {b[i].gpa, b[i].len, 0xabcd, direction};

		memcpy(gring_va(table.gpa + i * 16u), g->packed ? (void *)&packed : (void *)&split, 16);
	}
	return table;
}

static int add_split(struct guest_ring *g, const struct guest_buffer *b, uint16_t n, uint16_t direction)
{
	uint16_t head = g->free_ids[g->n_free - 1];

	for (uint16_t i = 0; i < n; i++) {
		uint16_t at = g->free_ids[--g->n_free];
		bool more = i + 1 < n;

		g->q.desc[at] =
		    (struct vring_desc){b[i].gpa, b[i].len, direction | (more ? VRING_DESC_F_NEXT : 0),
					more ? g->free_ids[g->n_free - 1] : 0};
	}
	g->q.avail->ring[g->next & (g->size - 1)] = head;
	__atomic_store_n(&g->q.avail->idx, ++g->next, __ATOMIC_RELEASE);
	return head;
}

static int add_packed(struct guest_ring *g, const struct guest_buffer *b, uint16_t n, uint16_t direction)
{
	uint16_t id = g->free_ids[--g->n_free], at = g->next, head_flags = 0;

	for (uint16_t i = 0; i < n; i++) {
		uint16_t flags = direction | (i + 1 < n ? VRING_DESC_F_NEXT : 0) | (g->wrap ? AVAIL : USED);
		struct vring_packed_desc *d = &g->q.packed[g->next];

		d->addr = b[i].gpa;
		d->len = b[i].len;
		d->id = i + 1 < n ? 0xdead : id;
		if (i == 0)
			head_flags = flags;
		else
			d->flags = flags;
		if (++g->next == g->size) {
			g->next = 0;
			g->wrap = !g->wrap;
		}
	}
	__atomic_store_n(&g->q.packed[at].flags, head_flags, __ATOMIC_RELEASE);
	g->n_desc[id] = n;
	g->n_free_desc -= n;
	return id;
}

int gring_add(struct guest_ring *g, const struct guest_buffer *b, uint16_t n, bool write, bool indirect)
{
	uint16_t direction = write ? VRING_DESC_F_WRITE : 0;
	struct guest_buffer table;

	if ((indirect ? 1 : n) > (g->packed ? g->n_free_desc : g->n_free))
		return -1;
	if (indirect) {
		table = table_of(g, b, n, direction);
		b = &table;
		n = 1;
		direction = VRING_DESC_F_INDIRECT;
	}
	return g->packed ? add_packed(g, b, n, direction) : add_split(g, b, n, direction);
}

static bool used_split(struct guest_ring *g, uint16_t *id, uint32_t *len)
{
	struct vring_used_elem e;
	uint16_t at;

	if (__atomic_load_n(&g->q.used->idx, __ATOMIC_ACQUIRE) == g->used)
		return false;
	e = g->q.used->ring[g->used++ & (g->size - 1)];
	ck_assert_uint_lt(e.id, g->size);
	*id = at = e.id;
	*len = e.len;
	for (;; at = g->q.desc[at].next) {
		g->free_ids[g->n_free++] = at;
		if (!(g->q.desc[at].flags & VRING_DESC_F_NEXT))
			return true;
	}
}

static bool used_packed(struct guest_ring *g, uint16_t *id, uint32_t *len)
{
	struct vring_packed_desc *d = &g->q.packed[g->used];
	uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE), n;

	if ((flags & (AVAIL | USED)) != (g->used_wrap ? AVAIL | USED : 0))
		return false;
	ck_assert_uint_lt(d->id, g->size);
	*id = d->id;
	*len = flags & VRING_DESC_F_WRITE ? d->len : 0;
	n = g->n_desc[*id];
	ck_assert_uint_gt(n, 0);
	g->n_desc[*id] = 0;
	g->free_ids[g->n_free++] = *id;
	g->n_free_desc += n;
	if (g->used + n >= g->size)
		g->used_wrap = !g->used_wrap;
	g->used = (g->used + n) % g->size;
	return true;
}

bool gring_used(struct guest_ring *g, uint16_t *id, uint32_t *len)
{
	return g->packed ? used_packed(g, id, len) : used_split(g, id, len);
}

void gring_want(struct guest_ring *g, bool any)
{
	if (g->packed)
		g->q.driver_event->flags =
		    any ? VRING_PACKED_EVENT_FLAG_ENABLE : VRING_PACKED_EVENT_FLAG_DISABLE;
	else
		g->q.avail->flags = any ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
}

static uint16_t off_wrap(uint32_t at, bool wrap, uint16_t size)
{
	if (at >= size)
		return (at - size) | !wrap << VRING_PACKED_EVENT_F_WRAP_CTR;
	return at | wrap << VRING_PACKED_EVENT_F_WRAP_CTR;
}

void gring_want_at(struct guest_ring *g, uint16_t distance)
{
	if (g->packed)
		*g->q.driver_event = (struct vring_packed_desc_event){
		    off_wrap(g->used + distance, g->used_wrap, g->size), VRING_PACKED_EVENT_FLAG_DESC};
	else
		g->q.avail->ring[g->size] = g->used + distance;
}

bool gring_would_notify(const struct guest_ring *g)
{
	if (!g->packed && g->q.event_idx)
		return *(uint16_t *)&g->q.used->ring[g->size] == g->next && g->q.used->flags == 0;
	if (!g->packed)
		return !(g->q.used->flags & VRING_USED_F_NO_NOTIFY);
	if (g->q.device_event->flags == VRING_PACKED_EVENT_FLAG_DESC)
		return g->q.device_event->off_wrap == off_wrap(g->next, g->wrap, g->size);
	return g->q.device_event->flags == VRING_PACKED_EVENT_FLAG_ENABLE;
}

uint16_t gring_take(struct worker *w, struct guest_ring *g, struct pkt *pkts, uint16_t n)
{
	return (g->packed ? packed_take : split_take)(w, &g->q, pkts, n, 7);
}

void gring_give_back(struct guest_ring *g)
{
	(g->packed ? packed_give_back : split_give_back)(&g->q);
}

uint16_t gring_put(struct guest_ring *g, struct pkt **pkts, uint16_t n)
{
	return (g->packed ? packed_put : split_put)(&g->q, pkts, n);
}

void gring_notify(struct guest_ring *g, bool on)
{
	(g->packed ? packed_notify : split_notify)(&g->q, on);
}

void gring_pkt_bytes(const struct pkt *p, uint8_t *to)
{
	uint32_t sum = p->head_len;

	ck_assert_ptr_null(p->m);
	memcpy(to, p->data, p->head_len);
	for (uint16_t i = 0; i < p->n_tail; i++) {
		memcpy(to + sum, p->tail.iov[i].iov_base, p->tail.iov[i].iov_len);
		sum += p->tail.iov[i].iov_len;
	}
	ck_assert_uint_eq(sum, p->len);
}

void gring_expect_used(struct guest_ring *g, int id, uint32_t len)
{
	uint16_t used_id;
	uint32_t used_len;

	ck_assert(gring_used(g, &used_id, &used_len));
	ck_assert_int_eq(used_id, id);
	ck_assert_uint_eq(used_len, len);
}

void gring_expect_none_used(struct guest_ring *g)
{
	uint16_t id;
	uint32_t len;

	ck_assert(!gring_used(g, &id, &len));
}
