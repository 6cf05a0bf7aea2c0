// Inside a flow table: flow*.c only.
//
// index: buckets of eight {hash, number} pairs, one cache line, two buckets per hash. Numbers begin with 1.
// flows: key, number of the action and counters in one line, which is all that a hit touches of a flow. What is needed
// rarely stands beside it (flow_side); a key with IPv6 addresses ends there.
// actions: what flows decide and what that rests on, once for all flows that have it in common. Whether it still holds is
// found out once per action. An action does not change but for its stamps: a flow that decides anew gets another one.
// `recent` finds the action that is like the one just made, by hash and without a promise: a second one alike costs
// memory and nothing else.
//
// A reader on the control thread copies a flow and its action between two equal, even reads of `gen` (a sequence lock).
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>

#include "control.h"
#include "flow.h"

#define FLOW_WAYS 8
#define KEY_WORDS 6

// What no flow decides from the L3 shape on.
#define FLOW_ESCAPE_L3 (PKT_FRAG | PKT_IP_OPTIONS | PKT_BEYOND_HEAD | PKT_L4_UNKNOWN)

struct flow_bucket {
	alignas(64) uint32_t hash[FLOW_WAYS];
	uint32_t number[FLOW_WAYS]; // 0 = free
};
static_assert(sizeof(struct flow_bucket) == 64, "one line");

struct flow_index {
	uint32_t mask; // number of buckets - 1
	struct flow_bucket buckets[];
};
static_assert(offsetof(struct flow_index, buckets) % 64 == 0, "a bucket is one line, not parts of two");

struct flow_key {
	uint64_t w[KEY_WORDS]; // compared
	uint64_t tail;         // the end of an IPv6 address
};

struct flow {
	alignas(64) uint64_t key[KEY_WORDS];
	uint32_t action;
	uint32_t used_s;         // 0 = not in use
	uint32_t packets, bytes; // since they were last added to the sums
};
static_assert(sizeof(struct flow) == 64, "one line");

struct flow_side {
	uint64_t key_tail;
	uint64_t packets_sum, bytes_sum;
	uint32_t hash;
	_Atomic uint32_t gen; // odd = being changed
	uint8_t tcp_flags;    // of all packets of a flow with plan.tells
};

struct flow_action {
	alignas(64) uint32_t epoch; // of the last check; of a free one: the next free one
	uint32_t fdb_gen;           // with which the references were last found valid
	uint32_t seen_s;            // when the source's entry was last told so
	uint32_t n_flows;           // 0 = free
	// What is compared, to the end. Fields without a meaning are 0.
	uint32_t max_payload;
	uint32_t news; // of the FDB, for plans that rest on an unknown address
	uint16_t vid;
	uint8_t escape; // packet flags that this does not decide
	uint8_t again;  // shape to look up once more, 0 = the plan decides
	uint8_t missed;
	uint8_t n_deps;
	uint16_t src_version, dst_version;
	struct plan plan;
	// behind the first destination
	uint64_t src_key, dst_key; // of the FDB, 0 = none
	uint32_t src_slot, dst_slot;
	uint32_t dep_version[FLOW_MAX_DEPS];
	uint16_t dep_port[FLOW_MAX_DEPS]; // NO_PORT = the switch
};
static_assert(sizeof(struct flow_action) == 256, "four lines, of which a hit needs one");
static_assert(FLOW_ESCAPE_L3 <= UINT8_MAX, "fits escape");
static_assert(offsetof(struct flow_action, plan.dests[1]) <= 64,
	      "a hit with one destination touches one line");

struct flow_table {
	// worker
	struct flow_index *index;
	struct flow_index *old; // being left; NULL = none
	uint32_t old_at;        // its next bucket
	uint32_t n_used;        // numbers ever used
	_Atomic uint32_t n;     // flows held
	uint32_t free;          // list of free numbers, through side->hash; 0 = none
	uint32_t hand;          // of the sweep
	uint32_t n_acted;       // numbers of actions ever used
	uint32_t free_action;   // list, through action->epoch
	_Atomic uint32_t n_actions;
	uint64_t seed;
	struct control_bucket control;
	struct flow_stats stats;
	// const after creation
	struct flow *flows; // addresses of max; 1..n_used in use, 0 never is
	struct flow_side *sides;
	struct flow_action
	    *actions;     // 0 is nobody's, and one more than flows for a flow that goes over to another
	uint32_t *recent; // numbers of actions, or 0
	uint32_t source;  // the port's id
	uint32_t max;
	// handed over
	alignas(64) _Atomic uint32_t size;  // writer: control, before the index
	_Atomic(struct flow_index *) given; // control to worker
	_Atomic(struct flow_index *) left;  // worker to control
};

// A key's bytes as fields.
void flow_key_view(const struct flow *flow, uint64_t tail, struct flow_view *v);

// workers

// The number of the flow with this key, 0 = none.
uint32_t flow_find(const struct flow_table *t, uint32_t hash, const struct flow_key *k);
// The same, or a new one. 0 = no room.
uint32_t flow_place(struct flow_table *t, const struct flow_key *k, uint32_t hash, uint32_t now_s);
// Goes on moving to the larger index that the control thread has made, if there is one: a few buckets per burst.
void flow_index_move(struct flow_table *t);

// Gives a flow this action, within a change; the one it had goes with its last flow. 0 = none.
void action_set(struct flow_table *t, uint32_t number, uint32_t action);
// The number of an action with the contents of `like`, which is of no flow yet if there was none: to be set at once.
uint32_t action_place(struct flow_table *t, const struct flow_action *like);

// The reader on the control thread leaves a flow alone between these two.
static inline void flow_change_begin(struct flow_side *s)
{
	atomic_store_explicit(&s->gen, s->gen + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static inline void flow_change_end(struct flow_side *s)
{
	atomic_store_explicit(&s->gen, s->gen + 1, memory_order_release);
}
