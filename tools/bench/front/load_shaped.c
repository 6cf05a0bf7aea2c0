// The worker's way for frames in any layout: a frame is sent from one buffer, however it is described, and gathered
// before it is judged if it came in several.

#include "tools/bench/front/load.h"

#include <string.h>

static uint32_t flow_next(const struct load *l, const struct device *d)
{
	return l->conf->streams ? 0 : d->source.flow;
}

static unsigned frame_write(struct round *r, struct device *d, uint32_t off)
{
	struct virtio_header *h = (void *)(d->region + off);
	if (r->l->conf->streams)
		return stream_write(&d->stream, h, frame_at(d, off));
	*h = (struct virtio_header){0};
	return packet_write(&d->source, frame_at(d, off), r->now);
}

void shaped_send(struct round *r, struct device *d)
{
	struct ring_desc chain[SHAPE_PIECES];
	struct queue *q = flow_queue(d, flow_next(r->l, d));
	uint32_t off = d->pool.offs[--d->pool.n];
	unsigned len = frame_write(r, d, off) + VIRTIO_HEAD;
	unsigned n = shape_make(r->l->conf->layout, &q->tx, d->region, off, len, d->turn++, chain);
	ring_post_chain(&q->tx, off, chain, n);
	d->counts.tx++;
}

void shaped_fill(const struct load *l, struct device *d, struct queue *q)
{
	struct ring_desc chain[SHAPE_PIECES];
	while (ring_room(&q->rx) >= layout_most(l->conf->rx_layout) && d->rx_pool.n) {
		uint32_t off = d->rx_pool.offs[--d->rx_pool.n];
		unsigned n = shape_make(l->conf->rx_layout, &q->rx, d->region, off, rx_room_bytes(l->conf),
					d->turn++, chain);
		ring_post_chain(&q->rx, off, chain, n);
	}
	publish(&q->rx, q->kick[0]);
}

// Whole bytes of the frame that starts at `segs`, contiguous behind its header; fewer than all if nobody looks.
static const uint8_t *gather(const struct load *l, const struct device *d, const struct seg *segs, unsigned n,
			     unsigned *len)
{
	unsigned at = 0, room = rx_room_bytes(l->conf);
	if (n == 1) {
		*len = segs[0].len;
		return (uint8_t *)d->region + segs[0].off;
	}
	for (unsigned i = 0; i < n; i++) {
		unsigned bytes = segs[i].len < room ? segs[i].len : room;
		if (at + bytes <= SCRATCH_BYTES && !(l->conf->stream.blind && at > PACKET_HEAD + VIRTIO_HEAD))
			memcpy(l->scratch + at, d->region + segs[i].off, bytes);
		at += bytes;
	}
	*len = at;
	return l->scratch;
}

static void payload_came(struct round *r, struct device *from, unsigned bytes)
{
	unsigned each = stream_payload(&r->l->conf->stream);
	for (from->open_bytes += bytes; from->open_bytes >= each; from->open_bytes -= each)
		from->credit++;
}

static void frame_judge(struct round *r, struct device *d, const struct seg *segs, unsigned n)
{
	const struct load *l = r->l;
	struct virtio_header h;
	unsigned len;
	const uint8_t *bytes = gather(l, d, segs, n, &len);
	if (len < VIRTIO_HEAD + PACKET_MIN || len > SCRATCH_BYTES) {
		d->counts.bad++;
		return;
	}
	memcpy(&h, bytes, sizeof(h));
	if (!frame_is_traffic(r, d, bytes + VIRTIO_HEAD))
		return;
	len -= VIRTIO_HEAD;
	d->counts.rx++;
	d->counts.rx_bytes += len;
	d->arrivals.buffers += n;
	d->arrivals.merged += n > 1;
	if (l->conf->streams) {
		payload_came(r, d->peer,
			     stream_check(&l->conf->stream, d->peer->number, &h, bytes + VIRTIO_HEAD, len,
					  &d->arrivals));
		return;
	}
	d->peer->credit++;
	if (d->seen.n)
		stamp_check(r, d, bytes + VIRTIO_HEAD, len);
}

static unsigned buffers_of(const struct load *l, const struct device *d, const struct seg *first)
{
	struct virtio_header h;
	memcpy(&h, d->region + first->off, sizeof(h));
	return l->conf->mrg && h.num_buffers ? h.num_buffers : 1;
}

void shaped_receive(struct round *r, struct device *d, struct queue *q)
{
	unsigned before = q->n_pile, at = 0, n;
	q->n_pile += ring_take(&q->rx, q->pile + q->n_pile, BURST + RING_SEGS);
	if (q->n_pile == before)
		return;
	for (; at < q->n_pile && (n = buffers_of(r->l, d, q->pile + at)) <= q->n_pile - at; at += n) {
		frame_judge(r, d, q->pile + at, n);
		pool_put(&d->rx_pool, q->pile + at, n);
		q->rx_frames++;
	}
	q->n_pile -= at;
	memmove(q->pile, q->pile + at, q->n_pile * sizeof(struct seg));
	if (q->n_pile > d->ring_size) { // a count that cannot be: none of the rest is believed
		d->counts.bad++;
		pool_put(&d->rx_pool, q->pile, q->n_pile);
		q->n_pile = 0;
	}
	shaped_fill(r->l, d, q);
	d->peer->last_rx_tsc = r->now;
	r->moved += at;
}
