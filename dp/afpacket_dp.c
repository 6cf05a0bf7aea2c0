// Bursts of a packet socket: frames are lent out of the receive ring, and copied into the transmit ring.
//
// A slot of the receive ring is ours until rx_done: the kernel has copied the frame into it and nobody else
// writes there, so a tag that the kernel took out is put back in place. What the sender left open (checksum, segments)
// stays so in both directions. Transmitting is one system call per burst that never waits. Workers.
#include "afpacket.h"

#include <string.h>
#include <sys/socket.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_ether.h>

#include "worker.h"

#define MAX_IOV   64
#define TAG_BYTES 4

static struct tpacket2_hdr *slot(const struct afpacket *a, uint8_t *ring, uint32_t i)
{
	return (struct tpacket2_hdr *)(ring + (size_t)(i & (a->n_frames - 1)) * a->frame_bytes);
}

static uint32_t status_of(const struct tpacket2_hdr *h)
{
	return __atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE);
}

static void status_set(struct tpacket2_hdr *h, uint32_t status)
{
	__atomic_store_n(&h->tp_status, status, __ATOMIC_RELEASE);
}

// Over the virtio header, which has been read: there is always room.
static uint8_t *insert_tag(uint8_t *frame, const struct tpacket2_hdr *h, uint32_t status)
{
	uint16_t tpid = status & TP_STATUS_VLAN_TPID_VALID ? h->tp_vlan_tpid : RTE_ETHER_TYPE_VLAN;
	uint16_t tag[2] = {rte_cpu_to_be_16(tpid), rte_cpu_to_be_16(h->tp_vlan_tci)};

	memmove(frame - TAG_BYTES, frame, 2 * RTE_ETHER_ADDR_LEN);
	memcpy(frame - TAG_BYTES + 2 * RTE_ETHER_ADDR_LEN, tag, sizeof(tag));
	return frame - TAG_BYTES;
}

// The frame, and in `v` what its sender asks.
static struct iovec frame_of(struct tpacket2_hdr *h, uint32_t status, struct virtio_net_hdr_v1 *v)
{
	uint8_t *frame = (uint8_t *)h + h->tp_mac;
	uint32_t len = h->tp_snaplen;

	memset(v, 0, sizeof(*v));
	memcpy(v, frame - sizeof(struct virtio_net_hdr), sizeof(struct virtio_net_hdr));
	if (status & TP_STATUS_VLAN_VALID && len >= 2 * RTE_ETHER_ADDR_LEN) {
		frame = insert_tag(frame, h, status);
		len += TAG_BYTES;
		v->csum_start += TAG_BYTES;
	}
	return (struct iovec){frame, len};
}

static void drop_cut(struct worker *w, const struct rxq *q, uint32_t bytes)
{
	const struct snap_port *in = w->snap->ports[q->port_index];
	struct port_counters *n = worker_counters(w, in);

	n->rx_packets++;
	n->rx_bytes += bytes;
	worker_drop(w, in, DROP_TRUNCATED, 1);
}

static void give_back(struct afpacket *a)
{
	for (; a->rx_lent != a->rx_next; a->rx_lent++)
		status_set(slot(a, a->rx_ring, a->rx_lent), TP_STATUS_KERNEL);
}

uint16_t afpacket_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	struct afpacket *a = q->drv;
	uint16_t got = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct tpacket2_hdr *h = slot(a, a->rx_ring, a->rx_next);
		uint32_t status = status_of(h);

		if (!(status & TP_STATUS_USER))
			break;
		a->rx_next++;
		if (unlikely(h->tp_snaplen < h->tp_len)) {
			drop_cut(w, q, h->tp_len);
			continue;
		}
		struct virtio_net_hdr_v1 vnet;
		struct iovec frame = frame_of(h, status, &vnet);

		pkt_init_borrowed(&pkts[got], &frame, 1, &a->rest[got], q->port_index);
		pkts[got++].vnet = vnet;
	}
	if (got == 0)
		give_back(a); // rx_done will not be called
	return got;
}

void afpacket_rx_done(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	(void)w, (void)pkts, (void)n;
	give_back(q->drv);
}

int afpacket_notify(struct worker *w, struct rxq *q, bool on)
{
	const struct afpacket *a = q->drv;

	(void)w, (void)on;
	return a->fd;
}

static bool fill_slot(struct worker *w, struct afpacket *a, struct tpacket2_hdr *h, struct pkt *p)
{
	uint8_t *to = (uint8_t *)h + AFPACKET_TX_OFFSET;
	uint32_t len = sizeof(struct virtio_net_hdr) + p->len;
	struct iovec iov[MAX_IOV];
	uint16_t n_iov;

	if (AFPACKET_TX_OFFSET + len > a->frame_bytes)
		return false;
	n_iov = pkt_iov(p, iov, MAX_IOV);
	if (n_iov == 0 && pkt_own(w, p))
		n_iov = pkt_iov(p, iov, MAX_IOV);
	if (n_iov == 0)
		return false;
	memcpy(to, &p->vnet, sizeof(struct virtio_net_hdr));
	to += sizeof(struct virtio_net_hdr);
	for (uint16_t i = 0; i < n_iov; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	h->tp_len = h->tp_snaplen = len;
	status_set(h, TP_STATUS_SEND_REQUEST);
	return true;
}

// The kernel takes slots in order and stops at the first one that it cannot send. What it left is taken back, or it
// would be sent by some later burst, after its packets were reported as refused.
static uint32_t take_back(struct afpacket *a, uint32_t first, uint32_t end)
{
	uint32_t left = first;

	while (left != end && status_of(slot(a, a->tx_ring, left)) != TP_STATUS_SEND_REQUEST)
		left++;
	for (uint32_t i = left; i != end; i++)
		status_set(slot(a, a->tx_ring, i), TP_STATUS_AVAILABLE);
	return left;
}

uint16_t afpacket_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n)
{
	struct afpacket *a = q->drv;
	uint32_t first = a->tx_next, end = first;

	if (unlikely(!atomic_load_explicit(&a->live->up, memory_order_relaxed)))
		return 0;
	for (; end - first < n; end++) {
		struct tpacket2_hdr *h = slot(a, a->tx_ring, end);

		if (status_of(h) != TP_STATUS_AVAILABLE || !fill_slot(w, a, h, pkts[end - first]))
			break;
	}
	if (end == first)
		return 0;
	// A second try, as the first one may only have fetched an old error (the interface had been down).
	for (int tries = 0; tries < 2; tries++) {
		sendto(a->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
		if (status_of(slot(a, a->tx_ring, first)) != TP_STATUS_SEND_REQUEST)
			break;
	}
	a->tx_next = take_back(a, first, end);
	return a->tx_next - first;
}
