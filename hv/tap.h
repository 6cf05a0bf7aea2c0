// The host's own vNICs: the port driver "tap".
//
// A persistent tap interface that keeps its addresses and routes while the daemon is away; it goes when the port is
// deleted. Files: tap.c (driver, interface, link state), tap_dp.c (bursts).
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/api/err.h"
#include "dp/port.h"

#define TAP_SEGS 8 // buffers that a frame may take

extern const struct port_driver tap_driver;

struct link_watch;
struct timer;

struct tap {
	struct port *port;
	char ifname[16];

	// control thread
	struct link_watch *link;
	bool started;
	bool job_runs;
	struct timer *timer; // of the next try to make the interface again

	// jobs thread
	struct port_conf conf; // as it was opened, with the present MTU
	struct err error;      // of the last try; control thread: r when no job runs

	// workers
	alignas(64) int fd;             // const while open; what it refers to may be replaced
	int watch;                      // epoll set with what fd refers to now; const while open
	uint64_t empty_tsc;             // when the last read found nothing, 0 = it found something
	uint64_t poll_cycles;           // how long an empty descriptor is left alone
	struct rte_mbuf *seg[TAP_SEGS]; // empty buffers for the next frame
};

// tap_dp.c

uint16_t tap_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
int tap_notify(struct worker *w, struct rxq *q, bool on);
uint16_t tap_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n);
