// The forwarding database of one switch: which port a MAC address was seen on.
//
// Cache-line buckets of four 16-byte entries, every read one aligned 16-byte load (atomic on every machine with
// AVX), every change one 128-bit compare-exchange, no lock. An entry never changes its slot (fdb_priv.h).
// A filtering identifier (fid) keeps VLANs apart, or shares them (PVLAN). Workers look up and learn;
// the control thread adds static entries, deletes, ages and lists at the same time.
//
// Limits: `max` entries (65,536 by default); when full, a new address takes the place of an entry of the port
// that has most (of those seen in a bounded search), never of a port that has no more than the newcomer's: nobody's
// flood evicts a neighbour's addresses. A learned address may move to
// another port at most FDB_MOVES times per FDB_MOVE_WINDOW_S; further moves are refused and counted.
// The hash is seeded randomly. No EAL needed.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FDB_MAX_DEFAULT   65536
#define FDB_AGE_DEFAULT_S 300
#define FDB_AGE_MAX_S     43200 // the time in an entry has 16 bits; a whole round of fdb_age() within 30 minutes
#define FDB_MOVES         8
#define FDB_MOVE_WINDOW_S 10
#define FDB_NO_PORT       0xffff
// Static entries of ports that are in every VLAN; looked up second, by the walk. What they name is learned in no fid.
#define FDB_ANY_FID 0xffff

struct fdb;

enum fdb_flags { FDB_STATIC = 1 };

struct fdb_entry {
	uint8_t mac[6];
	uint16_t fid;
	uint16_t port;    // index
	uint16_t version; // changes when the port does
	uint16_t age_s;   // seconds since last seen (0 for static entries)
	uint8_t flags;    // enum fdb_flags
};

enum fdb_result { FDB_KNOWN, FDB_LEARNED, FDB_MOVED, FDB_REFUSED_STATIC, FDB_REFUSED_MOVES, FDB_FULL };

struct fdb_stats { // sums since creation; any thread, relaxed
	uint64_t learned, moved, moves_refused, evicted, aged, full;
	uint32_t n_entries, n_static;
};

// Two loads of the very widths of the address: one wider load behind narrower stores would stall.
static inline uint64_t fdb_key(const uint8_t mac[6], uint16_t fid)
{
	uint32_t low;
	uint16_t high;

	__builtin_memcpy(&low, mac, sizeof(low));
	__builtin_memcpy(&high, mac + sizeof(low), sizeof(high));
	return low | (uint64_t)high << 32 | (uint64_t)fid << 48;
}

// An entry as a flow remembers it: entries never change their slot, and the version changes with the port.
struct fdb_ref {
	uint32_t slot;
	uint16_t version;
};

// control thread

// NULL without memory. `max` <= 4,194,304; `n_ports` bounds port indices (for the per-port counts).
struct fdb *fdb_create(uint32_t max, uint32_t n_ports, uint64_t seed);
void fdb_destroy(struct fdb *f); // after the grace period; accepts NULL

// 0; -EEXIST if a static entry names another port; -ENOSPC when no room can be made; -EINVAL for key 0.
int fdb_add_static(struct fdb *f, uint64_t key, uint16_t port);
int fdb_del(struct fdb *f, uint64_t key); // -ENOENT

// Deletes what matches (FDB_NO_PORT, fid -1 = all), learned entries only unless `with_static`.
uint32_t fdb_flush(struct fdb *f, uint16_t port, int fid, bool with_static);

// Deletes the learned entries of an address in every fid.
void fdb_forget(struct fdb *f, const uint8_t mac[6]);

// Ages a slice of the table: at most `n_buckets` from where the last call ended. Removes learned entries
// not seen for age_s, forgives moves. now_s: seconds of any monotonic clock, as workers give it.
void fdb_age(struct fdb *f, uint32_t n_buckets, uint32_t now_s, uint32_t age_s);
uint32_t fdb_n_buckets(const struct fdb *f);

// Lists: fills `out` with at most n entries, from *cursor (0 = start) on; 0 = end. Entries that stay
// in the table during the whole listing are listed exactly once.
uint32_t fdb_list(const struct fdb *f, uint32_t *cursor, struct fdb_entry *out, uint32_t n, uint32_t now_s);
void fdb_stats(const struct fdb *f, struct fdb_stats *out);
uint32_t fdb_port_count(const struct fdb *f, uint16_t port);
// The port that a static entry gives this address to, in this fid or in any: it is learned nowhere else. FDB_NO_PORT.
uint16_t fdb_static_port(const struct fdb *f, const uint8_t mac[6], uint16_t fid);

// workers and control thread

// Port index, or FDB_NO_PORT.
uint16_t fdb_lookup(const struct fdb *f, uint64_t key);

// Notes that `key` was seen on `port`. Touches the entry's time at most once a second.
enum fdb_result fdb_learn(struct fdb *f, uint64_t key, uint16_t port, uint32_t now_s);

// Port index and reference, or FDB_NO_PORT. What is done with references: fdb_ref.h.
uint16_t fdb_lookup_ref(const struct fdb *f, uint64_t key, struct fdb_ref *ref);

// Changes whenever an address becomes known or moves: while it stays, what was unknown is unknown.
uint32_t fdb_news(const struct fdb *f);
