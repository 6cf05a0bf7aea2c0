// The dirty log, proved: what a switch writes to a guest's memory is logged, and nothing is logged that it need not have
// written (QEMU's docs/interop/vhost-user, "Migration").
//
// In turns, so that who wrote what is certain: while the switch has no ring both guests post their frames and buffers,
// and all of their memory is kept aside. Then the switch has the rings and this process only shows what was posted, until
// every frame is through and the rings are taken back. What differs now was written by the switch. Control thread,
// without a worker.

#include "tools/bench/front/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WAIT_S = 10 };

struct proof {
	struct load *l;
	uint8_t *before;   // the memory
	uint8_t *may[2];   // per device, a bit per page: what the switch had reason to write
	uint32_t taken[4]; // per ring, rx and tx of each device: position before
	unsigned long rounds, sent, received, changed, logged, unlogged, beyond;
};

static bool bit(const uint8_t *map, size_t page)
{
	return map[page / 8] >> page % 8 & 1;
}

static size_t pages_of(const struct device *d)
{
	return d->region_bytes / PAGE;
}

static void allow(struct proof *p, unsigned device, const void *at, size_t bytes)
{
	size_t off = (const char *)at - p->l->devices[0].region;
	for (size_t page = off / PAGE; bytes > 0 && page <= (off + bytes - 1) / PAGE; page++)
		p->may[device][page / 8] |= 1u << page % 8;
}

static unsigned frame_write(const struct conf *c, struct device *d, uint32_t off)
{
	struct virtio_header *h = (void *)(d->region + off);
	if (c->streams)
		return stream_write(&d->stream, h, frame_at(d, off));
	*h = (struct virtio_header){0};
	return packet_write(&d->source, frame_at(d, off), 0);
}

static void post(struct proof *p, struct device *d)
{
	const struct conf *c = p->l->conf;
	struct queue *q = d->queues;
	struct ring_desc chain[SHAPE_PIECES];
	shaped_fill(p->l, d, q);
	for (unsigned i = 0; i < c->in_flight && d->pool.n > 0; i++) {
		uint32_t off = d->pool.offs[--d->pool.n];
		unsigned len = frame_write(c, d, off) + VIRTIO_HEAD;
		unsigned n = shape_make(c->layout, &q->tx, d->region, off, len, d->turn++, chain);
		ring_post_chain(&q->tx, off, chain, n);
		p->sent++;
	}
}

// The one word by which a guest shows what it has posted is written while the switch has the rings.
static void show(struct proof *p, struct device *d)
{
	struct ring *r = &d->queues->tx;
	uint16_t *at = r->conf.packed ? &r->pdesc[r->published].flags : &r->avail->idx;
	uint16_t value = r->conf.packed ? r->batch_flags : r->posted;
	memcpy(p->before + ((char *)at - d->region), &value, sizeof(value));
	publish(r, d->queues->kick[1]);
}

static int wait_sent(const struct device *d)
{
	time_t end = time(NULL) + WAIT_S;
	while (!ring_all_used(&d->queues->tx)) {
		if (time(NULL) > end) {
			fprintf(stderr, "bench-front: guest %u: the switch does not take its frames\n",
				d->index);
			return -ETIMEDOUT;
		}
		usleep(200);
	}
	return 0;
}

static void compare(struct proof *p)
{
	const struct device *a = &p->l->devices[0], *b = a->peer;
	for (size_t page = 0; page < pages_of(a); page++) {
		bool changed = memcmp(p->before + page * PAGE, a->region + page * PAGE, PAGE) != 0;
		size_t in_log = page + RING_GPA / PAGE;
		p->changed += changed;
		p->unlogged += changed && !bit(a->log, in_log) && !bit(b->log, in_log);
	}
}

// What the ring's completions since `from` stand on, and the words beside them.
static void allow_ring(struct proof *p, unsigned device, const struct ring *r, uint32_t from)
{
	unsigned mask = r->conf.size - 1, n = (r->taken - from) & mask;
	if (n == 0 && ring_room(r) == r->conf.size)
		n = r->conf.size; // once round
	if (r->conf.packed) {
		for (unsigned i = 0; i < n; i++)
			allow(p, device, &r->pdesc[(from + i) & mask], sizeof(*r->pdesc));
		allow(p, device, r->device, sizeof(*r->device));
		return;
	}
	for (unsigned i = 0; i < n; i++)
		allow(p, device, &r->used->ring[(from + i) & mask], sizeof(r->used->ring[0]));
	allow(p, device, r->used, sizeof(*r->used));
	if (r->conf.event_idx)
		allow(p, device, &r->used->ring[r->conf.size], sizeof(uint16_t));
}

static void take(struct proof *p, struct device *d)
{
	struct queue *q = d->queues;
	struct seg segs[BURST + RING_SEGS];
	unsigned n, rest = 0;
	while ((n = ring_take(&q->tx, segs, BURST)) > 0)
		pool_put(&d->pool, segs, n);
	while ((n = ring_take(&q->rx, segs, BURST)) > 0) {
		for (unsigned i = 0; i < n; i++) {
			struct virtio_header h;
			memcpy(&h, d->region + segs[i].off, sizeof(h));
			allow(p, d->index, d->region + segs[i].off, segs[i].len);
			p->received += rest == 0;
			rest = rest ? rest - 1 : p->l->conf->mrg && h.num_buffers ? h.num_buffers - 1u : 0;
		}
		pool_put(&d->rx_pool, segs, n);
	}
	allow_ring(p, d->index, &q->rx, p->taken[2 * d->index]);
	allow_ring(p, d->index, &q->tx, p->taken[2 * d->index + 1]);
}

static void judge(struct proof *p, struct device *d)
{
	size_t first = RING_GPA / PAGE, pages = pages_of(d);
	for (size_t page = 0; page < d->log_bytes * 8; page++) {
		bool inside = page >= first && page - first < pages;
		if (!bit(d->log, page))
			continue;
		p->logged++;
		p->beyond += !inside || !bit(p->may[d->index], page - first);
	}
}

static int switch_turn(struct proof *p, char *why, size_t why_bytes)
{
	struct device *d = p->l->devices;
	int ret = 0;
	for (unsigned i = 0; i < 2 && ret == 0; i++)
		ret = vhost_start(&d[i], p->l->conf, why, why_bytes);
	for (unsigned i = 0; i < 2 && ret == 0; i++)
		show(p, &d[i]);
	for (unsigned i = 0; i < 2 && ret == 0; i++)
		ret = wait_sent(&d[i]);
	for (unsigned i = 0; i < 2 && ret == 0; i++)
		ret = vhost_stop(&d[i], why, why_bytes);
	return ret;
}

static int round_run(struct proof *p)
{
	struct device *d = p->l->devices;
	char why[160] = "";
	for (unsigned i = 0; i < 2; i++) {
		memset(d[i].log, 0, d[i].log_bytes);
		memset(p->may[i], 0, d->region_bytes / PAGE / 8 + 1);
		p->taken[2 * i] = d[i].queues->rx.taken;
		p->taken[2 * i + 1] = d[i].queues->tx.taken;
		post(p, &d[i]);
	}
	memcpy(p->before, d->region, d->region_bytes);
	int ret = switch_turn(p, why, sizeof(why));
	if (ret) {
		fprintf(stderr, "bench-front: %s\n", why);
		return ret;
	}
	compare(p);
	for (unsigned i = 0; i < 2; i++) {
		take(p, &d[i]);
		judge(p, &d[i]);
	}
	p->rounds++;
	return 0;
}

int dirty_run(struct load *l)
{
	struct proof p = {.l = l};
	struct device *d = l->devices;
	char why[160];
	int ret = 0;
	p.before = malloc(d->region_bytes);
	for (unsigned i = 0; i < 2; i++) {
		p.may[i] = calloc(1, d->region_bytes / PAGE / 8 + 1);
		ret = ret ? ret : vhost_stop(&d[i], why, sizeof(why));
	}
	if (!p.before || !p.may[0] || !p.may[1])
		ret = -ENOMEM;
	while (ret == 0 && p.rounds < l->conf->dirty)
		ret = round_run(&p);
	printf("{\"event\":\"dirty\",\"rounds\":%lu,\"sent\":%lu,\"received\":%lu,\"changed\":%lu,\"logged\":"
	       "%lu,"
	       "\"unlogged\":%lu,\"beyond\":%lu}\n",
	       p.rounds, p.sent, p.received, p.changed, p.logged, p.unlogged, p.beyond);
	free(p.before);
	free(p.may[0]);
	free(p.may[1]);
	return ret;
}
