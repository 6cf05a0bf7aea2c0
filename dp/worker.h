// A worker: one thread that polls its receive queues and takes every packet to its destinations.
//
// It is the first argument of every data-path function; a test can make one on the stack. Own thread,
// registered with DPDK; reads configuration through one pointer per round, never waits.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "drop_detail.h"
#include "port.h"
#include "snap.h"
#include "walk.h"

struct flow_table;
struct request;

#define WORKER_BATCHES 64   // destinations of one burst before a flush
#define WORKER_EDGES   32   // notified queues that are fetched at once
#define WORKER_LENT    1024 // pieces of borrowed packets of one burst
#define WORKER_WAKE    UINT64_MAX

struct tx_batch {
	uint16_t port;
	uint16_t queue;
	uint16_t n;
	uint16_t flags; // of any packet
	bool tags;      // some are to leave with a tag
	bool shared;    // some may be in other batches, too: n_users counts
	uint32_t bytes; // of all, before any tag
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
	// sleep.h
	struct rxq *hot;      // queues that are polled, by next_hot
	uint32_t n_asleep;    // the others
	uint32_t n_awaited;   // in our list, but not ours yet
	uint32_t list_no;     // lists taken over
	uint64_t list_epoch;  // snapshot of the last
	uint64_t doze_before; // a queue that has found nothing since then may sleep; 0 = none
	uint64_t looked_tsc;  // for notified ones
	int set;              // epoll: sleeping queues, and `wake`
	int n_edges;
	uint64_t edges[WORKER_EDGES];
	struct walk walk;
	const struct dest *out;   // the destination whose ops are run
	uint16_t whys[PKT_BURST]; // beside the drops of an op: drop_detail.h, of DROP_EXTENSION
	uint16_t n_batches;
	uint8_t batch_of[MAX_PORTS]; // 1 + index into batches, 0 = none
	struct tx_batch batches[WORKER_BATCHES];
	bool owns;                              // some packet of the burst is owned, or was made so
	alignas(64) struct pkt pkts[PKT_BURST]; // of the burst
	struct pkt held[PKT_BURST];             // of a mailbox
	struct pkt cut[PKT_BURST];              // segments (txq)
	uint16_t n_lent;
	struct iovec lent[WORKER_LENT];     // the driver's, from rx to rx_done
	struct rte_ring *injected;          // inject.h
	uint64_t details[MAX_DROP_DETAILS]; // dropped packets, by drop_detail.h; control: r
	// control
	pthread_t thread;
	pid_t tid;    // writer: its thread, before it runs
	bool leaving; // being deleted: takes no more queues
	_Atomic bool stop;
	_Atomic bool running;
	_Atomic bool resting; // worker; control: r
	int wake;             // eventfd
};

// workers

// One round over the worker's receive queues. Returns packets moved.
uint32_t worker_round(struct worker *w);

// A burst from one queue: parse, find flows or walk, deliver, free.
void worker_burst(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
// For flow tables, within a burst. worker_walk() decides by the walk, keeps that as a flow in `keep` unless it is NULL,
// learns and carries it out; worker_run() carries out a plan for packets whose source is known, in order;
// `bytes` is what they are together.
void worker_walk(struct worker *w, struct pkt *p, struct flow_table *keep);
void worker_run(struct worker *w, struct pkt *pkts, uint16_t n, uint32_t bytes, const struct plan *plan);
// A frame that is made here (inject.h), accounted to `in`: to `to`, which is `in`, as it is, or behind the step with the arg `after`.
// Takes over `m`.
void worker_insert(struct worker *w, struct rte_mbuf *m, const struct snap_port *in, const void *after,
		   const struct snap_port *to);

static inline struct port_counters *worker_counters(const struct worker *w, const struct snap_port *sp)
{
	return sp->counters[w->index];
}

static inline void worker_drop(struct worker *w, const struct snap_port *src, enum drop reason, uint32_t n)
{
	worker_counters(w, src)->dropped[reason] += n;
}

// Tells whoever watches: of each packet whose drop is counted, while it is still there. `dst` may be NULL.
void worker_tell_watches(struct worker *w, const struct snap_port *src, const struct pkt *p,
			 const struct drop_note *note);
// The same for what ops have dropped of a burst.
void worker_tell_all(struct worker *w, const struct pkt *pkts, const uint8_t *drops, uint16_t n,
		     const struct snap_port *dst);
static inline void worker_tell(struct worker *w, const struct snap_port *src, const struct pkt *p,
			       enum drop reason, const struct snap_port *dst)
{
	if (__builtin_expect(src->n_watches != 0, 0))
		worker_tell_watches(w, src, p, &(const struct drop_note){.reason = reason, .dst = dst});
}

// control thread

// Starts one worker per CPU of `cores`. -errno with a sentence.
int workers_start(const int *cores, uint16_t n_cores, struct err *e);
void workers_stop(void);
void worker_wake(struct worker *w);
void worker_lend(struct worker *w);       // one whose rounds the caller makes: a test
void workers_wake(void);                  // those that rest look at the snapshot
uint16_t workers_n(void);                 // 1 + the highest index; below it there may be gaps
struct worker *worker_at(uint16_t index); // NULL = none
struct worker *worker_first(void);        // NULL = none

// At run time, each a change of its own that answers `rq` (may be NULL). The new one gets the lowest free index, which is
// returned, and the queues that were set to it by hand. One that goes leaves its queues to the others first; its
// index and CPU are free with the answer. -errno with a sentence.
int worker_add(struct request *rq, int core, struct err *e);
int worker_del(struct request *rq, uint16_t index, struct err *e);
