// Host vNICs, bursts: one system call per frame between the tap's descriptor and mbufs. Workers.
#include "tap.h"

#include <sys/uio.h>
#include <unistd.h>

#include <rte_branch_prediction.h>
#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "dp/worker.h"

#define FRAME_MAX (FRAME_MAX_MTU + 22) // Ethernet header and two VLAN tags

static_assert(sizeof(struct virtio_net_hdr_v1) == 12, "TUNSETVNETHDRSZ");

// Fills up the buffers for one frame. Returns how many iovecs describe them, 0 = out of buffers.
static int segs_ready(struct worker *w, struct tap *t, struct iovec *iov)
{
	uint32_t room = 0;
	int n = 0;

	for (; n < TAP_SEGS && room <= FRAME_MAX; n++) {
		if (t->seg[n] == NULL && (t->seg[n] = rte_pktmbuf_alloc(w->pool)) == NULL)
			return 0;
		uint16_t tail = rte_pktmbuf_tailroom(t->seg[n]);

		iov[n] = (struct iovec){rte_pktmbuf_mtod(t->seg[n], void *), tail};
		room += tail;
	}
	return n;
}

// The buffers that a frame of `len` bytes has filled, as a chain; they leave the cache.
static struct rte_mbuf *segs_take(struct tap *t, uint32_t len)
{
	struct rte_mbuf *first = t->seg[0], *last = NULL;
	int used = 0;

	first->pkt_len = len;
	do {
		struct rte_mbuf *m = t->seg[used++];

		m->data_len = RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(m));
		len -= m->data_len;
		if (last != NULL)
			last->next = m;
		last = m;
	} while (len > 0);
	first->nb_segs = used;
	// The others move up: all buffers of one pool are equal.
	for (int i = 0; i < TAP_SEGS; i++)
		t->seg[i] = i + used < TAP_SEGS ? t->seg[i + used] : NULL;
	return first;
}

// One frame. NULL when there is none, or no buffer for it.
static struct rte_mbuf *frame_read(struct worker *w, struct tap *t, struct virtio_net_hdr_v1 *vnet)
{
	struct iovec iov[1 + TAP_SEGS] = {{vnet, sizeof(*vnet)}};
	int n_segs = segs_ready(w, t, iov + 1);

	if (unlikely(n_segs == 0))
		return NULL;
	// What someone sends after raising the interface's MTU fills all buffers, which are more than any port's MTU
	// allows: the walk drops it as oversize.
	ssize_t len = readv(t->fd, iov, 1 + n_segs);

	return likely(len > (ssize_t)sizeof(*vnet)) ? segs_take(t, len - sizeof(*vnet)) : NULL;
}

uint16_t tap_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	struct tap *t = q->drv;
	struct virtio_net_hdr_v1 vnet;
	uint16_t got = 0;

	// An idle interface costs a system call per poll, so it is looked at every few microseconds only.
	if (t->empty_tsc != 0 && rte_rdtsc() - t->empty_tsc < t->poll_cycles)
		return 0;
	while (got < n) {
		struct rte_mbuf *m = frame_read(w, t, &vnet);

		if (m == NULL)
			break;
		pkt_init_owned(&pkts[got], m, q->port_index);
		pkts[got++].vnet = vnet;
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
	struct iovec iov[1 + PKT_BURST];

	(void)w;
	for (uint16_t i = 0; i < n; i++) {
		int n_iov = pkt_iov(pkts[i], iov + 1, PKT_BURST);

		iov[0] = (struct iovec){&pkts[i]->vnet, sizeof(pkts[i]->vnet)};
		// EAGAIN and ENOBUFS: full. EIO: the interface is down; the link watcher is about to say so.
		if (unlikely(n_iov == 0 || writev(t->fd, iov, 1 + n_iov) < 0))
			return i;
	}
	return n;
}
