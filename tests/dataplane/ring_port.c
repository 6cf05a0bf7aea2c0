// A port driver of arrays, for tests. Frames are lent (borrowed) or given as mbufs, as the test asks.
#include "ring_port.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ctrl/api/err.h"
#include "dp/port.h"
#include "dp/worker.h"

#define RING_FRAMES 4096
#define MAX_PIECES  2048 // of a frame lent byte by byte

struct fifo { // one writer, one reader, under the ring's mutex: tests may run workers
	struct frame *frame[RING_FRAMES];
	unsigned head, tail;
};

struct ring {
	pthread_mutex_t lock;
	struct fifo in, out; // toward the switch, from the switch
	int accept;
	size_t room;        // bytes of the longest frame that it can hold, 0 = any
	int bell;           // eventfd, -1 = it has to be polled
	_Atomic bool armed; // the bell rings for each frame
	_Atomic bool has_late;
	struct frame late; // comes before it is armed
	size_t piece;
	uint16_t rx_queue;         // on which it sends
	_Atomic uint16_t tx_queue; // on which it received last
	bool started;
	struct frame lent[PKT_BURST];
	struct iovec iov[PKT_BURST][MAX_PIECES], rest[PKT_BURST][MAX_PIECES];
	struct frame taken;
};

static bool fifo_put(struct fifo *f, const struct frame *frame)
{
	if (f->head - f->tail == RING_FRAMES)
		return false;
	struct frame *copy = malloc(offsetof(struct frame, bytes) + frame->len);

	memcpy(copy, frame, offsetof(struct frame, bytes) + frame->len);
	f->frame[f->head++ % RING_FRAMES] = copy;
	return true;
}

static bool fifo_get(struct fifo *f, struct frame *out)
{
	if (f->head == f->tail)
		return false;
	struct frame *copy = f->frame[f->tail++ % RING_FRAMES];

	memcpy(out, copy, offsetof(struct frame, bytes) + copy->len);
	free(copy);
	return true;
}

static _Atomic bool refuses; // to be opened
static _Atomic bool holds;   // whoever opens one
static _Atomic bool is_opening;
static _Atomic bool has_bells; // what is opened

static struct ring *ring_of(const char *name)
{
	struct port *p = port_find(name);

	ck_assert_msg(p != NULL && p->drv != NULL, "no port %s", name);
	return p->drv;
}

// Driver

static bool ring_claims(const struct port_conf *c)
{
	return strncmp(c->device, "ring:", 5) == 0;
}

static int ring_open(struct port *p, const struct port_conf *c, struct err *e)
{
	atomic_store(&is_opening, true);
	while (atomic_load(&holds))
		sched_yield();
	atomic_store(&is_opening, false);
	if (atomic_load(&refuses))
		return err_set(e, -ENODEV, "port %s: there is no ring", c->name);
	struct ring *r = calloc(1, sizeof(*r));

	pthread_mutex_init(&r->lock, NULL);
	r->accept = -1;
	r->bell = atomic_load(&has_bells) ? eventfd(0, EFD_CLOEXEC) : -1;
	p->drv = r;
	for (uint16_t q = 0; q < c->n_queues; q++)
		p->rxqs[q].drv = p->txqs[q].drv = r;
	return 0;
}

static void ring_start(struct port *p)
{
	struct ring *r = p->drv;

	r->started = true;
	atomic_store(&p->live.up, true);
	atomic_store(&p->live.n_tx_active, p->conf.n_queues);
	port_state_set(p, PORT_UP, NULL);
}

static void ring_stop(struct port *p)
{
	struct ring *r = p->drv;

	r->started = false;
	atomic_store(&p->live.up, false);
}

static void ring_close(struct port *p)
{
	struct ring *r = p->drv;
	struct frame f;

	ck_assert_msg(!r->started, "port %s is closed without having been stopped", p->conf.name);
	while (fifo_get(&r->in, &f) || fifo_get(&r->out, &f))
		;
	if (r->bell >= 0)
		close(r->bell);
	pthread_mutex_destroy(&r->lock);
	free(r);
	p->drv = NULL;
}

static void ring_mtu_changed(struct port *p, uint16_t mtu)
{
	(void)mtu;
	ck_assert_msg(p->drv != NULL, "port %s has no driver's port", p->conf.name);
}

static void lend(struct ring *r, uint16_t at, struct pkt *p, uint16_t src)
{
	struct frame *f = &r->lent[at];
	uint16_t n = 0;

	for (size_t off = 0; off < f->len; off += r->piece, n++)
		r->iov[at][n] = (struct iovec){f->bytes + off, RTE_MIN(r->piece, f->len - off)};
	pkt_init_borrowed(p, r->iov[at], n, r->rest[at], src);
	p->vnet = f->vnet;
}

static bool give(struct worker *w, struct frame *f, struct pkt *p, uint16_t src)
{
	struct rte_mbuf *m = NULL, *seg;
	size_t off = 0;

	while (off < f->len || m == NULL) {
		seg = rte_pktmbuf_alloc(w->pool);
		if (seg == NULL)
			return false;
		uint16_t n = RTE_MIN(f->len - off, (size_t)rte_pktmbuf_tailroom(seg));

		memcpy(rte_pktmbuf_append(seg, n), f->bytes + off, n);
		off += n;
		if (m == NULL)
			m = seg;
		else
			rte_pktmbuf_chain(m, seg);
	}
	pkt_init_owned(p, m, src);
	p->vnet = f->vnet;
	return true;
}

static bool fifo_get_locked(struct ring *r, struct fifo *f, struct frame *out)
{
	pthread_mutex_lock(&r->lock);
	bool ok = fifo_get(f, out);

	pthread_mutex_unlock(&r->lock);
	return ok;
}

static bool fifo_put_locked(struct ring *r, struct fifo *f, const struct frame *frame)
{
	pthread_mutex_lock(&r->lock);
	bool ok = fifo_put(f, frame);

	pthread_mutex_unlock(&r->lock);
	return ok;
}

static uint16_t ring_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	struct ring *r = q->drv;
	uint16_t got = 0;

	if (q->id != r->rx_queue)
		return 0;
	for (; got < n && fifo_get_locked(r, &r->in, &r->lent[got]); got++) {
		if (r->piece > 0)
			lend(r, got, &pkts[got], q->port_index);
		else if (!give(w, &r->lent[got], &pkts[got], q->port_index))
			ck_abort_msg(
			    "no packet buffer is left"); // an assertion would make a system call each time
	}
	return got;
}

static int ring_notify(struct worker *w, struct rxq *q, bool on)
{
	struct ring *r = q->drv;

	(void)w;
	if (on && atomic_exchange(&r->has_late, false))
		fifo_put_locked(r, &r->in, &r->late);
	atomic_store(&r->armed, on); // before the worker looks again
	return r->bell;
}

static void frame_from(const struct pkt *p, struct frame *f)
{
	struct iovec iov[MAX_PIECES];
	uint16_t n = pkt_iov(p, iov, MAX_PIECES);

	f->len = 0;
	f->vnet = p->vnet;
	for (uint16_t i = 0; i < n; i++) {
		memcpy(f->bytes + f->len, iov[i].iov_base, iov[i].iov_len);
		f->len += iov[i].iov_len;
	}
	if (f->len != p->len)
		ck_abort_msg("a frame of %u bytes has pieces of %zu bytes", p->len, f->len);
}

static uint16_t ring_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n)
{
	struct ring *r = q->drv;
	static thread_local struct frame f;
	uint16_t sent = 0;

	(void)w;
	r->tx_queue = q->id;
	for (; sent < n && r->accept != 0; sent++) {
		q->unfit = r->room > 0 && pkts[sent]->len > r->room;
		if (q->unfit)
			break;
		frame_from(pkts[sent], &f);
		if (!fifo_put_locked(r, &r->out, &f))
			break;
		if (r->accept > 0)
			r->accept--;
	}
	return sent;
}

static const struct port_driver ring_driver = {
    .name = "ring",
    .claims = ring_claims,
    .open = ring_open,
    .start = ring_start,
    .stop = ring_stop,
    .close = ring_close,
    .mtu_changed = ring_mtu_changed,
    .rx = ring_rx,
    .notify = ring_notify,
    .tx = ring_tx,
};

void ring_register(void)
{
	port_driver_register(&ring_driver);
}

// The test's side

void ring_refuse(bool on)
{
	atomic_store(&refuses, on);
}

void ring_hold(bool on)
{
	atomic_store(&holds, on);
}

void ring_late(const char *port, const struct frame *f)
{
	struct ring *r = ring_of(port);

	memcpy(&r->late, f, offsetof(struct frame, bytes) + f->len);
	atomic_store(&r->has_late, true);
}

void ring_bells(bool on)
{
	atomic_store(&has_bells, on);
}

bool ring_is_opening(void)
{
	return atomic_load(&is_opening);
}

void ring_queue(const char *port, const struct frame *f)
{
	struct ring *r = ring_of(port);

	ck_assert_msg(fifo_put_locked(r, &r->in, f), "the test sends more than %d frames at once",
		      RING_FRAMES);
	if (r->bell >= 0 && atomic_load(&r->armed))
		eventfd_write(r->bell, 1);
}

size_t ring_delivered(const char *port)
{
	struct ring *r = ring_of(port);

	pthread_mutex_lock(&r->lock);
	size_t n = r->out.head - r->out.tail;

	pthread_mutex_unlock(&r->lock);
	return n;
}

const struct frame *ring_take(const char *port)
{
	struct ring *r = ring_of(port);

	return fifo_get_locked(r, &r->out, &r->taken) ? &r->taken : NULL;
}

void ring_up(const char *port, bool up)
{
	atomic_store(&port_find(port)->live.up, up);
}

void ring_offloads(const char *port, uint32_t mask)
{
	atomic_store(&port_find(port)->live.offloads, mask);
}

void ring_accept(const char *port, int n)
{
	ring_of(port)->accept = n;
}

void ring_room(const char *port, size_t bytes)
{
	ring_of(port)->room = bytes;
}

void ring_send_on(const char *port, uint16_t queue)
{
	ring_of(port)->rx_queue = queue;
}

uint16_t ring_received_on(const char *port)
{
	return ring_of(port)->tx_queue;
}

void ring_borrow(const char *port, size_t piece)
{
	ring_of(port)->piece = piece;
}
