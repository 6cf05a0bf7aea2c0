// Host vNICs, bursts: one system call per frame between the tap's descriptor and mbufs. Workers.
#include "tap.h"

#include <sys/uio.h>
#include <unistd.h>

#include <rte_branch_prediction.h>
#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "dp/worker.h"

#define MAX_IOV 64

static_assert(sizeof(struct virtio_net_hdr_v1) == 12, "TUNSETVNETHDRSZ");

// Fills up the buffers for one frame; only those that the frame before has taken are missing.
static bool segs_ready(struct worker *w, struct tap *t)
{
	while (t->n_missing > 0) {
		int n = t->n_missing - 1;
		struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);

		if (m == NULL)
			return false;
		t->seg[n] = m;
		t->iov[1 + n] = (struct iovec){rte_pktmbuf_mtod(m, void *), rte_pktmbuf_tailroom(m)};
		t->n_missing = n;
	}
	return true;
}

// The buffers that a frame of `len` bytes has filled, as a chain.
static struct rte_mbuf *segs_take(struct tap *t, uint32_t len)
{
	struct rte_mbuf *first = t->seg[0], *last = NULL;
	int used = 0;

	first->pkt_len = len;
	do {
		struct rte_mbuf *m = t->seg[used];

		t->seg[used++] = NULL;
		m->data_len = RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(m));
		len -= m->data_len;
		if (last != NULL)
			last->next = m;
		last = m;
	} while (len > 0);
	first->nb_segs = used;
	t->n_missing = used;
	return first;
}

// One frame; what the kernel asks of it is in t->vnet. NULL when there is none, or no buffer for it.
static struct rte_mbuf *frame_read(struct worker *w, struct tap *t)
{
	if (unlikely(!segs_ready(w, t)))
		return NULL;
	// What is longer than any port's MTU, after someone has raised the interface's, is dropped by the walk.
	ssize_t len = readv(t->fd, t->iov, 1 + TAP_SEGS);

	return likely(len > (ssize_t)sizeof(t->vnet)) ? segs_take(t, len - sizeof(t->vnet)) : NULL;
}

uint16_t tap_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	struct tap *t = q->drv;
	uint16_t got = 0;

	// An idle interface costs a system call per poll, so it is looked at every few microseconds only.
	if (t->empty_tsc != 0 && rte_rdtsc() - t->empty_tsc < t->poll_cycles)
		return 0;
	while (got < n) {
		struct rte_mbuf *m = frame_read(w, t);

		if (m == NULL)
			break;
		pkt_init_owned(&pkts[got], m, q->port_index);
		pkts[got++].vnet = t->vnet;
	}
	t->empty_tsc = got < n ? rte_rdtsc() : 0;
	return got;
}

int tap_notify(struct worker *w, struct rxq *q, bool on)
{
	struct tap *t = q->drv;

	(void)w, (void)on;
	t->empty_tsc = 0; // the next look reads
	return t->watch;
}

uint16_t tap_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n)
{
	const struct tap *t = q->drv;
	struct iovec iov[1 + MAX_IOV];

	for (uint16_t i = 0; i < n; i++) {
		int n_iov = pkt_iov(pkts[i], iov + 1, MAX_IOV);

		if (unlikely(n_iov == 0) && pkt_own(w, pkts[i])) // in many small pieces
			n_iov = pkt_iov(pkts[i], iov + 1, MAX_IOV);
		iov[0] = (struct iovec){&pkts[i]->vnet, sizeof(pkts[i]->vnet)};
		// EAGAIN and ENOBUFS: full. EIO: the interface is down; the link watcher is about to say so.
		if (unlikely(n_iov == 0 || writev(t->fd, iov, 1 + n_iov) < 0))
			return i;
	}
	return n;
}
