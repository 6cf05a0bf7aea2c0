// Queues and workers that have nothing to do.
//
// A queue that brought nothing for a while goes to sleep: its driver is asked to notify, its descriptor joins the worker's
// epoll set, it is looked at once more, and then it is not polled until the descriptor is ready. While others are busy
// the set is looked at now and then; when every queue sleeps the worker waits for it, off the RCU.
//
// Descriptors are watched by edges, so nobody has to read them, and what an edge carries is numbers that are looked
// up in the snapshot: a queue may be gone by then. A driver closes its descriptor, which takes it out of every set.
// An owner that finds a queue asleep elsewhere (it was moved) wakes it; who gets an edge for a queue that is not
// his own drops it from his set. Worker threads.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "port.h"

struct worker;

// At the beginning of a round: the snapshot's list of queues, and queues that were notified.
void sleep_round(struct worker *w);
// Asks the driver to notify, and watches. False: the queue has to be polled. Then it is to be looked at once more,
// before sleep_settle() says that it is not polled any more (the caller unlinks it), or sleep_cancel() that it is.
bool sleep_prepare(struct worker *w, struct rxq *q);
void sleep_settle(struct worker *w, struct rxq *q);
void sleep_cancel(struct worker *w, struct rxq *q);
// Waits, off the RCU, for a queue, worker_wake() or the time; not at all if there is a new snapshot.
void sleep_rest(struct worker *w, uint64_t ns);
