// A whole switch in one process, without rings and devices: real configuration, snapshots, flows and transmit queues,
// and ports that take what they are given. Who uses it makes the bursts. One thread is control thread and worker in turn.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dp/port.h"
#include "dp/worker.h"

#define FRAME_BYTES 60

struct hooks;
struct rte_mbuf;

struct burst {
	struct rte_mbuf *m[PKT_BURST];
	uint8_t *frame[PKT_BURST]; // to be written between burst_open() and burst_receive()
};

extern struct worker *w;

void must(bool ok, const char *what); // ends the program unless `ok`
void start(const char *state);        // with its state in a new file of this name
void switch_make(int number);
struct port *port_make(int number, int sw);                      // up, of switch `sw`
struct port *port_make_of(const char *kind, int number, int sw); // of the driver that claims KIND:NUMBER
// A scripted extension (tests/ext) for switch `sw`.
void extension_make(int number, int sw, const char *path, struct hooks *h);

// UDP from one end to the other, between the pair of addresses `flow`: 10 + from in front, the pair behind.
void frame_write(uint8_t *f, int from, uint32_t flow);
void burst_open(struct burst *b);
// Into w->pkts, as if `from` had received it: for worker_burst(). Returns its queue.
struct rxq *burst_receive(const struct burst *b, struct port *from);
void tables_tend(const struct port *const *ports,
		 int n); // gives the ports' tables the room that they ask for

// Sums over the ports
uint64_t delivered(const struct port *const *ports, int n);
uint64_t hits(const struct port *const *ports, int n);
