// The switch of rig.h: its driver, its configuration through the change engine, its traffic. Control thread.
#include "rig.h"
#include "ext/ext_feature.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>

#include "ctrl/api/err.h"
#include "ctrl/api/log.h"
#include "ctrl/change.h"
#include "ctrl/conf.h"
#include "ctrl/engine.h"
#include "ctrl/loop.h"
#include "ctrl/modules.h"
#include "ctrl/store.h"
#include "dp/flow.h"
#include "dp/pool.h"
#include "dp/port.h"
#include "dp/snap.h"
#include "dp/worker.h"

#define NAME_BYTES 32

struct worker *w;

void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(2);
}

// The driver

static bool null_claims(const struct port_conf *c)
{
	return strncmp(c->device, "null:", 5) == 0;
}

static int null_open(struct port *p, const struct port_conf *c, struct err *e)
{
	(void)c, (void)e;
	p->drv = p;
	return 0;
}

static void null_start(struct port *p)
{
	atomic_store(&p->live.up, true);
	atomic_store(&p->live.n_tx_active, p->conf.n_queues);
	port_state_set(p, PORT_UP, NULL);
}

static void null_stop(struct port *p)
{
	atomic_store(&p->live.up, false);
}

static void null_close(struct port *p)
{
	p->drv = NULL;
}

static uint16_t null_rx(struct worker *worker, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	(void)worker, (void)q, (void)pkts, (void)n;
	return 0;
}

static uint16_t null_tx(struct worker *worker, struct txq *q, struct pkt **pkts, uint16_t n)
{
	(void)worker, (void)q, (void)pkts;
	return n;
}

static const struct port_driver null_driver = {
    .name = "null",
    .claims = null_claims,
    .open = null_open,
    .start = null_start,
    .stop = null_stop,
    .close = null_close,
    .rx = null_rx,
    .tx = null_tx,
};

// Configuration

struct edit {
	const char *kind;
	char name[NAME_BYTES];
	json_t *conf;
	bool done;
	struct err e;
};

static void edit_done(const struct err *e, void *arg)
{
	struct edit *d = arg;

	d->done = true;
	if (e != NULL)
		d->e = *e;
}

static void edit_turn(void *arg)
{
	struct edit *d = arg;
	struct change *ch = change_new_quiet(edit_done, d);

	change_put(ch, d->kind, d->name, d->conf);
	if (change_submit(ch, &d->e) < 0)
		d->done = true;
}

static void edit(struct edit *d)
{
	engine_queue(edit_turn, d);
	while (!d->done || !engine_is_idle())
		loop_turn();
	must(d->e.code == 0, d->e.text);
}

void switch_make(int number)
{
	struct edit d = {.kind = "switch", .conf = json_pack("{s:s}", "kind", "internal")};

	snprintf(d.name, sizeof(d.name), "sw%d", number);
	edit(&d);
}

void extension_make(int number, int sw, const char *path, struct hooks *h)
{
	struct edit d = {.kind = "ext",
			 .conf = json_pack("{s:o, s:s, s:{s:I}}", "switch", json_sprintf("sw%d", sw), "path",
					   path, "config", "hooks", (json_int_t)(uintptr_t)h)};

	ext_trust_set("/nonexistent", true);
	snprintf(d.name, sizeof(d.name), "ext%d", number);
	edit(&d);
}

struct port *port_make_of(const char *kind, int number, int sw)
{
	struct edit d = {.kind = "port",
			 .conf =
			     json_pack("{s:s, s:o, s:o}", "type", "guest", "switch", json_sprintf("sw%d", sw),
				       "device", json_sprintf("%s:%d", kind, number))};

	snprintf(d.name, sizeof(d.name), "p%d", number);
	edit(&d);
	struct port *p = port_find(d.name);

	while (p->state != PORT_UP)
		loop_turn();
	return p;
}

struct port *port_make(int number, int sw)
{
	return port_make_of("null", number, sw);
}

// Traffic

void frame_write(uint8_t *f, int from, uint32_t flow)
{
	static const uint8_t ip_udp[] = {8, 0, 0x45, 0,  0, 46, 0, 0,    0x40, 0,    64,   17, 0,  0, 10,
					 0, 0, 1,    10, 0, 0,  2, 0x13, 0x88, 0x13, 0x89, 0,  26, 0, 0};
	const uint8_t mac[2] = {10 + (uint8_t)from, 10 + (uint8_t)!from};

	memset(f, 0, FRAME_BYTES);
	for (int i = 0; i < 2; i++) {
		uint8_t *a = f + (i == 0 ? 6 : 0);

		a[0] = 2;
		a[3] = mac[i];
		a[4] = flow >> 8;
		a[5] = flow;
	}
	memcpy(f + 12, ip_udp, sizeof(ip_udp));
}

void burst_open(struct burst *b)
{
	must(rte_pktmbuf_alloc_bulk(w->pool, b->m, PKT_BURST) == 0, "no packet buffer is left");
	for (int i = 0; i < PKT_BURST; i++) {
		b->frame[i] = (uint8_t *)rte_pktmbuf_append(b->m[i], FRAME_BYTES);
		must(b->frame[i] != NULL, "a packet buffer is too small");
	}
}

struct rxq *burst_receive(const struct burst *b, struct port *from)
{
	struct rxq *q = &from->rxqs[0];

	for (int i = 0; i < PKT_BURST; i++)
		pkt_init_owned(&w->pkts[i], b->m[i], q->port_index);
	w->snap = snap_now();
	return q;
}

void tables_tend(const struct port *const *ports, int n)
{
	for (int i = 0; i < n; i++) {
		struct flow_table *t = ports[i]->rxqs[0].flows;

		if (flow_grow_due(t))
			flow_grow(t, flow_size(t) * 4, flow_index_make(flow_size(t) * 4));
		flow_tidy(t);
	}
}

uint64_t delivered(const struct port *const *ports, int n)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++) {
		struct port_counters c;

		port_counters_sum(ports[i], &c);
		sum += c.delivered;
	}
	return sum;
}

uint64_t hits(const struct port *const *ports, int n)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++) {
		struct flow_stats c;

		flow_stats(ports[i]->rxqs[0].flows, &c);
		sum += c.hits;
	}
	return sum;
}

void start(const char *state)
{
	char *argv[] = {"budget",      "--no-huge",         "--no-pci",
			"--no-shconf", "--no-telemetry",    "-m",
			"256",         "--log-level=error", "--force-max-simd-bitwidth=256",
			NULL};
	struct err e = {0};

	log_level_set(LOG_LEVEL_WARN);
	must(rte_eal_init(9, argv) >= 0, "cannot start DPDK");
	must(loop_init(&e) == 0 && pool_init(128, &e) == 0 && snap_init(&e) == 0, e.text);
	conf_init(modules);
	port_driver_register(&null_driver);
	must(modules_init(&e) == 0 && store_open(state, &e) == 0, e.text);
	w = aligned_alloc(64, (sizeof(*w) + 63) & ~63ul);
	memset(w, 0, sizeof(*w));
	w->pool = pool_shared();
	w->hash_seed = 1;
	w->hz = 1000000000;
	w->now_s = 1000;
}
