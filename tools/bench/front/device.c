// Memory of the devices: one region per pair with the rings of both and the buffers of both directions.
// Control thread, before the worker runs and after it has ended.

#include "tools/bench/front/front.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SPARE = 128, HUGE_PAGE = 2 << 20 }; // SPARE: a burst that is neither posted nor free, and then some

static int refuse(const char *what)
{
	int error = errno;
	fprintf(stderr, "bench-front: %s: %s\n", what, strerror(error));
	return -error;
}

static unsigned ring_size_of(const struct conf *c, unsigned index)
{
	return index < c->busy ? c->ring_size : c->idle_ring_size;
}

static unsigned direction_buffers(const struct device *d)
{
	return d->n_queues * (d->ring_size + d->peer->ring_size) + SPARE;
}

static size_t page_round(size_t n)
{
	return (n + 4095) & ~(size_t)4095;
}

// Shaped buffers start with room for an indirect table, and begin lines.
static unsigned shaped_bytes(unsigned room)
{
	return (SHAPE_HEAD + room + 63) & ~63u;
}

static unsigned shaped_buffers(const struct device *d)
{
	return d->n_queues * d->ring_size + SPARE;
}

static size_t buffers_bytes(const struct device *d, const struct conf *c)
{
	if (!c->shaped)
		return page_round((size_t)direction_buffers(d) * c->buffer_bytes);
	return page_round((size_t)shaped_buffers(d) * shaped_bytes(tx_room_bytes(c))) +
	       page_round((size_t)shaped_buffers(d) * shaped_bytes(rx_room_bytes(c)));
}

// Places of both devices' rings and buffers. Returns the bytes used.
static size_t region_plan(struct device *d, const struct conf *c, size_t at, size_t *buffers_at)
{
	struct ring_conf rc = {.size = d->ring_size, .packed = c->packed};
	for (unsigned i = 0; i < 2 * d->n_queues; i++) {
		d->queues[i / 2].ring_at[i % 2] = at;
		at += ring_bytes(&rc);
	}
	*buffers_at = at;
	return at + buffers_bytes(d, c);
}

// n buffers; more may be put back into it later.
static int pool_fill(struct pool *p, unsigned n, unsigned most, size_t at, size_t bytes, unsigned head)
{
	p->offs = calloc(most, sizeof(uint32_t));
	if (!p->offs)
		return -ENOMEM;
	while (n-- > 0)
		p->offs[p->n++] = at + n * bytes + head;
	return 0;
}

static int pools_fill(struct device *d, const struct conf *c, size_t at)
{
	unsigned n = direction_buffers(d);
	if (!c->shaped)
		return pool_fill(&d->pool, n, 2 * n, at, c->buffer_bytes, BUFFER_HEAD);
	n = shaped_buffers(d);
	size_t tx = shaped_bytes(tx_room_bytes(c)), rx = shaped_bytes(rx_room_bytes(c));
	int ret = pool_fill(&d->pool, n, n, at, tx, SHAPE_HEAD);
	return ret ? ret : pool_fill(&d->rx_pool, n, n, at + page_round(n * tx), rx, SHAPE_HEAD);
}

static int region_create(struct device *d, const struct conf *c)
{
	struct device *p = d->peer;
	size_t buffers[2], bytes = region_plan(d, c, 0, &buffers[0]);
	bytes = region_plan(p, c, bytes, &buffers[1]);
	bool huge = c->huge && d->index < c->busy; // a thousand silent pairs need not have 2 MB each
	size_t page = huge ? HUGE_PAGE : 4096;
	bytes = (bytes + page - 1) & ~(page - 1);
	d->memfd = memfd_create("guest", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0));
	if (d->memfd < 0 || ftruncate(d->memfd, bytes) != 0)
		return refuse("memory of a pair of guests");
	d->region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->memfd, 0);
	if (d->region == MAP_FAILED) {
		d->region = NULL;
		return refuse(huge ? "memory of a pair of guests, in 2 MB pages (--huge)"
				   : "memory of a pair of guests");
	}
	d->region_bytes = p->region_bytes = bytes;
	p->region = d->region;
	p->memfd = d->memfd;
	if (pools_fill(d, c, buffers[0]) != 0 || pools_fill(p, c, buffers[1]) != 0) {
		errno = ENOMEM;
		return refuse("list of buffers");
	}
	return 0;
}

static int log_create(struct device *d)
{
	d->log_bytes = (RING_GPA + d->region_bytes) / 4096 / 8 + 1;
	d->logfd = memfd_create("log", MFD_CLOEXEC);
	if (d->logfd < 0 || ftruncate(d->logfd, d->log_bytes) != 0)
		return refuse("dirty log");
	void *at = mmap(NULL, d->log_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->logfd, 0);
	if (at == MAP_FAILED)
		return refuse("dirty log");
	d->log = at;
	return 0;
}

static int path_make(struct device *d, const struct conf *c)
{
	const char *s = c->sockets[c->n_sockets == 1 ? 0 : d->index], *mark = strstr(s, "%d");
	int n = mark ? snprintf(d->path, sizeof(d->path), "%.*s%u%s", (int)(mark - s), s, c->first + d->index,
				mark + 2)
		     : snprintf(d->path, sizeof(d->path), "%s", s);
	errno = ENAMETOOLONG;
	return n < (int)sizeof(d->path) ? 0 : refuse(s);
}

static int queue_create(struct queue *q, const struct device *d, const struct conf *c)
{
	*q = (struct queue){.kick = {-1, -1}, .call = {-1, -1}};
	for (unsigned i = 0; i < 2; i++)
		if ((q->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ||
		    (q->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
			return refuse("eventfd");
	q->pile = c->shaped ? calloc(d->ring_size + SPARE, sizeof(struct seg)) : NULL;
	errno = ENOMEM;
	return c->shaped && !q->pile ? refuse("list of buffers") : 0;
}

static int queues_create(struct device *d, const struct conf *c)
{
	errno = ENOMEM;
	if ((d->queues = calloc(c->queues, sizeof(struct queue))) == NULL)
		return refuse("queues");
	for (; d->n_queues < c->queues; d->n_queues++) {
		int ret = queue_create(&d->queues[d->n_queues], d, c);
		if (ret)
			return ret;
	}
	return 0;
}

static int device_create(struct device *d, const struct conf *c)
{
	d->heard = calloc(c->packet.macs, sizeof(bool));
	d->seen.n = c->packet.stamp && d->index < c->busy ? c->packet.flows : 0;
	d->seen.flows = calloc(d->seen.n ? d->seen.n : 1, sizeof(struct seq));
	if (!d->heard || !d->seen.flows) {
		errno = ENOMEM;
		return refuse("flow table");
	}
	packet_source_init(&d->source, &c->packet, d->number, d->peer->number);
	stream_init(&d->stream, &c->stream, d->number, d->peer->number);
	d->sends = d->index < c->busy && !(c->one_way && d->index % 2);
	d->credit = d->sends ? c->in_flight : 0;
	return path_make(d, c);
}

int devices_create(struct load *l, const struct conf *c)
{
	l->n_devices = c->n_devices;
	l->devices = calloc(c->n_devices, sizeof(struct device));
	l->senders = calloc(c->n_devices, sizeof(struct device *));
	if (!l->devices || !l->senders) {
		errno = ENOMEM;
		return refuse("devices");
	}
	for (unsigned i = 0; i < c->n_devices; i++) {
		struct device *d = &l->devices[i];
		*d = (struct device){
		    .index = i, .number = c->first + i, .listener = -1, .fd = -1, .memfd = -1, .logfd = -1};
		d->peer = &l->devices[i ^ 1];
		d->ring_size = ring_size_of(c, i);
		d->parked = d->want_parked = true;
	}
	int ret = 0;
	for (unsigned i = 0; i < c->n_devices && ret == 0; i++) {
		struct device *d = &l->devices[i];
		ret = device_create(d, c);
		if (ret == 0)
			ret = queues_create(d, c);
		if (ret == 0 && i % 2)
			ret = region_create(d->peer, c);
		if (ret == 0 && i % 2 && c->log)
			ret = log_create(d->peer);
		if (ret == 0 && i % 2 && c->log)
			ret = log_create(d);
		if (d->sends)
			l->senders[l->n_senders++] = d;
	}
	l->scratch = malloc(SCRATCH_BYTES);
	errno = ENOMEM;
	return ret == 0 && !l->scratch ? refuse("room for a frame") : ret;
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void queues_destroy(struct device *d)
{
	for (unsigned i = 0; d->queues && i < d->n_queues; i++) {
		struct queue *q = &d->queues[i];
		for (unsigned k = 0; k < 2; k++) {
			fd_close(q->kick[k]);
			fd_close(q->call[k]);
		}
		ring_fini(&q->rx);
		ring_fini(&q->tx);
		free(q->pile);
	}
	free(d->queues);
}

void devices_destroy(struct load *l)
{
	for (unsigned i = 0; l->devices && i < l->n_devices; i++) {
		struct device *d = &l->devices[i];
		queues_destroy(d);
		if (i % 2 == 0) {
			fd_close(d->memfd);
			if (d->region)
				munmap(d->region, d->region_bytes);
		}
		fd_close(d->logfd);
		if (d->log)
			munmap(d->log, d->log_bytes);
		free(d->pool.offs);
		free(d->rx_pool.offs);
		free(d->heard);
		free(d->seen.flows);
	}
	free(l->devices);
	free(l->senders);
	free(l->scratch);
}
