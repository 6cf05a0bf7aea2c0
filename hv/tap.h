// The host's own vNICs: the port driver "tap".
//
// A persistent tap interface that keeps its addresses and routes while the daemon is away; it goes when the port is
// deleted. Files: tap.c (driver, interface, link state), tap_dp.c (bursts).
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ctrl/api/err.h"
#include "dp/port.h"

#define TAP_SEGS 33 // buffers that a frame may take: 64 KB, when the host leaves segmentation to us

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
	uint32_t offloads;   // enum port_offload: what the kernel finishes; set by open

	// jobs thread
	struct port_conf conf; // as it was opened, with the present MTU
	struct err error;      // of the last try; control thread: r when no job runs

	// workers
	alignas(64) int fd;             // const while open; what it refers to may be replaced
	int watch;                      // epoll set with what fd refers to now; const while open
	uint64_t empty_tsc;             // when the last read found nothing, 0 = it found something
	uint64_t poll_cycles;           // how long an empty descriptor is left alone
	struct rte_mbuf *seg[TAP_SEGS]; // empty buffers for the next frame
	struct virtio_net_hdr_v1 vnet;  // of the frame read last
	struct iovec iov[1 + TAP_SEGS]; // the virtio header, then they
	int n_missing;                  // of them, at the front
};

// tap_dp.c

uint16_t tap_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
int tap_notify(struct worker *w, struct rxq *q, bool on);
uint16_t tap_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n);
