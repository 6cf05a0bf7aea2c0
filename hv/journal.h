// The journal of packed rings: where each stands, in a file of the run directory that outlives the switch process.
//
// A split ring says itself how far it was used. Of a packed ring only its two ends know, and a front end whose back end
// is gone repeats what it heard last, which may be long ago. So each ring has a record. Before a worker writes the first
// used descriptor of a burst it stores in one word from where to where the burst goes; that is all. Whether the guest has
// been shown the burst stands in the ring, as the first of its descriptors is written last:
//
//   the first is used       all of the burst is done, the ring stands behind it
//   it is not               the driver has looked at none of them, and those already written cannot be taken back: all
//                           are completed, empty. So no frame is torn, and those that the sender's ring gives again
//                           come once, in their order. When nothing of the burst is in the record yet, it is taken again
//
// A record is about one ring of one port, by name, and only until the front end is told the position (GET_VRING_BASE). It
// is not believed when the front end now says something else than before, when the ring lies elsewhere or has another
// size, or when its driver has made it anew: then the device's event word, which is never 0 while we work on a ring
// (packed_notify), is 0. A wrong belief harms only the guest that lied: what is read from the ring is checked as ever.
#pragma once

#include <stdatomic.h>

#include "virtq.h"

struct err;
struct journal_record;

struct journal {                       // of one ring
	struct journal_record *record; // NULL = none; const while the port is open
	uint16_t told;                 // the position that the front end said last; vhost thread
};

// Control thread, once. Without it, or when it fails, no ring has a record.
int journal_open(const char *dir, struct err *e);

// Jobs thread. The ring's record, or an empty one.
void journal_find(struct journal *j, const char *port, uint16_t ring);
void journal_leave(struct journal *j);

// Vhost thread; no worker is inside the ring.

// Takes the position of a ring that was just set up from its record, and completes what was begun. False: that record is
// not about this ring as it is.
bool journal_resume(const struct journal *j, struct virtq *r);
// From now on the record follows the ring, which `resumed` from it or not.
void journal_follow(const struct journal *j, struct virtq *r, bool resumed);
// The front end knows the position, or the ring is gone.
void journal_end(const struct journal *j);

// Worker: completions from r->done up to r->next are about to be written.
static inline void journal_note(struct virtq *r)
{
	uint32_t from = r->done | r->done_wrap << 15, to = r->next | r->next_wrap << 15;

	if (__builtin_expect(r->position == NULL, 0))
		return;
	__atomic_store_n(r->position, from | to << 16, __ATOMIC_RELAXED);
	atomic_signal_fence(memory_order_seq_cst); // whoever is killed has stored in the order of the program
}
