// Inside a flow table: flow.c and flow_dp.c only.
//
// index: buckets of eight {hash, number} pairs, one cache line, two buckets per hash. Numbers begin with 1.
// lines: the key and what is touched per packet, one cache line a flow. recs: the plan and what it rests on.
//
// A reader on the control thread copies a flow between two equal, even reads of `gen` (a sequence lock).
#pragma once

#include <stdalign.h>
#include <stdatomic.h>

#include "control.h"
#include "flow.h"

#define FLOW_WAYS 8
#define KEY_WORDS 6

struct flow_bucket {
	alignas(32) uint32_t hash[FLOW_WAYS];
	uint32_t number[FLOW_WAYS]; // 0 = free
};
static_assert(sizeof(struct flow_bucket) == 64, "one line");

struct flow_index {
	uint32_t mask; // number of buckets - 1
	struct flow_bucket buckets[];
};

struct flow_key {
	uint64_t w[KEY_WORDS]; // compared
	uint64_t tail;         // the end of an IPv6 address, in the rec
};

struct flow_line {
	alignas(64) uint64_t key[KEY_WORDS];
	uint32_t epoch;          // of the last check
	uint32_t again;          // shape to look up once more, 0 = the flow decides
	uint32_t packets, bytes; // since they were last added to the rec's
};
static_assert(sizeof(struct flow_line) == 64, "one line is touched per packet");

struct flow_rec {
	alignas(64) _Atomic uint32_t gen; // odd = being changed
	uint32_t hash;
	uint32_t used_s;
	uint32_t news; // of the FDB, for plans that rest on an unknown address
	struct fdb_ref src_ref, dst_ref;
	uint64_t src_key, dst_key; // 0 = none
	uint16_t vid;
	uint16_t escape; // packet flags that this flow does not decide
	bool missed;
	uint8_t n_deps;
	uint16_t dep_port[FLOW_MAX_DEPS]; // NO_PORT = the switch
	uint32_t max_payload;
	uint32_t dep_version[FLOW_MAX_DEPS];
	uint64_t key_tail;
	uint64_t packets, bytes;
	struct plan plan;
};

struct flow_table {
	// worker
	struct flow_index *index;
	struct flow_index *old; // being left; NULL = none
	uint32_t old_at;        // its next bucket
	uint32_t n_used;        // numbers ever used
	_Atomic uint32_t n;     // flows held
	uint32_t free;          // list of free numbers, through rec->hash; 0 = none
	uint32_t hand;          // of the sweep
	uint64_t seed;
	struct control_bucket control;
	struct flow_stats stats;
	// const after creation
	struct flow_line *lines; // addresses of max; 1..n_used in use
	struct flow_rec *recs;
	uint32_t max;
	// handed over
	alignas(64) _Atomic uint32_t size;  // writer: control, before the index
	_Atomic(struct flow_index *) given; // control to worker
	_Atomic(struct flow_index *) left;  // worker to control
};

void flow_enter(struct flow_table *t, struct flow_index *x, uint32_t hash, uint32_t number);
