// The worker: takes what arrived, sends what is due, round after round. In the closed loop what arrives is sent
// again by its sender: as it is, in the same buffer, if nothing in it has to change.

#include "tools/bench/front/front.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <x86intrin.h>

enum { BURST = 64, ANNOUNCE_OPEN = 32 };

struct round {
	struct load *l;
	uint64_t now;
	int phase;
	unsigned moved;
};

static uint8_t *frame_at(const struct device *d, uint32_t off)
{
	return (uint8_t *)d->region + off + VIRTIO_HEAD;
}

static void publish(struct ring *r, int kick)
{
	if (ring_publish(r))
		(void)!eventfd_write(kick, 1);
}

static void pool_put(struct pool *p, const struct seg *segs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p->offs[p->n++] = segs[i].off;
}

static void reap(struct device *d)
{
	struct seg done[BURST + RING_SEGS];
	unsigned n;
	while ((n = ring_take(&d->tx, done, BURST + RING_SEGS)) > 0)
		pool_put(&d->pool, done, n);
}

// Room in the transmit ring. Completions are looked at only when they are needed.
static unsigned tx_room(struct device *d, unsigned want)
{
	if (ring_room(&d->tx) < want)
		reap(d);
	return ring_room(&d->tx);
}

static void rx_fill(const struct load *l, struct device *d)
{
	struct pool *p = &d->peer->pool;
	unsigned n = ring_room(&d->rx) < p->n ? ring_room(&d->rx) : p->n;
	for (unsigned i = 0; i < n; i++) {
		struct seg s = {p->offs[--p->n], buffer_room(l->conf)};
		ring_post(&d->rx, &s, 1);
	}
	publish(&d->rx, d->kick[0]);
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

static void stamp_check(struct round *r, struct device *d, const uint8_t *frame, unsigned len)
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

// Whether this frame is one of the peer's.
static bool frame_check(struct round *r, struct device *d, const struct seg *segs, unsigned n)
{
	struct device *from = d->peer;
	const uint8_t *frame = frame_at(d, segs[0].off);
	uint32_t address;
	if (!packet_is(frame, from->index, d->index)) {
		if (packet_is_announce(frame, from->index, &address) &&
		    address < device_macs(r->l->conf, from->index)) {
			announce_heard(r->l, from, address);
		} else if (r->phase != PHASE_ANNOUNCE) {
			d->counts.stray++;
		}
		return false;
	}
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
		ring_post(&from->tx, segs, n);
		from->counts.tx++;
		return;
	}
	from->credit += ours;
	pool_put(&from->pool, segs, n);
}

static void receive(struct round *r, struct device *d, bool forward)
{
	struct device *from = d->peer;
	struct seg segs[BURST + 2 * RING_SEGS];
	unsigned max = BURST + RING_SEGS, at = 0, n = d->n_rest, size;
	forward = forward && from->up;
	if (forward && tx_room(from, max + n) < max + n) {
		max = ring_room(&from->tx) > n ? ring_room(&from->tx) - n : 0;
		if (max < RING_SEGS)
			return;
	}
	memcpy(segs, d->rest, sizeof(d->rest));
	n += ring_take(&d->rx, segs + n, max);
	if (n == d->n_rest)
		return;
	for (unsigned i = 0; i < n; i++)
		if (forward)
			__builtin_prefetch(frame_at(d, segs[i].off), 0);
		else
			__builtin_prefetch(frame_at(d, segs[i].off), 1); // the next frame is written here
	rx_fill(r->l, d);
	for (; at < n && (size = frame_segs(r->l, d, segs + at, n - at)) > 0; at += size)
		frame_done(r, d, segs + at, size, forward);
	d->n_rest = n - at;
	memcpy(d->rest, segs + at, d->n_rest * sizeof(struct seg));
	if (forward)
		publish(&from->tx, from->kick[1]);
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
	unsigned len = packet_write(&d->source, frame_at(d, d->pool.offs[d->pool.n - 1]), r->now);
	ring_post(&d->tx, segs, frame_cut(r->l, d, len, segs));
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
		reap(d);
		if (ring_held(&d->tx) == 0) {
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
	room = (room < d->pool.n ? room : d->pool.n) / l->segs;
	n = n < room ? n : room;
	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(frame_at(d, d->pool.offs[d->pool.n - 1 - i]), 1);
	for (unsigned i = 0; i < n; i++)
		frame_send(r, d);
	publish(&d->tx, d->kick[1]);
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
		packet_announce(frame_at(d, s.off), d->index, d->announce_at);
		ring_post(&d->tx, &s, 1);
		l->announce_open++;
		l->announce_tsc = r->now + l->tsc_hz / 20;
	}
	if (d->up)
		publish(&d->tx, d->kick[1]);
	if (d->up && d->announce_at < macs)
		return;
	d->announce_at = 0;
	if (++l->announce_device == l->n_devices) {
		l->announce_device = 0;
		l->announce_open = ANNOUNCE_OPEN;
	}
}

// Takes what the back end that left has completed, so that the next one goes on behind it.
static void park(struct round *r, struct device *d)
{
	unsigned before;
	do {
		before = r->moved;
		receive(r, d, false);
	} while (r->moved != before);
	reap(d);
	pool_put(&d->peer->pool, d->rest, d->n_rest);
	d->n_rest = 0;
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
			rx_fill(l, d);
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
			receive(r, &l->devices[i], forward);
	if (n == l->n_devices)
		return;
	if (++l->next_idle >= l->n_devices)
		l->next_idle = n;
	if (l->devices[l->next_idle].up)
		receive(r, &l->devices[l->next_idle], false);
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
		r.now = now;
	}
	return NULL;
}
