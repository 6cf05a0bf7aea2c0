// Virtqueues, what split and packed rings share and what is not for every packet: the guest's memory, frames
// in several pieces, logging, interrupting. Workers.
#include "virtq_dp.h"

#include <sys/eventfd.h>

#include "dp/worker.h"

#define PREFETCH_LINES 4    // of each piece of a frame
#define AHEAD_BYTES    4096 // that are fetched of a long piece before they are copied

void *virtq_va_search(struct virtq *r, uint64_t gpa, uint32_t len)
{
	for (uint32_t i = 0; i < r->memory->n; i++) {
		const struct virtq_region *m = &r->memory->regions[i];
		uint64_t off = gpa - m->gpa;

		if (off < m->size && len <= m->size - off) {
			r->last = *m;
			return m->va + off;
		}
	}
	return NULL;
}

// The part of a buffer that is in the region where it begins.
static uint32_t part_within(const struct virtq_memory *memory, uint64_t gpa, uint32_t len, uint8_t **va)
{
	for (uint32_t i = 0; i < memory->n; i++) {
		const struct virtq_region *m = &memory->regions[i];
		uint64_t off = gpa - m->gpa;

		if (off < m->size) {
			*va = m->va + off;
			return RTE_MIN(len, m->size - off);
		}
	}
	return 0;
}

// A copy begins slowly in each piece, until the processor has seen where it goes.
static void piece_prefetch(const uint8_t *va, bool write)
{
	for (int i = 0; i < PREFETCH_LINES; i++) {
		if (write)
			rte_prefetch0_write(va + i * RTE_CACHE_LINE_SIZE);
		else
			rte_prefetch0(va + i * RTE_CACHE_LINE_SIZE);
	}
}

bool chain_add(struct virtq *r, struct chain *c, uint64_t gpa, uint32_t len, uint16_t flags)
{
	uint32_t room = c->limit - c->bytes;

	if ((flags & VRING_DESC_F_WRITE) != c->direction)
		return virtq_refuse(r, VIRTQ_DIRECTION);
	if (len > room) {
		if (c->direction == 0)
			return virtq_refuse(r, VIRTQ_LONG);
		len = room;
	}
	c->bytes += len;
	while (len > 0) {
		uint8_t *va = virtq_va(r, gpa, len);
		uint32_t part = va != NULL ? len : part_within(r->memory, gpa, len, &va);

		if (part == 0)
			return virtq_refuse(r, VIRTQ_OUTSIDE);
		if (c->n == VIRTQ_MAX_PIECES)
			return c->direction == 0 ? virtq_refuse(r, VIRTQ_CHAIN) : false;
		c->pieces[c->n++] = (struct virtq_piece){va, gpa, part};
		piece_prefetch(va, c->direction != 0);
		gpa += part;
		len -= part;
	}
	return true;
}

const uint8_t *chain_table(struct virtq *r, uint64_t gpa, uint32_t len, uint16_t flags, uint32_t *n)
{
	const uint8_t *table;

	*n = len / sizeof(struct vring_desc);
	if (flags & VRING_DESC_F_NEXT || *n == 0 || len % sizeof(struct vring_desc) != 0 ||
	    *n > VIRTQ_MAX_SIZE) {
		virtq_refuse(r, VIRTQ_INDIRECT);
		return NULL;
	}
	table = virtq_va(r, gpa, len);
	if (table == NULL)
		virtq_refuse(r, VIRTQ_OUTSIDE);
	return table;
}

// Copies the next `len` bytes of the pieces; *at and *off say where they stand.
static void gather(uint8_t *to, const struct virtq_piece *pieces, uint16_t *at, uint32_t *off, uint32_t len)
{
	while (len > 0) {
		uint32_t part = RTE_MIN(len, pieces[*at].len - *off);

		memcpy(to, pieces[*at].va + *off, part);
		to += part;
		len -= part;
		*off += part;
		if (*off == pieces[*at].len) {
			++*at;
			*off = 0;
		}
	}
}

bool virtq_lend(struct worker *w, struct virtq *r, struct pkt *p, const struct chain *c, uint16_t src)
{
	uint16_t at = 0;
	uint32_t off = 0;
	struct virtio_net_hdr_v1 vnet = {0};
	struct iovec none = {p->head, 0};

	if (c->bytes < r->header)
		return virtq_refuse(r, VIRTQ_SHORT);
	if (c->n > WORKER_LENT - w->n_lent)
		return false;
	gather((uint8_t *)&vnet, c->pieces, &at, &off, r->header);
	pkt_init_borrowed(p, &none, 1, NULL, src);
	p->len = c->bytes - r->header;
	p->head_len = RTE_MIN(p->len, (uint32_t)PKT_HEAD);
	gather(p->data, c->pieces, &at, &off, p->head_len);
	p->tail.iov = &w->lent[w->n_lent];
	for (; at < c->n; at++, off = 0)
		p->tail.iov[p->n_tail++] = (struct iovec){c->pieces[at].va + off, c->pieces[at].len - off};
	w->n_lent += p->n_tail;
	if (r->asks)
		p->vnet = vnet;
	return true;
}

struct filling {
	const struct virtq *r;
	struct dirty dirty;
	const struct virtq_piece *piece;
	uint32_t off;
};

// Lines that were fetched block by block arrive sooner than those that the processor fetches as it sees a copy go on.
static const uint8_t *fetch(const uint8_t *fetched, const uint8_t *end)
{
	for (; fetched < end; fetched += RTE_CACHE_LINE_SIZE)
		rte_prefetch0(fetched);
	return fetched;
}

static void fill(struct filling *f, const uint8_t *from, uint32_t len)
{
	const uint8_t *fetched = from + PREFETCH_LINES * RTE_CACHE_LINE_SIZE;

	while (len > 0) {
		uint32_t part = RTE_MIN(RTE_MIN(len, f->piece->len - f->off), (uint32_t)AHEAD_BYTES);

		fetched = fetch(fetched, from + RTE_MIN(len, part + AHEAD_BYTES));
		copy_bytes(f->piece->va + f->off, from, part);
		if (unlikely(f->r->log))
			dirty_add(&f->dirty, f->piece->gpa + f->off, part);
		from += part;
		len -= part;
		f->off += part;
		if (f->off == f->piece->len) {
			f->piece++;
			f->off = 0;
		}
	}
}

void virtq_fill(const struct virtq *r, const struct pkt *p, const struct virtq_piece *pieces,
		uint16_t n_buffers)
{
	struct filling f = {.r = r, .dirty = dirty_begin(r), .piece = pieces};
	struct virtq_header h = header_for(p, n_buffers);
	uint8_t header[VIRTIO_NET_HEADER];

	memcpy(header, &h.first, sizeof(h.first));
	memcpy(header + sizeof(h.first), &h.last, sizeof(h.last));
	fill(&f, header, r->header);
	fill(&f, p->data, p->head_len);
	for (uint16_t i = 0; p->m == NULL && i < p->n_tail; i++)
		fill(&f, p->tail.iov[i].iov_base, p->tail.iov[i].iov_len);
	for (const struct rte_mbuf *m = p->m == NULL ? NULL : p->m->next; m != NULL; m = m->next)
		fill(&f, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);
	dirty_end(&f.dirty);
}

// A log may end within the word, but not within the memory that it is in.
void dirty_end(struct dirty *d)
{
	uint64_t *log = (uint64_t *)(void *)d->memory->log;

	if (d->bits != 0 && log != NULL && d->word * sizeof(*log) < d->memory->log_bytes)
		__atomic_fetch_or(&log[d->word], d->bits, __ATOMIC_RELEASE);
	d->bits = 0;
}

void dirty_add_at(struct dirty *d, const void *va, uint32_t len)
{
	for (uint32_t i = 0; i < d->memory->n; i++) {
		const struct virtq_region *m = &d->memory->regions[i];
		uint64_t off = (uintptr_t)va - (uintptr_t)m->va;

		if (off < m->size) {
			dirty_add(d, m->gpa + off, len);
			return;
		}
	}
}

void virtq_log_at(const struct virtq *r, const void *va, uint32_t len)
{
	struct dirty d = dirty_begin(r);

	dirty_add_at(&d, va, len);
	dirty_end(&d);
}

bool virtq_begin(struct virtq *r)
{
	if (r->fault != VIRTQ_ANEW)
		return false;
	r->fault = VIRTQ_FINE;
	virtq_call(r);
	return true;
}

void virtq_call(struct virtq *r)
{
	if (r->call < 0)
		return;
	r->n_calls++;
	__atomic_store_n(&r->calling, true, __ATOMIC_RELAXED);
	eventfd_write(r->call, 1);
	__atomic_store_n(&r->calling, false, __ATOMIC_RELAXED);
}
