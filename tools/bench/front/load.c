// The worker: takes what arrived, sends what is due, round after round. In the closed loop what arrives is sent
// again by its sender: as it is, in the same buffer, if nothing in it has to change.

#include "tools/bench/front/load.h"

#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

enum { ANNOUNCE_OPEN = 32, ROUNDS_PER_IDLE = 16 }; // those that are idle cost the busy ones little

static void reap(struct device *d, struct queue *q)
{
	struct seg done[BURST + RING_SEGS];
	unsigned n;
	while ((n = ring_take(&q->tx, done, BURST + RING_SEGS)) > 0)
		pool_put(&d->pool, done, n);
}

unsigned tx_room(struct device *d, unsigned want)
{
	unsigned least = RING_MAX;
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct queue *q = &d->queues[i];
		if (ring_room(&q->tx) < want)
			reap(d, q);
		least = ring_room(&q->tx) < least ? ring_room(&q->tx) : least;
	}
	return least;
}

static void rx_fill(const struct load *l, struct device *d, struct queue *q)
{
	struct pool *p = &d->peer->pool;
	if (l->conf->shaped) {
		shaped_fill(l, d, q);
		return;
	}
	unsigned n = ring_room(&q->rx) < p->n ? ring_room(&q->rx) : p->n;
	for (unsigned i = 0; i < n; i++) {
		struct seg s = {p->offs[--p->n], buffer_room(l->conf)};
		ring_post(&q->rx, &s, 1);
	}
	publish(&q->rx, q->kick[0]);
}

// Buffers that the first frame takes, 0 if not all of them are there.
static unsigned frame_segs(const struct load *l, const struct device *d, const struct seg *segs, unsigned n)
{
	uint16_t buffers = 1;
	if (l->conf->mrg &&
	    segs[0].len == buffer_room(l->conf)) // else it ends here: the header need not be read
		memcpy(&buffers, d->region + segs[0].off + 10, 2);
	if (buffers < 1 || buffers > RING_SEGS)
		buffers = 1;
	return buffers <= n ? buffers : 0;
}

void stamp_check(struct round *r, struct device *d, const uint8_t *frame, unsigned len)
{
	struct packet_view v;
	if (!packet_read(&r->l->conf->packet, frame, len, &v)) {
		d->counts.bad++;
		return;
	}
	seq_seen(&d->seen.flows[v.flow], v.seq, &d->counts);
	hist_add(&r->l->latency, r->now > v.tsc ? r->now - v.tsc : 0);
}

static void announce_heard(struct load *l, struct device *from, uint32_t address)
{
	if (from->heard[address])
		return;
	from->heard[address] = true;
	l->announce_open -= l->announce_open > 0;
	atomic_fetch_sub_explicit(&l->unheard, 1, memory_order_relaxed);
}

bool frame_is_traffic(struct round *r, struct device *d, const uint8_t *frame)
{
	struct device *from = d->peer;
	uint32_t address;
	if (packet_is(frame, from->number, d->number))
		return true;
	if (packet_is_announce(frame, from->number, &address) &&
	    address < device_macs(r->l->conf, from->index)) {
		announce_heard(r->l, from, address);
	} else if (r->phase != PHASE_ANNOUNCE) {
		d->counts.stray++;
	}
	return false;
}

// Whether this frame is one of the peer's.
static bool frame_check(struct round *r, struct device *d, const struct seg *segs, unsigned n)
{
	const uint8_t *frame = frame_at(d, segs[0].off);
	if (!frame_is_traffic(r, d, frame))
		return false;
	unsigned len = 0;
	for (unsigned i = 0; i < n; i++)
		len += segs[i].len;
	len -= VIRTIO_HEAD;
	d->counts.rx++;
	d->counts.rx_bytes += len;
	if (d->seen.n)
		stamp_check(r, d, frame, len);
	return true;
}

static void frame_done(struct round *r, struct device *d, const struct seg *segs, unsigned n, bool forward)
{
	struct device *from = d->peer;
	bool ours = frame_check(r, d, segs, n);
	if (ours && forward) {
		ring_post(&from->queues->tx, segs, n);
		from->counts.tx++;
		return;
	}
	from->credit += ours;
	pool_put(&from->pool, segs, n);
}

static void receive(struct round *r, struct device *d, struct queue *q, bool forward)
{
	if (r->l->conf->shaped) {
		shaped_receive(r, d, q);
		return;
	}
	struct device *from = d->peer;
	struct seg segs[BURST + 2 * RING_SEGS];
	unsigned max = BURST + RING_SEGS, at = 0, n = q->n_rest, size;
	forward = forward && from->up;
	if (forward && tx_room(from, max + n) < max + n) {
		max = ring_room(&from->queues->tx) > n ? ring_room(&from->queues->tx) - n : 0;
		if (max < RING_SEGS)
			return;
	}
	memcpy(segs, q->rest, sizeof(q->rest));
	n += ring_take(&q->rx, segs + n, max);
	if (n == q->n_rest)
		return;
	for (unsigned i = 0; i < n; i++)
		if (forward)
			__builtin_prefetch(frame_at(d, segs[i].off), 0);
		else
			__builtin_prefetch(frame_at(d, segs[i].off), 1); // the next frame is written here
	rx_fill(r->l, d, q);
	for (; at < n && (size = frame_segs(r->l, d, segs + at, n - at)) > 0; at += size)
		frame_done(r, d, segs + at, size, forward);
	q->n_rest = n - at;
	memcpy(q->rest, segs + at, q->n_rest * sizeof(struct seg));
	q->rx_frames += at;
	if (forward)
		publish(&from->queues->tx, from->queues->kick[1]);
	from->last_rx_tsc = r->now;
	r->moved += at;
}

// The buffers of a frame of `len` bytes.
static unsigned frame_cut(const struct load *l, struct device *d, unsigned len, struct seg *segs)
{
	unsigned n = 0;
	len += VIRTIO_HEAD;
	for (unsigned cut; len > 0; len -= cut) {
		cut = len < buffer_room(l->conf) ? len : buffer_room(l->conf);
		segs[n++] = (struct seg){d->pool.offs[--d->pool.n], cut};
	}
	return n;
}

static void frame_send(struct round *r, struct device *d)
{
	struct seg segs[RING_SEGS];
	struct queue *q = flow_queue(d, d->source.flow);
	unsigned len = packet_write(&d->source, frame_at(d, d->pool.offs[d->pool.n - 1]), r->now);
	ring_post(&q->tx, segs, frame_cut(r->l, d, len, segs));
	d->counts.tx++;
}

static unsigned due_paced(const struct load *l, struct device *d, uint64_t now)
{
	uint64_t now_fp = now << 8, late = l->tsc_hz / 1000 * 256;
	if (d->next_fp + late < now_fp) // the machine was away: what was missed is not made up for
		d->next_fp = now_fp;
	return d->next_fp > now_fp ? 0 : (now_fp - d->next_fp) / l->interval_fp + 1;
}

// Frames of the closed loop that a switch has lost: nothing comes back, nothing waits for being sent.
static void loop_revive(struct round *r, struct device *d)
{
	if (d->credit < r->l->conf->in_flight && r->now - d->last_rx_tsc > r->l->tsc_hz / 10 && d->peer->up) {
		if (tx_room(d, d->ring_size) == d->ring_size) {
			d->open_bytes = 0;
			d->credit = r->l->conf->in_flight;
			d->last_rx_tsc = r->now;
		}
	}
}

static unsigned frames_due(struct round *r, struct device *d)
{
	struct load *l = r->l;
	if (l->conf->mode == MODE_BLAST)
		return BURST;
	if (l->conf->mode == MODE_PACED)
		return due_paced(l, d, r->now);
	if (d->credit == 0)
		loop_revive(r, d);
	return d->credit;
}

static void frames_sent(const struct load *l, struct device *d, unsigned n)
{
	if (l->conf->mode == MODE_LOOP)
		d->credit -= n;
	else if (l->conf->mode == MODE_PACED)
		d->next_fp += n * l->interval_fp;
}

static void send_burst(struct round *r, struct device *d)
{
	const struct load *l = r->l;
	unsigned n = frames_due(r, d), room;
	if (n == 0)
		return;
	n = n < BURST ? n : BURST;
	room = tx_room(d, n * l->segs);
	room = (l->conf->shaped || room < d->pool.n ? room : d->pool.n) / l->segs;
	n = n < room ? n : room;
	n = n < d->pool.n ? n : d->pool.n;
	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(frame_at(d, d->pool.offs[d->pool.n - 1 - i]), 1);
	for (unsigned i = 0; i < n; i++)
		if (l->conf->shaped)
			shaped_send(r, d);
		else
			frame_send(r, d);
	for (unsigned i = 0; i < d->n_queues; i++)
		publish(&d->queues[i].tx, d->queues[i].kick[1]);
	frames_sent(l, d, n);
	r->moved += n;
}

// Few addresses are on their way at a time, for each broadcast reaches all guests. What is not heard in 50 ms is
// told again.
static void announce(struct round *r)
{
	struct load *l = r->l;
	struct device *d = &l->devices[l->announce_device];
	uint32_t macs = device_macs(l->conf, d->index);
	if (l->announce_open >= ANNOUNCE_OPEN && r->now < l->announce_tsc)
		return;
	if (l->announce_open >= ANNOUNCE_OPEN)
		l->announce_open = 0;
	for (; d->up && d->announce_at < macs && l->announce_open < ANNOUNCE_OPEN; d->announce_at++) {
		if (d->heard[d->announce_at] || tx_room(d, 1) < 1 || d->pool.n == 0)
			continue;
		struct seg s = {d->pool.offs[--d->pool.n], VIRTIO_HEAD + PACKET_MIN};
		memset(d->region + s.off, 0, VIRTIO_HEAD);
		packet_announce(frame_at(d, s.off), d->number, d->announce_at);
		ring_post(&d->queues->tx, &s, 1);
		l->announce_open++;
		l->announce_tsc = r->now + l->tsc_hz / 20;
	}
	if (d->up)
		publish(&d->queues->tx, d->queues->kick[1]);
	if (d->up && d->announce_at < macs)
		return;
	d->announce_at = 0;
	if (++l->announce_device == l->n_devices) {
		l->announce_device = 0;
		l->announce_open = ANNOUNCE_OPEN;
	}
}

static void receive_device(struct round *r, struct device *d, bool forward)
{
	for (unsigned i = 0; i < d->n_queues; i++)
		receive(r, d, &d->queues[i], forward);
}

// Takes what the back end that left has completed, so that the next one goes on behind it.
static void park(struct round *r, struct device *d)
{
	unsigned before;
	do {
		before = r->moved;
		receive_device(r, d, false);
	} while (r->moved != before);
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct queue *q = &d->queues[i];
		reap(d, q);
		pool_put(&d->peer->pool, q->rest, q->n_rest);
		pool_put(&d->rx_pool, q->pile, q->n_pile);
		q->n_rest = q->n_pile = 0;
	}
}

static void unpark(const struct load *l, struct device *d)
{
	for (unsigned i = 0; i < d->n_queues; i++)
		rx_fill(l, d, &d->queues[i]);
}

static void changes_see(struct round *r)
{
	struct load *l = r->l;
	unsigned changes = atomic_load_explicit(&l->changes, memory_order_acquire);
	if (changes == l->seen_changes)
		return;
	l->seen_changes = changes;
	for (unsigned i = 0; i < l->n_devices; i++) {
		struct device *d = &l->devices[i];
		bool want = d->want_parked;
		if (want == d->parked)
			continue;
		if (want)
			park(r, d);
		else
			unpark(l, d);
		d->up = !want;
		d->parked = want;
	}
}

static void receive_all(struct round *r)
{
	struct load *l = r->l;
	bool forward = l->forwards && r->phase == PHASE_RUN;
	unsigned n = r->phase == PHASE_RUN ? l->n_active : l->n_devices;
	for (unsigned i = 0; i < n; i++)
		if (l->devices[i].up)
			receive_device(r, &l->devices[i], forward);
	if (n == l->n_devices || ++l->rounds % ROUNDS_PER_IDLE != 0)
		return;
	if (++l->next_idle >= l->n_devices)
		l->next_idle = n;
	if (l->devices[l->next_idle].up)
		receive_device(r, &l->devices[l->next_idle], false);
}

void *load_run(void *arg)
{
	struct load *l = arg;
	struct round r = {.l = l, .now = __rdtsc()};
	while ((r.phase = atomic_load_explicit(&l->phase, memory_order_relaxed)) != PHASE_END) {
		r.moved = 0;
		changes_see(&r);
		receive_all(&r);
		if (r.phase == PHASE_ANNOUNCE)
			announce(&r);
		for (unsigned i = 0; i < l->n_senders && r.phase == PHASE_RUN; i++)
			if (l->senders[i]->up)
				send_burst(&r, l->senders[i]);
		uint64_t now = __rdtsc();
		if (r.moved)
			atomic_store_explicit(&l->busy_tsc, l->busy_tsc + now - r.now, memory_order_relaxed);
		else if (l->conf->nap_us)
			usleep(l->conf->nap_us);
		r.now = now;
	}
	return NULL;
}
