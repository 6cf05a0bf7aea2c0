// Receive queues: which worker polls which, and how one is handed over while packets flow.
//
// A queue has a place (`worker`: in whose list the next snapshot puts it) and an owner (`owner`: who may poll it). A
// move is one ordinary change: it changes the place, the snapshot is published, and when every worker has passed, the
// owner follows:
//
//   place = B ▸ publish: out of A's list, in B's, which skips it ▸ grace: A is in no round that knew it ▸ owner = B
//
// So there is never a moment with two owners, and the pause is one grace period. What belongs to the queue goes with it:
// the driver's ring position, the flow table with its counters; all that A wrote there happened before the end of grace,
// and B reads `owner` with acquire. Flows stay valid: they compare epochs and versions of the snapshot, which are the
// same for every worker, and `used_s` of clocks that differ by a second at most. The port's counters are sums over
// workers. Every worker picks transmit queues with the same hash seed. A queue that sleeps is woken by its new owner
// (sleep.h).
//
// Order per sender holds over a move: each frame that A took was delivered, or stood in a transmit queue's mailbox,
// before A passed. B enters that transmit queue later: either it gets in, and then drains the mailbox before it writes,
// or it does not, and then its frames stand behind A's in the same mailbox.
//
// A place that was set by hand is configuration (kind "queue"): it holds whenever a worker of that number is there. The
// others are spread in turn as their ports are added. Control thread.
#pragma once

#include "port.h"

// The worker for the k-th queue when nobody says otherwise; 0 without workers.
uint16_t queue_place(uint32_t k);

// Steps of changes that add or delete a worker.
void queues_claim(uint16_t worker);     // takes those that were set to it by hand
void queues_leave(uint16_t worker);     // gives all of its queues to workers that stay
void queues_take_back(uint16_t worker); // refused: undoes both
void queues_hand_over(void *);          // after the grace period: owners follow
