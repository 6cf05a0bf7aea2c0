// Queues and workers that have nothing to do: falling asleep, waking up. See sleep.h. Workers.
#include "sleep.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>

#include <rte_branch_prediction.h>
#include <rte_rcu_qsbr.h>

#include "inject.h"
#include "worker.h"

// While others are busy: a system call in so many microseconds finds the queues that were notified.
#define LOOK_US 50

static uint64_t cookie_of(const struct rxq *q, int fd)
{
	return (uint64_t)fd << 32 | (uint64_t)q->port_index << 16 | q->id;
}

// The worker that had it before may still be in its last round with it.
static bool is_ours(const struct worker *w, const struct rxq *q)
{
	return atomic_load_explicit(&q->owner, memory_order_acquire) == w->index;
}

static bool sleeps_here(const struct worker *w, const struct rxq *q)
{
	return q->asleep_in == w->index + 1;
}

static const struct port_driver *driver_of(const struct worker *w, const struct rxq *q)
{
	return w->snap->ports[q->port_index]->driver;
}

// Lists are in the order of port and queue (snap.c).
static struct rxq *place_find(const struct worker *w, uint32_t place)
{
	const struct snap_rxqs *list = w->snap->rxqs[w->index];
	uint32_t from = 0, to = list->n;

	while (from < to) {
		uint32_t mid = (from + to) / 2;
		struct rxq *q = list->q[mid];
		uint32_t at = (uint32_t)q->port_index << 16 | q->id;

		if (at == place)
			return q;
		if (at < place)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}

static void rouse(struct worker *w, struct rxq *q)
{
	q->asleep_in = 0;
	q->seen_tsc = w->now_tsc;
	driver_of(w, q)->notify(w, q, false);
}

// A queue sleeps on if it does so in our set, and was in the list before this one, too.
static void list_take(struct worker *w)
{
	const struct snap_rxqs *list = w->snap->rxqs[w->index];
	struct rxq **at = &w->hot;
	uint32_t before = w->list_no++;

	w->list_epoch = w->snap->epoch;
	w->n_asleep = w->n_awaited = 0;
	for (uint32_t i = 0; i < list->n; i++) {
		struct rxq *q = list->q[i];

		if (!is_ours(w, q)) {
			w->n_awaited++;
			continue;
		}
		bool is_kept = sleeps_here(w, q) && q->list_no == before;

		q->list_no = w->list_no;
		if (is_kept) {
			w->n_asleep++;
			continue;
		}
		if (q->asleep_in != 0)
			rouse(w, q);
		*at = q;
		at = &q->next_hot;
	}
	*at = NULL;
}

static void cookie_take(struct worker *w, uint64_t cookie)
{
	if (cookie == WORKER_WAKE)
		return;
	struct rxq *q = place_find(w, (uint32_t)cookie);

	if (q == NULL || !is_ours(w, q)) {
		epoll_ctl(w->set, EPOLL_CTL_DEL, cookie >> 32, NULL);
	} else if (sleeps_here(w, q)) {
		rouse(w, q);
		q->next_hot = w->hot;
		w->hot = q;
		w->n_asleep--;
	}
}

static void edges_fetch(struct worker *w, const struct timespec *wait)
{
	struct epoll_event events[WORKER_EDGES];
	int n = epoll_pwait2(w->set, events, WORKER_EDGES, wait, NULL);

	for (w->n_edges = 0; w->n_edges < n; w->n_edges++)
		w->edges[w->n_edges] = events[w->n_edges].data.u64;
}

void sleep_round(struct worker *w)
{
	if (unlikely(w->list_epoch != w->snap->epoch || w->n_awaited > 0))
		list_take(w);
	if (w->n_edges == 0 && w->n_asleep > 0 && w->now_tsc - w->looked_tsc > w->hz / 1000000 * LOOK_US) {
		w->looked_tsc = w->now_tsc;
		edges_fetch(w, &(struct timespec){0});
	}
	while (unlikely(w->n_edges > 0))
		cookie_take(w, w->edges[--w->n_edges]);
}

bool sleep_prepare(struct worker *w, struct rxq *q)
{
	const struct port_driver *d = driver_of(w, q);
	int fd = d->notify != NULL ? d->notify(w, q, true) : -1;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = cookie_of(q, fd)};

	if (fd >= 0 && (epoll_ctl(w->set, EPOLL_CTL_ADD, fd, &ev) == 0 || errno == EEXIST))
		return true;
	if (fd >= 0)
		d->notify(w, q, false);
	q->seen_tsc = w->now_tsc; // it is asked again after the same time
	return false;
}

void sleep_settle(struct worker *w, struct rxq *q)
{
	q->asleep_in = w->index + 1;
	w->n_asleep++;
}

void sleep_cancel(struct worker *w, struct rxq *q)
{
	driver_of(w, q)->notify(w, q, false);
}

void sleep_rest(struct worker *w, uint64_t ns)
{
	struct timespec wait = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	// Pairs with worker_wake(): either it sees us resting, or we see what it wakes us for.
	atomic_store(&w->resting, true);
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load(&w->stop) && snap_now() == w->snap && !inject_waits(w)) {
		rte_rcu_qsbr_thread_offline(snap_rcu(), w->index);
		edges_fetch(w, &wait);
		rte_rcu_qsbr_thread_online(snap_rcu(), w->index);
	}
	atomic_store(&w->resting, false);
}
