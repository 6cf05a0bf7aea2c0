// What the worker's files share: load.c (rounds, announcing, parking, the short way of plain frames), load_shaped.c (frames
// in any layout, with requests, with payload that is checked).
#pragma once

#include "tools/bench/front/front.h"

#include <sys/eventfd.h>

enum { BURST = 64 };

struct round {
	struct load *l;
	uint64_t now;
	int phase;
	unsigned moved;
};

static inline uint8_t *frame_at(const struct device *d, uint32_t off)
{
	return (uint8_t *)d->region + off + VIRTIO_HEAD;
}

static inline void publish(struct ring *r, int kick)
{
	if (ring_publish(r))
		(void)!eventfd_write(kick, 1);
}

static inline void pool_put(struct pool *p, const struct seg *segs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p->offs[p->n++] = segs[i].off;
}

// Pairs of the device in turn, so that a flow keeps to one.
static inline struct queue *flow_queue(const struct device *d, uint32_t flow)
{
	return &d->queues[d->n_queues == 1 ? 0 : flow % d->n_queues];
}

// Room in every transmit ring. Completions are looked at only when they are needed.
unsigned tx_room(struct device *d, unsigned want);
// Whether a frame from the peer is traffic. Announcements and strays are dealt with.
bool frame_is_traffic(struct round *r, struct device *d, const uint8_t *frame);
void stamp_check(struct round *r, struct device *d, const uint8_t *frame, unsigned len);

void shaped_fill(const struct load *l, struct device *d, struct queue *q);
void shaped_receive(struct round *r, struct device *d, struct queue *q);
void shaped_send(struct round *r, struct device *d);
