// What the data plane shows on /metrics: ports, drops, workers, forwarding databases. Control thread.
#include "metrics.h"

#include <stddef.h>
#include <stdio.h>

#include "port.h"
#include "switch.h"
#include "worker.h"

#define PORTS_PER_STEP 64

static void port_labels(const struct port *p, char out[160])
{
	snprintf(out, 160, "port=\"%s\",switch=\"%s\"", p->conf.name, p->conf.switch_name);
}

// Calls one(m, f, port) for a slice of the ports.
static bool each_port(struct metrics *m, const struct metric_family *f, uint64_t *at,
		      void (*one)(struct metrics *m, const struct metric_family *f, const struct port *p))
{
	for (int n = 0; *at < MAX_PORTS && n < PORTS_PER_STEP; (*at)++) {
		const struct port *p = port_at(*at);

		if (p == NULL || p->leaving)
			continue;
		one(m, f, p);
		n++;
	}
	return *at < MAX_PORTS;
}

static void one_counter(struct metrics *m, const struct metric_family *f, const struct port *p)
{
	struct port_counters n;
	char labels[160];

	port_counters_sum(p, &n);
	port_labels(p, labels);
	metric_add(m, labels, *(uint64_t *)((char *)&n + f->arg));
}

static bool port_counter(struct metrics *m, const struct metric_family *f, uint64_t *at)
{
	return each_port(m, f, at, one_counter);
}

static void one_drops(struct metrics *m, const struct metric_family *f, const struct port *p)
{
	struct port_counters n;
	char labels[160], with_reason[224];

	(void)f;
	port_counters_sum(p, &n);
	port_labels(p, labels);
	for (int d = 1; d < N_DROPS; d++) {
		if (n.dropped[d] == 0)
			continue;
		snprintf(with_reason, sizeof(with_reason), "%s,reason=\"%s\"", labels, drop_name(d));
		metric_add(m, with_reason, n.dropped[d]);
	}
}

static bool port_drops(struct metrics *m, const struct metric_family *f, uint64_t *at)
{
	return each_port(m, f, at, one_drops);
}

static void one_up(struct metrics *m, const struct metric_family *f, const struct port *p)
{
	char labels[160];

	(void)f;
	port_labels(p, labels);
	metric_add(m, labels, p->state == PORT_UP && !port_is_held(p));
}

static bool port_up(struct metrics *m, const struct metric_family *f, uint64_t *at)
{
	return each_port(m, f, at, one_up);
}

static bool worker_counter(struct metrics *m, const struct metric_family *f, uint64_t *at)
{
	char labels[64];

	(void)at;
	for (uint16_t i = 0; i < workers_n(); i++) {
		const struct worker *w = worker_at(i);

		if (w == NULL)
			continue;
		const uint64_t *value = (const uint64_t *)((const char *)&w->n + f->arg);

		snprintf(labels, sizeof(labels), "worker=\"%u\",core=\"%d\"", i, w->core);
		metric_add(m, labels, __atomic_load_n(value, __ATOMIC_RELAXED));
	}
	return false;
}

static bool fdb_entries(struct metrics *m, const struct metric_family *f, uint64_t *at)
{
	char labels[96];

	(void)f;
	(void)at;
	for (uint16_t i = 0; i < switches_n(); i++) {
		const struct vswitch *vs = switch_at(i);
		struct fdb_stats n;

		if (vs == NULL || vs->leaving)
			continue;
		fdb_stats(vs->fdb, &n);
		snprintf(labels, sizeof(labels), "switch=\"%s\"", vs->name);
		metric_add(m, labels, n.n_entries);
	}
	return false;
}

#define PORT(field)   offsetof(struct port_counters, field)
#define WORKER(field) offsetof(struct worker_counters, field)

const struct metric_family dp_metrics[] = {
    {"evs_port_up", METRIC_GAUGE, "Whether frames can pass.", port_up},
    {"evs_port_received_packets", METRIC_COUNTER, "Frames that came from the port.", port_counter,
     PORT(rx_packets)},
    {"evs_port_received_bytes", METRIC_COUNTER, "Bytes that came from the port.", port_counter,
     PORT(rx_bytes)},
    {"evs_port_sent_packets", METRIC_COUNTER, "Frames delivered to the port.", port_counter,
     PORT(tx_packets)},
    {"evs_port_sent_bytes", METRIC_COUNTER, "Bytes delivered to the port.", port_counter, PORT(tx_bytes)},
    {"evs_port_dropped_packets", METRIC_COUNTER, "Frames from the port that were dropped.", port_drops},
    {"evs_worker_busy_cycles", METRIC_COUNTER, "TSC of rounds that moved a packet.", worker_counter,
     WORKER(busy_cycles)},
    {"evs_worker_idle_cycles", METRIC_COUNTER, "TSC of all other rounds.", worker_counter,
     WORKER(idle_cycles)},
    {"evs_worker_packets", METRIC_COUNTER, "Packets received by the worker.", worker_counter,
     WORKER(packets)},
    {"evs_fdb_entries", METRIC_GAUGE, "Addresses that the switch knows.", fdb_entries},
    {NULL}};
