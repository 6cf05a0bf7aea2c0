// Workers, the control side: starting, stopping, adding and deleting, and the loop that a worker's thread runs.
//
// A worker reports a quiescent state once per round. When all its queues sleep, so does it (sleep.h); when some have
// to be polled and found nothing for a while, it naps, so that an idle switch leaves the CPU to others.
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_lcore.h>
#include <rte_random.h>
#include <rte_rcu_qsbr.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/err.h"
#include "ctrl/api/jobs.h"
#include "cores.h"
#include "flow_budget.h"
#include "inject.h"
#include "pool.h"
#include "port_life.h"
#include "queue.h"
#include "sleep.h"

#define IDLE_ROUNDS_BEFORE_NAP 20000
#define NAP_NS                 50000
#define REST_NS                500000000 // its clock, by which addresses age, goes on
#define SLICE_NS               100000    // the shortest there is
#define SILENT_US              200       // of a queue, before it sleeps

static struct worker *workers[MAX_WORKERS];
static uint32_t hash_seed; // the same for all: a queue that moves keeps its choice of transmit queues

uint16_t workers_n(void)
{
	uint16_t n = MAX_WORKERS;

	while (n > 0 && workers[n - 1] == NULL)
		n--;
	return n;
}

struct worker *worker_at(uint16_t index)
{
	return index < MAX_WORKERS ? workers[index] : NULL;
}

struct worker *worker_first(void)
{
	for (uint16_t i = 0; i < MAX_WORKERS; i++)
		if (workers[i] != NULL)
			return workers[i];
	return NULL;
}

void worker_lend(struct worker *w)
{
	workers[w->index] = w;
}

static void pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

// A thread that is woken waits while another one's slice lasts, unless its own is shorter (Linux 6.12; older kernels
// ignore it). A worker has its core nearly for itself: what it wants is to start at once, not to stay for long.
static void ask_for_short_slices(void)
{
	struct { // sched_setattr(2); glibc has it from 2.41 on
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr;

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0 || attr.policy != SCHED_OTHER)
		return;
	attr.runtime = SLICE_NS;
	syscall(SYS_sched_setattr, 0, &attr, 0);
}

// Waits when there is nothing to do, and then for how long. Returns the time.
static uint64_t rest(struct worker *w, uint32_t idle_rounds, uint64_t now)
{
	bool polls = w->hot != NULL || w->n_awaited > 0;

	if (polls && idle_rounds < IDLE_ROUNDS_BEFORE_NAP)
		return now;
	sleep_rest(w, polls ? NAP_NS : REST_NS);
	uint64_t after = rte_rdtsc();

	w->n.idle_cycles += after - now;
	return after;
}

static void poll_until_stopped(struct worker *w)
{
	uint64_t hz = rte_get_tsc_hz(), next_second = rte_rdtsc() + hz, last = rte_rdtsc();
	uint32_t idle_rounds = 0;

	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		w->snap = snap_now();
		w->now_tsc = last;
		w->doze_before = last - hz / 1000000 * SILENT_US;
		uint32_t moved = worker_round(w);
		uint64_t now = rte_rdtsc();

		*(moved > 0 ? &w->n.busy_cycles : &w->n.idle_cycles) += now - last;
		last = now;
		w->n.packets += moved;
		w->n.rounds++;
		if (now >= next_second) {
			uint64_t n = 1 + (now - next_second) / hz;

			w->now_s += n;
			next_second += n * hz;
		}
		rte_rcu_qsbr_quiescent(snap_rcu(), w->index);
		idle_rounds = moved > 0 ? 0 : idle_rounds + 1;
		if (moved == 0)
			last = rest(w, idle_rounds, now);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "evs-worker%u", w->index);
	pthread_setname_np(pthread_self(), name);
	pin(w->core);
	ask_for_short_slices();
	w->tid = gettid();
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

static void worker_free(struct worker *w)
{
	if (w->set >= 0)
		close(w->set);
	if (w->wake >= 0)
		close(w->wake);
	inject_fini(w);
	free(w);
}

static int sleep_open(struct worker *w)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = WORKER_WAKE};

	w->set = epoll_create1(EPOLL_CLOEXEC);
	w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return epoll_ctl(w->set, EPOLL_CTL_ADD, w->wake, &ev);
}

// Pairs with sleep_rest().
void worker_wake(struct worker *w)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&w->resting))
		eventfd_write(w->wake, 1);
}

void workers_wake(void)
{
	for (uint16_t i = 0; i < MAX_WORKERS; i++)
		if (workers[i] != NULL)
			worker_wake(workers[i]);
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
	w->hash_seed = hash_seed;
	w->hz = rte_get_tsc_hz();
	w->flows_on = flow_budget() > 0;
	if (sleep_open(w) < 0 || inject_init(w) < 0) {
		worker_free(w);
		return NULL;
	}
	return w;
}

// Blocks until the thread polls: at start, or on the jobs thread.
static int thread_start(void *worker, struct err *e)
{
	struct timespec tick = {.tv_nsec = 100000};
	struct worker *w = worker;
	int ret = pthread_create(&w->thread, NULL, worker_main, w);

	if (ret != 0)
		return err_set(e, -ret, "worker %u: cannot start a thread: %s", w->index, err_name(ret));
	while (!atomic_load(&w->running)) {
		if (atomic_load(&w->stop)) {
			pthread_join(w->thread, NULL);
			return err_set(e, -ENOSPC, "worker %u: DPDK has no room for one more thread",
				       w->index);
		}
		nanosleep(&tick, NULL);
	}
	return 0;
}

static void worker_end(void *worker)
{
	struct worker *w = worker;

	atomic_store(&w->stop, true);
	worker_wake(w);
	if (atomic_load(&w->running))
		pthread_join(w->thread, NULL);
	worker_free(w);
}

int workers_start(const int *cores, uint16_t n_cores, struct err *e)
{
	hash_seed = rte_rand();
	cores_init(cores, n_cores);
	for (uint16_t i = 0; i < n_cores; i++) {
		struct worker *w = worker_create(i, cores[i]);

		if (w == NULL)
			return err_set(e, -ENOMEM, "worker %u: out of memory", i);
		if (thread_start(w, e) < 0) {
			worker_free(w);
			return e->code;
		}
		workers[i] = w;
	}
	return 0;
}

void workers_stop(void)
{
	for (uint16_t i = 0; i < MAX_WORKERS; i++) // all hear it before one is waited for
		if (workers[i] != NULL)
			atomic_store(&workers[i]->stop, true);
	for (uint16_t i = 0; i < MAX_WORKERS; i++) {
		if (workers[i] != NULL)
			worker_end(workers[i]);
		workers[i] = NULL;
	}
}

// Adding and deleting at run time

static void add_undo(void *worker)
{
	struct worker *w = worker;

	queues_take_back(w->index);
	worker_end(w);
}

static void add_published(void *worker)
{
	struct worker *w = worker;

	workers[w->index] = w;
	cores_divide();
}

int worker_add(struct request *rq, int core, struct err *e)
{
	uint16_t i = 0;

	if (cores_check(core, e) < 0)
		return e->code;
	while (i < MAX_WORKERS && workers[i] != NULL)
		i++;
	if (i == MAX_WORKERS)
		return err_set(e, -ENOSPC, "worker: there are %u already, which is the limit", MAX_WORKERS);
	struct worker *w = port_counters_for(i) == 0 ? worker_create(i, core) : NULL;

	if (w == NULL)
		return err_set(e, -ENOMEM, "worker %u: out of memory", i);
	struct change *ch = change_new(rq);

	queues_claim(i);
	change_undo(ch, add_undo, w);
	change_job(ch, thread_start, w);
	change_publish(ch, add_published, w);
	change_close(ch, queues_hand_over, NULL);
	change_needs_snapshot(ch);
	return change_submit(ch, e) < 0 ? e->code : i;
}

static void del_undo(void *worker)
{
	struct worker *w = worker;

	w->leaving = false;
	queues_take_back(w->index);
}

// Its index and CPU are free at once: who takes them starts on the jobs thread too, behind this end.
static void del_close(void *worker)
{
	struct worker *w = worker;

	queues_hand_over(NULL);
	workers[w->index] = NULL;
	cores_divide();
	job_run("worker end", worker_end, NULL, w);
}

int worker_del(struct request *rq, uint16_t index, struct err *e)
{
	struct worker *w = worker_at(index);
	uint16_t n_stay = 0;

	if (w == NULL || w->leaving)
		return err_set(e, -ENOENT, "worker %u: no such worker; 'worker show' lists them", index);
	for (uint16_t i = 0; i < MAX_WORKERS; i++)
		n_stay += workers[i] != NULL && workers[i] != w && !workers[i]->leaving;
	if (n_stay == 0)
		return err_set(e, -EBUSY, "worker %u: it is the only one; add another first", index);
	struct change *ch = change_new(rq);

	w->leaving = true;
	queues_leave(index);
	change_undo(ch, del_undo, w);
	change_close(ch, del_close, w);
	change_needs_snapshot(ch);
	return change_submit(ch, e);
}
