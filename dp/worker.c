// Workers, the control side: starting, stopping, and the loop that a worker's thread runs.
//
// A worker reports a quiescent state once per round. When it has found nothing for a while it naps, off the
// RCU, so that an idle switch leaves the CPU to others.
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_lcore.h>
#include <rte_random.h>
#include <rte_rcu_qsbr.h>

#include "ctrl/api/err.h"
#include "flow_budget.h"
#include "pool.h"

#define IDLE_ROUNDS_BEFORE_NAP 20000
#define NAP_NS                 50000

static struct worker *workers[MAX_WORKERS];
static uint16_t n_workers;

uint16_t workers_n(void)
{
	return n_workers;
}

struct worker *worker_at(uint16_t index)
{
	return index < n_workers ? workers[index] : NULL;
}

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void nap(struct worker *w)
{
	struct timespec ts = {.tv_nsec = NAP_NS};

	rte_rcu_qsbr_thread_offline(snap_rcu(), w->index);
	nanosleep(&ts, NULL);
	rte_rcu_qsbr_thread_online(snap_rcu(), w->index);
}

static void poll_until_stopped(struct worker *w)
{
	uint64_t hz = rte_get_tsc_hz(), next_second = rte_rdtsc() + hz, last = rte_rdtsc();
	uint32_t idle_rounds = 0;

	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		w->snap = snap_now();
		w->now_tsc = last;
		uint32_t moved = worker_round(w);
		uint64_t now = rte_rdtsc();

		*(moved > 0 ? &w->n.busy_cycles : &w->n.idle_cycles) += now - last;
		last = now;
		w->n.packets += moved;
		w->n.rounds++;
		if (now >= next_second) {
			w->now_s++;
			next_second += hz;
		}
		rte_rcu_qsbr_quiescent(snap_rcu(), w->index);
		idle_rounds = moved > 0 ? 0 : idle_rounds + 1;
		if (idle_rounds >= IDLE_ROUNDS_BEFORE_NAP)
			nap(w);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "evs-worker%u", w->index);
	pthread_setname_np(pthread_self(), name);
	pin(w->core);
	if (rte_thread_register() < 0) {
		atomic_store(&w->stop, true);
		return NULL;
	}
	rte_rcu_qsbr_thread_register(snap_rcu(), w->index);
	rte_rcu_qsbr_thread_online(snap_rcu(), w->index);
	atomic_store(&w->running, true);
	poll_until_stopped(w);
	rte_rcu_qsbr_thread_offline(snap_rcu(), w->index);
	rte_rcu_qsbr_thread_unregister(snap_rcu(), w->index);
	rte_thread_unregister();
	return NULL;
}

static struct worker *worker_create(uint16_t index, int core)
{
	struct worker *w = aligned_alloc(64, (sizeof(*w) + 63) & ~(size_t)63);
	struct timespec now;

	if (w == NULL)
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, &now);
	memset(w, 0, sizeof(*w));
	w->index = index;
	w->core = core;
	w->pool = pool_shared();
	w->now_s = now.tv_sec;
	w->hash_seed = rte_rand();
	w->hz = rte_get_tsc_hz();
	w->flows_on = flow_budget() > 0;
	return w;
}

int workers_start(const int *cores, uint16_t n_cores, struct err *e)
{
	struct timespec tick = {.tv_nsec = 100000};

	for (uint16_t i = 0; i < n_cores; i++) {
		struct worker *w = worker_create(i, cores[i]);

		if (w == NULL)
			return err_set(e, -ENOMEM, "worker %u: out of memory", i);
		workers[i] = w;
		int ret = pthread_create(&w->thread, NULL, worker_main, w);

		if (ret != 0)
			return err_set(e, -ret, "worker %u: cannot start a thread: %s", i, err_name(ret));
		n_workers = i + 1;
		while (!atomic_load(&w->running)) {
			if (atomic_load(&w->stop))
				return err_set(e, -ENOSPC, "worker %u: DPDK has no room for one more thread",
					       i);
			nanosleep(&tick, NULL);
		}
	}
	return 0;
}

void workers_stop(void)
{
	for (uint16_t i = 0; i < n_workers; i++)
		atomic_store(&workers[i]->stop, true);
	for (uint16_t i = 0; i < n_workers; i++) {
		pthread_join(workers[i]->thread, NULL);
		free(workers[i]);
		workers[i] = NULL;
	}
	n_workers = 0;
}
