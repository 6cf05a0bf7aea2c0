#include "driver_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "ctrl/link.h"
#include "ctrl/loop.h"
#include "dp/pool.h"

#define MEMORY_MB 64

static struct worker worker;
static struct timer *tick;

static void nothing(void *arg)
{
	(void)arg;
}

static void give_up(const char *what)
{
	fprintf(stderr, "cannot set up the test: %s\n", what);
	exit(1);
}

void rig_init(void)
{
	char *eal[] = {"test",
		       "--no-huge",
		       "--no-pci",
		       "--no-shconf",
		       "--no-telemetry",
		       "-m",
		       "256",
		       "--log-level=lib.eal:error",
		       NULL};
	struct err e = {0};

	if (rte_eal_init((int)(sizeof(eal) / sizeof(eal[0])) - 1, eal) < 0)
		give_up("EAL");
	if (loop_init(&e) < 0 || link_init(&e) < 0 || pool_init(MEMORY_MB, &e) < 0)
		give_up(e.text);
	tick = timer_start("tick", 1000, 1000, nothing, NULL);
	worker.pool = pool_shared();
}

void rig_fini(void)
{
	timer_stop(tick);
	link_fini();
	loop_fini();
	pool_fini();
}

struct worker *rig_worker(void)
{
	return &worker;
}

void rig_turn(void)
{
	loop_turn();
}

struct port *rig_port(const struct port_driver *d, const struct port_conf *c)
{
	struct port *p = aligned_alloc(64, (sizeof(*p) + 63) & ~(size_t)63);

	memset(p, 0, sizeof(*p));
	p->conf = *c;
	p->driver = d;
	p->index = 7;
	p->txqs = aligned_alloc(64, c->n_queues * sizeof(*p->txqs));
	memset(p->txqs, 0, c->n_queues * sizeof(*p->txqs));
	for (uint16_t q = 0; q < c->n_queues; q++) {
		p->rxqs[q] = (struct rxq){.port = p, .port_index = p->index, .id = q};
		p->txqs[q].id = q;
	}
	return p;
}

void rig_port_free(struct port *p)
{
	free(p->txqs);
	free(p);
}

struct port *rig_port_start(const struct port_driver *d, const struct port_conf *c)
{
	struct port *p = rig_port(d, c);
	struct err e = {0};

	ck_assert_msg(d->validate(c, &e) == 0, "%s", e.text);
	ck_assert_msg(d->open(p, &p->conf, &e) == 0, "%s", e.text);
	d->start(p);
	return p;
}

static void set_true(void *flag)
{
	*(bool *)flag = true;
}

static void close_work(void *port)
{
	struct port *p = port;

	p->driver->close(p);
}

void rig_port_stop(struct port *p)
{
	static bool closed;

	closed = false;
	p->driver->stop(p);
	job_run("close", close_work, NULL, p);
	job_run("closed", nothing, set_true, &closed);
	rig_wait(closed);
	rig_port_free(p);
}

json_t *rig_stats(const struct port *p)
{
	json_t *out = json_object();

	p->driver->stats(p, out);
	return out;
}

uint16_t rig_rx_queue(struct worker *w, struct port *p, uint16_t q, struct pkt *pkts, uint16_t n)
{
	uint16_t got = p->driver->rx(w, &p->rxqs[q], pkts, n);

	for (uint16_t i = 0; i < got; i++)
		ck_assert(pkt_own(w, &pkts[i]));
	if (got > 0 && p->driver->rx_done != NULL)
		p->driver->rx_done(w, &p->rxqs[q], pkts, got);
	return got;
}

uint16_t rig_rx(struct port *p, struct pkt *pkts, uint16_t n)
{
	uint16_t sum = 0;

	for (uint16_t q = 0; q < p->conf.n_queues && sum < n; q++)
		sum += rig_rx_queue(&worker, p, q, pkts + sum, n - sum);
	return sum;
}

bool rig_tx(struct port *p, uint16_t queue, const void *frame, uint32_t len)
{
	static struct pkt pkt;
	struct pkt *list[] = {&pkt};
	struct iovec iov = {(void *)frame, len}, rest[1];

	pkt_init_borrowed(&pkt, &iov, 1, rest, p->index);
	ck_assert(pkt_own(&worker, &pkt));
	uint16_t sent = p->driver->tx(&worker, &p->txqs[queue], list, 1);

	pkt_free(&pkt);
	return sent == 1;
}

void rig_frame(uint8_t *frame, uint32_t len, uint8_t seed)
{
	static const uint8_t head[14] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5};

	memcpy(frame, head, sizeof(head));
	for (uint32_t i = sizeof(head); i < len; i++)
		frame[i] = (uint8_t)(seed + i * 31 + i / 256);
}

bool rig_same(const struct pkt *p, const uint8_t *frame, uint32_t len)
{
	struct iovec iov[16];
	uint16_t n = pkt_iov(p, iov, 16);
	uint32_t at = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (at + iov[i].iov_len > len || memcmp(frame + at, iov[i].iov_base, iov[i].iov_len) != 0)
			return false;
		at += iov[i].iov_len;
	}
	return n > 0 && p->len == len && at == len;
}
