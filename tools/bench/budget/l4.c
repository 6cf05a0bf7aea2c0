// What a packet costs where a step reads ports, so that each 5-tuple is a flow of its own: TSC cycles within
// worker_burst() with ten flows and with a million, whose packets come in random order. Slots of both take turns, since
// the speed of a core is not steady. Run by ../l4.py; prints one line of JSON.
//
// This table of features takes the place of the daemon's: one more step, on every port.
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <rte_cycles.h>

#include "dp/flow.h"
#include "dp/flow_budget.h"
#include "dp/port_steps.h"
#include "dp/snap.h"
#include "dp/vlan.h"
#include "dp/walk.h"
#include "rig.h"

#define BUDGET      (1u << 24) // one queue gets a fourth of it
#define SLOT_BURSTS 2000
#define SLOT_WARM   400 // not measured
#define FRAME_L4    34

static enum drop reads_ports(struct walk *k, struct pkt *p, const void *arg)
{
	(void)k, (void)p, (void)arg;
	return DROP_NONE;
}

static int build(const struct port *p, struct snap_port *sp, struct err *e)
{
	(void)p, (void)e;
	snap_step_in(sp, STAGE_FILTER_IN, STEP_READS_L4, "reads ports", reads_ports, NULL);
	return 0;
}

static const struct snap_feature reads_feature = {"reads", build};

const struct snap_feature *const snap_features[] = {&port_feature, &vlan_feature, &reads_feature, NULL};

struct side {
	uint32_t n_flows; // of each direction
	struct port *ends[2];
};

static uint32_t some(uint32_t below)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (x >> 32) * below >> 32;
}

// Ports of no protocol that flows leave alone.
static void tuple_write(uint8_t *f, uint32_t flow)
{
	uint16_t ports[2] = {htons(0x4000 + flow % 0x4000), htons(0x2000 + flow / 0x4000)};

	memcpy(f + FRAME_L4, ports, sizeof(ports));
}

// first = UINT32_MAX: any flows. Returns the cycles.
static uint64_t burst(const struct side *s, int from, uint32_t first)
{
	struct burst b;

	burst_open(&b);
	for (int i = 0; i < PKT_BURST; i++) {
		frame_write(b.frame[i], from, 0);
		tuple_write(b.frame[i], first == UINT32_MAX ? some(s->n_flows) : (first + i) % s->n_flows);
	}
	struct rxq *q = burst_receive(&b, s->ends[from]);
	uint64_t begin = rte_rdtsc_precise();

	worker_burst(w, q, w->pkts, PKT_BURST);
	return rte_rdtsc_precise() - begin;
}

static uint64_t bursts(const struct side *s, int n)
{
	uint64_t cycles = 0;

	for (int i = 0; i < n; i++)
		cycles += burst(s, i % 2, UINT32_MAX);
	return cycles;
}

static bool is_full(const struct side *s, int end)
{
	return flow_count(s->ends[end]->rxqs[0].flows) >= s->n_flows;
}

static void every_flow(const struct side *s)
{
	for (uint32_t first = 0; first < s->n_flows; first += PKT_BURST) {
		burst(s, 0, first);
		burst(s, 1, first);
		tables_tend((const struct port *const *)s->ends, 2);
	}
}

static void warm(const struct side *s)
{
	for (int turn = 0; turn < 20 && !(is_full(s, 0) && is_full(s, 1)); turn++)
		every_flow(s);
	must(is_full(s, 0) && is_full(s, 1), "the tables do not keep every flow");
	every_flow(s); // the first ones were made before the other end was known
}

static void side_make(struct side *s, int number, uint32_t n_flows)
{
	s->n_flows = n_flows;
	switch_make(number);
	for (int i = 0; i < 2; i++)
		s->ends[i] = port_make(2 * number + i, number);
	warm(s);
}

static long interruptions(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_nivcsw;
}

// Cycles per packet.
static double slot(const struct side *s)
{
	const uint64_t n = (uint64_t)SLOT_BURSTS * PKT_BURST;
	const struct port *const *both = (const struct port *const *)s->ends;

	bursts(s, SLOT_WARM);
	uint64_t n_delivered = delivered(both, 2), n_hits = hits(both, 2);
	uint64_t cycles = bursts(s, SLOT_BURSTS);

	must(delivered(both, 2) - n_delivered == n, "not every packet is delivered to the other end");
	must(hits(both, 2) - n_hits == n, "not every packet is decided by a flow");
	return (double)cycles / n;
}

// Each second pair in the opposite order.
static void pair(const struct side sides[2], int number)
{
	double cycles[2];
	long before = interruptions();

	for (int i = 0; i < 2; i++) {
		int which = number % 2 ? !i : i;

		cycles[which] = slot(&sides[which]);
	}
	printf("%s{\"few\": %.2f, \"many\": %.2f, \"interruptions\": %ld}", number ? ", " : "[", cycles[0],
	       cycles[1], interruptions() - before);
}

int main(int argc, char **argv)
{
	static struct side sides[2];

	must(argc == 5, "usage: l4 STATE FEW MANY PAIRS");
	flow_budget_set(BUDGET);
	start(argv[1]);
	w->flows_on = true;
	for (int i = 0; i < 2; i++)
		side_make(&sides[i], i, strtoul(argv[2 + i], NULL, 10));
	// From here on before all that is not of real time. Without the right to do so more pairs are interrupted.
	sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
	for (int i = 0; i < atoi(argv[4]); i++)
		pair(sides, i);
	puts("]");
	fflush(stdout);
	_exit(0); // what is taken apart at the end is not measured
}
