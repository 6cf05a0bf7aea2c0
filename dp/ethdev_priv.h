// What the two halves of the ethdev driver share. Made by open (jobs thread), freed by close.
#pragma once

#include "port.h"

struct link_watch;
struct rte_device;
struct rte_mempool;
struct timer;

struct ethdev {
	// set by open, then const
	uint16_t id;              // DPDK's port number
	bool takes_chains;        // transmits frames of several segments
	uint32_t offloads;        // enum port_offload: what the device finishes
	struct rte_mempool *pool; // own one for long frames in one piece, NULL = none
	struct port_live *live;

	// control thread
	struct port *port;
	char port_name[PORT_NAME_SIZE];
	char device_name[64]; // what stands before the first comma
	char ifname[16];      // of the device string, "" = none
	struct link_watch *watch;
	struct timer *poll;

	// jobs thread
	struct rte_device *device; // to be removed at close, NULL = it was there before
	bool started;
};

// workers
uint16_t ethdev_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
uint16_t ethdev_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n);
