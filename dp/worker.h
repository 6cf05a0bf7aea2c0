// A worker: one thread that polls its receive queues and takes every packet to its destinations.
//
// It is the first argument of every data-path function; a test can make one on the stack. Own thread,
// registered with DPDK; reads configuration through one pointer per round, never waits.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "port.h"
#include "walk.h"

#define WORKER_BATCHES 64 // destinations of one burst before a flush

struct tx_batch {
	uint16_t port;
	uint16_t queue;
	uint16_t n;
	struct pkt *p[PKT_BURST];
	struct dest d[PKT_BURST];
};

struct worker_counters {      // writer: the worker; control: r
	uint64_t busy_cycles; // TSC of rounds that moved a packet
	uint64_t idle_cycles;
	uint64_t packets, rounds;
};

struct worker {
	uint16_t index;
	int core; // CPU
	struct rte_mempool *pool;
	const struct snap *snap; // this round's
	uint32_t now_s;          // seconds of CLOCK_MONOTONIC, for ageing
	uint64_t now_tsc, hz;    // of this round
	bool flows_on;           // compile and use flows; else every packet takes the walk
	uint32_t hash_seed;
	struct worker_counters n;
	struct walk walk;
	uint16_t n_batches;
	uint8_t batch_of[MAX_PORTS]; // 1 + index into batches, 0 = none
	struct tx_batch batches[WORKER_BATCHES];
	struct pkt pkts[PKT_BURST]; // of the burst
	struct pkt held[PKT_BURST]; // of a mailbox
	// control
	pthread_t thread;
	_Atomic bool stop;
	_Atomic bool running;
};

// workers

// One round over the worker's receive queues. Returns packets moved.
uint32_t worker_round(struct worker *w);

// A burst from one queue: parse, find flows or walk, deliver, free.
void worker_burst(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
// For flow tables, within a burst. worker_walk() decides by the walk (w->walk.plan), learns and carries it out;
// worker_run() carries out a plan for a packet whose source is known.
void worker_walk(struct worker *w, struct pkt *p);
void worker_run(struct worker *w, struct pkt *p, const struct plan *plan);

static inline struct port_counters *worker_counters(const struct worker *w, const struct snap_port *sp)
{
	return sp->counters[w->index];
}

static inline void worker_drop(struct worker *w, const struct snap_port *src, enum drop reason, uint32_t n)
{
	worker_counters(w, src)->dropped[reason] += n;
}

// control thread

// Starts one worker per CPU of `cores`. -errno with a sentence.
int workers_start(const int *cores, uint16_t n_cores, struct err *e);
void workers_stop(void);
uint16_t workers_n(void);
struct worker *worker_at(uint16_t index);
