#include "device_rig.h"

#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "dp/ethdev.h"

struct port *device;
struct err device_err;

static struct port *port_make(const char *name, const char *string, uint16_t mtu, uint16_t n_queues)
{
	struct port_conf c = {.mtu = mtu, .n_queues = n_queues};

	strcpy(c.name, name);
	strcpy(c.device, string);
	device_err = (struct err){0};
	return rig_port(ethdev_driver.claims(&c) ? &ethdev_driver : &afpacket_driver, &c);
}

// What the driver's worker half needs of a snapshot: where to count.
static void snapshot_make(struct port *p)
{
	static struct snap_port part;
	static const struct snap_port *parts[16];
	static struct snap snap = {.n_ports = 16, .ports = parts};

	p->counters[0] = calloc(1, sizeof(struct port_counters));
	part = (struct snap_port){.index = p->index, .counters = p->counters};
	parts[p->index] = &part;
	rig_worker()->snap = &snap;
}

void device_open(const char *string, uint16_t mtu)
{
	device = port_make("up0", string, mtu, 1);
	snapshot_make(device);
	ck_assert_msg(device->driver->validate(&device->conf, &device_err) == 0, "%s", device_err.text);
	ck_assert_msg(device->driver->open(device, &device->conf, &device_err) == 0, "%s", device_err.text);
	device->driver->start(device);
}

void device_up(const char *string, uint16_t mtu)
{
	device_open(string, mtu);
	rig_wait(device->state == PORT_UP);
	ck_assert(device->live.up);
	ck_assert_uint_eq(device->live.n_tx_active, 1);
}

void device_down(void)
{
	struct port_counters *n = device->counters[0];

	rig_port_stop(device);
	free(n);
	device = NULL;
}

void device_refused(const char *string, uint16_t n_queues, const char *text)
{
	struct port *p = port_make("up1", string, 1500, n_queues);

	if (p->driver->validate(&p->conf, &device_err) == 0)
		ck_assert_int_lt(p->driver->open(p, &p->conf, &device_err), 0);
	ck_assert_msg(strncmp(device_err.text, "port up1: ", 10) == 0, "%s", device_err.text);
	ck_assert_msg(strstr(device_err.text, text) != NULL, "%s", device_err.text);
	ck_assert_ptr_null(p->drv);
	rig_port_free(p);
}

void frame_make(uint8_t *frame, uint16_t len, uint32_t number)
{
	rig_frame(frame, len, number);
	memcpy(frame + 14, &number, sizeof(number));
}

void packet_make(struct pkt *k, const uint8_t *frame, uint16_t len, uint16_t seg)
{
	struct rte_mbuf *first = NULL;

	for (uint16_t at = 0; at < len; at += seg) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(rig_worker()->pool);
		uint16_t n = RTE_MIN(seg, len - at);

		ck_assert_ptr_nonnull(m);
		memcpy(rte_pktmbuf_append(m, n), frame + at, n);
		if (!first)
			first = m;
		else
			ck_assert_int_eq(rte_pktmbuf_chain(first, m), 0);
	}
	pkt_init_owned(k, first, 0);
	k->n_users = 1;
}

uint16_t device_tx(struct pkt *k, uint16_t n)
{
	struct pkt *list[PKT_BURST];

	for (uint16_t i = 0; i < n; i++)
		list[i] = &k[i];
	return device->driver->tx(rig_worker(), &device->txqs[0], list, n);
}

uint16_t device_rx(struct pkt *k, uint16_t n)
{
	return rig_rx(device, k, n);
}

void device_rx_end(struct pkt *k, uint16_t n)
{
	if (device->driver->rx_done)
		device->driver->rx_done(rig_worker(), &device->rxqs[0], k, n);
	for (uint16_t i = 0; i < n; i++)
		pkt_free(&k[i]);
}

bool device_has(const uint8_t *frame, uint16_t len)
{
	struct pkt k[PKT_BURST];
	uint16_t n = device_rx(k, PKT_BURST);
	bool found = false;

	for (uint16_t i = 0; i < n; i++)
		found |= rig_same(&k[i], frame, len);
	if (n)
		device_rx_end(k, n);
	return found;
}

unsigned buffers_in_use(void)
{
	return rte_mempool_in_use_count(rig_worker()->pool);
}
