// What the data plane's own code costs per packet, in instructions: run under callgrind by ./run, which reads one dump per
// situation. Counted is worker_burst(), with rings also what takes from them and gives back.
#include <stdio.h>
#include <unistd.h>

#include <valgrind/callgrind.h>

#include "dp/snap.h"
#include "guest.h"
#include "rig.h"
#include "tests/ext/hooks.h"

#define WARM_BURSTS 1000
#define BURSTS      1000
#define FEW_FLOWS   8 // no packet is of the flow of the one before
#define MANY_FLOWS  1000
#define MANY_PORTS  200
#define MANY_SWITCH 50
#define N_FILTERS   8
#define GROW_TURNS  64
#define RING_SWITCH 200 // and the next: numbers that no other has

static struct port *ends[2];
static const struct port *const *const both = (const struct port *const *)ends;
static uint32_t n_sent[2];

static void burst(int from, uint32_t n_flows)
{
	struct burst b;

	burst_open(&b);
	for (int i = 0; i < PKT_BURST; i++)
		frame_write(b.frame[i], from, n_sent[from]++ % n_flows);
	struct rxq *q = burst_receive(&b, ends[from]);

	CALLGRIND_TOGGLE_COLLECT;
	worker_burst(w, q, w->pkts, PKT_BURST);
	CALLGRIND_TOGGLE_COLLECT;
}

static void bursts(uint32_t n, uint32_t n_flows)
{
	for (uint32_t i = 0; i < n; i++)
		burst(i % 2, n_flows);
}

// Both ends know each other and every flow has its room.
static void warm(uint32_t n_flows)
{
	for (int i = 0; i < GROW_TURNS; i++) {
		bursts(WARM_BURSTS / GROW_TURNS + n_flows / PKT_BURST * 2, n_flows);
		tables_tend(both, 2);
	}
}

static void measure(const char *what, bool flows, uint32_t n_flows)
{
	const uint64_t n = BURSTS * PKT_BURST;

	w->flows_on = flows;
	warm(n_flows);
	uint64_t n_delivered = delivered(both, 2), n_hits = hits(both, 2);

	CALLGRIND_ZERO_STATS;
	bursts(BURSTS, n_flows);
	CALLGRIND_DUMP_STATS_AT(what);
	must(delivered(both, 2) - n_delivered == n, "not every packet is delivered to the other end");
	must(hits(both, 2) - n_hits == (flows ? n : 0), "the packets do not take the way that is measured");
	printf("%s %lu\n", what, n);
}

// From a guest's ring to another's.
static void ring_burst(int from)
{
	struct rxq *q = &ends[from]->rxqs[0];

	guest_send(ends[from], from);
	w->snap = snap_now();
	CALLGRIND_TOGGLE_COLLECT;
	uint16_t n = ends[from]->driver->rx(w, q, w->pkts, PKT_BURST);

	worker_burst(w, q, w->pkts, n);
	ends[from]->driver->rx_done(w, q, w->pkts, n);
	CALLGRIND_TOGGLE_COLLECT;
	guest_reap(ends[from]);
	guest_receive(ends[!from]);
}

static void ring_warm(void)
{
	for (int i = 0; i < WARM_BURSTS; i++)
		ring_burst(i % 2);
	tables_tend(both, 2);
}

static void measure_rings(const char *what, int number, bool packed)
{
	const uint64_t n = BURSTS * PKT_BURST;

	switch_make(number);
	for (int i = 0; i < 2; i++)
		ends[i] = guest_make(2 * number + i, number, packed);
	w->flows_on = true;
	ring_warm();
	uint64_t n_hits = hits(both, 2);

	CALLGRIND_ZERO_STATS;
	for (int i = 0; i < BURSTS; i++)
		ring_burst(i % 2);
	CALLGRIND_DUMP_STATS_AT(what);
	must(hits(both, 2) - n_hits == n, "the packets do not take the way that is measured");
	printf("%s %lu\n", what, n);
}

int main(int argc, char **argv)
{
	static struct hooks passes;

	must(argc == 3, "usage: budget STATE FILTER");
	guests_init();
	start(argv[1]);
	switch_make(0);
	for (int i = 0; i < 2; i++)
		ends[i] = port_make(i, 0);
	measure("walk", false, 1);
	measure("l2", true, 1);
	measure("mixed", true, FEW_FLOWS);
	measure("mixed-1000-flows", true, MANY_FLOWS);
	for (int i = 2; i < MANY_PORTS; i++)
		port_make(i, 0);
	measure("mixed-200-ports", true, FEW_FLOWS);
	for (int i = 1; i < MANY_SWITCH; i++) {
		switch_make(i);
		port_make(MANY_PORTS + i, i);
	}
	measure("mixed-50-switches", true, FEW_FLOWS);
	for (int i = 0; i < N_FILTERS; i++)
		extension_make(i, 0, argv[2], &passes);
	measure("mixed-8-filters", true, FEW_FLOWS);
	must(passes.n_in > 0, "no filter was asked");
	measure_rings("v2v-split", RING_SWITCH, false);
	measure_rings("v2v-packed", RING_SWITCH + 1, true);
	fflush(stdout);
	_exit(0); // what is taken apart at the end is not measured
}
