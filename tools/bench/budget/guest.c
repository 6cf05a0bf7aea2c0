// The guests of guest.h: a driver whose bursts are those of hv/vhost_dp.c, on rings that nobody negotiated. One thread.
#include "guest.h"

#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "hv/vhost.h"
#include "rig.h"

#define RING         256
#define BUFFER_BYTES 2048
#define BUFFERS      (2 * RING)  // to send, then to receive
#define GUEST_BASE   0x100000ull // guest physical address of the first
#define AREA_BYTES   (64 * 1024) // of each ring
#define AVAIL        (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED         (1u << VRING_PACKED_DESC_F_USED)
#define SENT_BYTES   (VIRTIO_NET_HEADER + GUEST_FRAME)

struct guest {
	struct vhost_ring tx, rx; // of the guest
	struct virtq_memory memory;
	uint16_t sent, received; // entries
};

static uint64_t buffer_gpa(int number)
{
	return GUEST_BASE + (uint64_t)number * BUFFER_BYTES;
}

static uint8_t *buffer_va(const struct guest *g, int number)
{
	return g->memory.regions[0].va + (uint64_t)number * BUFFER_BYTES;
}

static bool is_first_lap(uint16_t entry)
{
	return entry / RING % 2 == 0;
}

// Makes an entry available: the buffer of its place in the ring, from buffer `first` on.
static void offer(const struct virtq *q, uint16_t entry, int first, uint32_t bytes, uint16_t direction)
{
	uint16_t at = entry % RING;

	if (q->is_packed)
		q->packed[at] = (struct vring_packed_desc){buffer_gpa(first + at), bytes, at,
							   direction | (is_first_lap(entry) ? AVAIL : USED)};
	else
		q->desc[at] = (struct vring_desc){buffer_gpa(first + at), bytes, direction, 0};
}

static void show(const struct virtq *q, uint16_t up_to)
{
	if (!q->is_packed)
		__atomic_store_n(&q->avail->idx, up_to, __ATOMIC_RELEASE);
}

// Whether every entry before `up_to` has been used.
static bool is_used(const struct virtq *q, uint16_t up_to)
{
	uint16_t last = up_to - 1, flags;

	if (!q->is_packed)
		return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == up_to;
	flags = __atomic_load_n(&q->packed[last % RING].flags, __ATOMIC_ACQUIRE) & (AVAIL | USED);
	return flags == (is_first_lap(last) ? AVAIL | USED : 0);
}

// Its areas stand behind the buffers. It wants no interrupts.
static void ring_make(const struct guest *g, struct vhost_ring *r, bool packed, int number)
{
	uint8_t *area = buffer_va(g, BUFFERS) + (size_t)number * AREA_BYTES, *rest = area + RING * 16;

	r->own = r->attached = true;
	r->q = (struct virtq){.size = RING,
			      .is_packed = packed,
			      .next_wrap = true,
			      .done_wrap = true,
			      .mergeable = true,
			      .memory = &g->memory,
			      .header = VIRTIO_NET_HEADER,
			      .call = -1};
	if (packed) {
		r->q.packed = (void *)area;
		r->q.driver_event = (void *)rest;
		r->q.device_event = (void *)(rest + 64);
		r->q.driver_event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
		return;
	}
	r->q.desc = (void *)area;
	r->q.avail = (void *)rest;
	r->q.used = (void *)(rest + AREA_BYTES / 4);
	r->q.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	for (uint16_t i = 0; i < RING; i++)
		r->q.avail->ring[i] = i;
}

static void offer_to_receive(const struct guest *g, uint16_t entry, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		offer(&g->rx.q, entry + i, RING, BUFFER_BYTES, VRING_DESC_F_WRITE);
	show(&g->rx.q, entry + n);
}

// The driver

static bool guest_claims(const struct port_conf *c)
{
	return strncmp(c->device, "guest-", 6) == 0;
}

static int guest_open(struct port *p, const struct port_conf *c, struct err *e)
{
	const uint64_t bytes = BUFFERS * BUFFER_BYTES + 2 * AREA_BYTES;
	const bool packed = strncmp(c->device, "guest-packed:", 13) == 0;
	struct guest *g = aligned_alloc(64, (sizeof(*g) + 63) & ~63ul);

	(void)e;
	memset(g, 0, sizeof(*g));
	g->memory =
	    (struct virtq_memory){.n = 1, .regions = {{GUEST_BASE, bytes, aligned_alloc(4096, bytes)}}};
	memset(g->memory.regions[0].va, 0, bytes);
	ring_make(g, &g->tx, packed, 0);
	ring_make(g, &g->rx, packed, 1);
	offer_to_receive(g, 0, RING);
	p->drv = g;
	p->rxqs[0].drv = &g->tx;
	p->txqs[0].drv = &g->rx;
	return 0;
}

static void guest_start(struct port *p)
{
	atomic_store(&p->live.up, true);
	atomic_store(&p->live.n_tx_active, 1);
	port_state_set(p, PORT_UP, NULL);
}

static void guest_stop(struct port *p)
{
	atomic_store(&p->live.up, false);
}

static void guest_close(struct port *p)
{
	p->drv = NULL;
}

static const struct port_driver guest_driver = {
    .name = "guest",
    .claims = guest_claims,
    .open = guest_open,
    .start = guest_start,
    .stop = guest_stop,
    .close = guest_close,
    .rx = vhost_rx,
    .rx_done = vhost_rx_done,
    .tx = vhost_tx,
};

void guests_init(void)
{
	port_driver_register(&guest_driver);
}

struct port *guest_make(int number, int sw, bool packed)
{
	return port_make_of(packed ? "guest-packed" : "guest-split", number, sw);
}

// Traffic

void guest_send(struct port *p, int from)
{
	struct guest *g = p->drv;

	for (uint16_t i = 0; i < PKT_BURST; i++) {
		uint8_t *to = buffer_va(g, (g->sent + i) % RING);

		memset(to, 0, SENT_BYTES);
		frame_write(to + VIRTIO_NET_HEADER, from, 0);
		offer(&g->tx.q, g->sent + i, 0, SENT_BYTES, 0);
	}
	g->sent += PKT_BURST;
	show(&g->tx.q, g->sent);
}

void guest_reap(const struct port *p)
{
	const struct guest *g = p->drv;

	must(is_used(&g->tx.q, g->sent), "the switch did not complete what a guest sent");
}

void guest_receive(const struct port *p)
{
	struct guest *g = p->drv;

	must(is_used(&g->rx.q, g->received + PKT_BURST), "a guest did not receive what was sent to it");
	offer_to_receive(g, g->received + RING, PKT_BURST);
	g->received += PKT_BURST;
}
