// Extensions: shared objects that are loaded for a switch and take part in the walk of its packets.
//
// `struct ext` is one instance. The control thread owns it; its functions marked [control] in the public header are called
// on the jobs thread, one at a time; workers read what is const after loading, by steps of snapshots. It is taken out of
// the snapshots first, and destroyed and unloaded when no worker is inside any more.
//
// An extension that fails is marked by whoever sees it (ext_fault_mark) and from then on not called; the control thread hears
// of it within 20 ms, says so, and leaves it out: the switch goes on without it, or, with `fail closed`, drops what it
// should have seen.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <evswitch/extension.h>
#include <jansson.h>

#include "ctrl/api/err.h"
#include "dp/drop_detail.h"
#include "dp/port.h"
#include "dp/walk.h"
#include "trust.h"

#define MAX_EXTS        64 // bits of plan.tell
#define EXT_MAX_REASONS 32
#define EXT_THREADS     EVS_MAX_WORKERS // workers, and the control thread for traces
#define EXT_CONTROL     MAX_WORKERS     // the latter's number

static_assert(EVS_MAX_WORKERS == MAX_WORKERS + 1, "workers, and one for traces");

enum ext_state {
	EXT_LOADING,
	EXT_UP,
	EXT_FAILED,  // could not be loaded: `why`
	EXT_FAULTED, // was taken out: `why`
};

enum ext_fault {
	EXT_FAULT_NONE,
	EXT_FAULT_OVERRUN, // wrote past the bytes that it was given
	EXT_FAULT_BUDGET,  // took more time than it may
};

struct ext_counters {      // writer: the worker; control: r
	uint64_t flows;    // flow calls
	uint64_t packets;  // in packet calls
	uint64_t drops;    // and exclusions, that it decided; counted as details are
	uint64_t cycles;   // TSC, inside
	uint64_t breaches; // answers that it may not give
	uint64_t sample;   // packets until the next that it is given
};

struct ext_thread {
	alignas(64) struct ext_counters n;
	void *local; // worker_bytes, NULL = none
};

struct ext_conf {
	char name[PORT_NAME_SIZE];
	char switch_name[PORT_NAME_SIZE];
	char path[PATH_MAX];
	char *config; // JSON text, NULL = none
	bool enabled;
	bool fail_closed;
	int64_t rank;    // lower = earlier on the way in, within its kind
	uint64_t budget; // cycles per packet, 0 = no bound
	uint64_t faults; // how often it was taken out
};

struct ext {
	struct ext_conf conf;
	uint16_t index; // in the table of all, and on the page that names who runs (blame.h)
	uint16_t switch_index;
	enum ext_state state;
	char why[256];
	bool leaving;
	bool bundled; // comes with the daemon: bundled.h

	// const after loading
	struct evs_extension is; // the description as this daemon knows it: what lies behind its size is 0
	void *library;
	int file;                      // its descriptor
	char signer[TRUST_SIGNER_LEN]; // who has signed it, "" = nobody
	void *self;
	uint16_t details[EXT_MAX_REASONS]; // drop_detail.h
	uint8_t n_reasons;

	_Atomic bool loaded;                // writer: jobs
	_Atomic uint32_t fault;             // enum ext_fault; writer: any
	_Atomic bool revoke;                // writer: any; control takes it
	_Atomic bool watches_drops;         // any
	_Atomic uint32_t sample_rate;       // one packet in about so many is given to packet calls; any
	struct ext_thread *threads;         // EXT_THREADS
	void *told;                         // jobs: the ports that it knows; ports.c
	uint64_t cycles_seen, packets_seen; // at the last look at its budget
};

// What an instance is to the extension.
struct evs_instance {
	struct ext e;
};

// control thread

struct ext *ext_find(const char *name); // NULL
struct ext *ext_at(uint16_t index);     // NULL
bool ext_is_shown(const struct ext *x); // takes part in walks, with the next snapshot
void ext_counters_sum(const struct ext *x, struct ext_counters *out);
const char *ext_state_name(const struct ext *x);
const char *ext_kind_name(uint32_t kind);
// The order on the way in: by kind, rank, and the younger first. < 0: a before b.
int ext_compare(const struct ext *a, const struct ext *b);
// Every port of its switch is built anew: its answers are asked for again.
void ext_switch_dirty(uint16_t sw);

// One that is not configured: loaded by a job, from a conf. NULL with a sentence.
struct ext *ext_start(const char *name, const json_t *conf, struct err *e);
void ext_end(void *x); // workers know it no more

// any thread
void ext_fault_mark(struct ext *x, enum ext_fault f);

// workers, and the control thread for traces: steps and ops
enum drop ext_flow_in(struct walk *k, struct pkt *p, const void *x);
enum drop ext_passes_in(struct walk *k, struct pkt *p, const void *x); // the place of one that has no calls
enum drop ext_flow_out(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
		       const void *x);
enum drop ext_gone_in(struct walk *k, struct pkt *p, const void *x);
enum drop ext_gone_out(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
		       const void *x);
void ext_packets_in(struct worker *w, struct pkt *pkts, uint8_t *drops, uint16_t n,
		    const struct snap_port *dst, void *x);
void ext_packets_out(struct worker *w, struct pkt *pkts, uint8_t *drops, uint16_t n,
		     const struct snap_port *dst, void *x);
void ext_dropped(struct worker *w, const struct pkt *p, const struct drop_note *note, void *x);
uint32_t ext_packet_read(const struct evs_packet *v, uint32_t offset, void *to, uint32_t n);
