// Inside the FDB: entries, slots and the one way to change them. fdb.c, fdb_dp.c and fdb_ref.h only.
//
// A key has four buckets (four slots of 16 bytes in one cache line each) and stands in exactly one slot of
// them for as long as it lives: nothing is ever displaced, so readers need no version of a bucket and a listing
// misses nothing. The first bucket takes it while it keeps a slot free, else the emptiest of the four: 65,536 entries
// then fit into twice as many slots, nine of ten in their first bucket.
//
// Reading: one aligned 16-byte load, which machines with AVX do atomically (Intel SDM vol. 3 9.1.1, AMD APM
// vol. 2 7.3.2; the build requires x86-64-v3). Changing: cmpxchg16b against the value read, so that whoever
// succeeds owns that change and its counts.
//
// Duplicates: two threads that learn one new key may fill two slots. Each searches all of the key's slots after it
// has inserted (a locked instruction, so at least one of the two sees both) and removes what loses: a
// learned entry against a static one, else the later in probe order. All threads choose the same loser.
//
// Generation: raised behind every entry that goes or changes its port or kind, not behind one that comes or is seen. Who
// loads it (acquire), then finds an entry as it remembers it, need not look again while the generation stays.
//
// Counts are raised before an entry appears and lowered after it is gone: at no moment too low.
#pragma once

#include <assert.h>
#include <immintrin.h>
#include <stdalign.h>
#include <stdatomic.h>

#include "fdb.h"
#include "mix.h"

#define FDB_WAYS      4                  // slots of a bucket
#define FDB_CHOICES   4                  // buckets of a key
#define FDB_MAX_LIMIT (1u << 22)         // the hash gives 21 bits for each bucket
#define FDB_MIX       0x9e3779b97f4a7c15 // odd, half of its bits set
#define FDB_SKEW_S    16                 // clocks of two threads may differ by less

// What a slot holds. `key` 0: nothing.
struct fdb_cell {
	uint64_t key;
	uint64_t meta; // port:16 version:16 seen:16 window:11 moves:4 static:1
};

union fdb_slot {
	__m128i vector;
	unsigned __int128 whole; // any thread, by compare-exchange
	uint64_t key;
};
static_assert(sizeof(union fdb_slot) == 16, "two entries must not share bytes");

struct fdb_bucket {
	alignas(64) union fdb_slot slots[FDB_WAYS];
};

struct fdb_port { // any thread, atomically
	_Atomic uint32_t n_learned;
	_Atomic uint32_t n_static;
};

struct fdb {
	// const
	struct fdb_bucket *buckets;
	uint32_t mask; // n_buckets - 1
	uint32_t max, n_ports;
	uint64_t seed[2];
	struct fdb_port *ports;
	size_t map_bytes;
	// control thread
	uint32_t age_hand;
	// any thread, atomically: raised behind every change of what an entry says; read for every packet
	alignas(64) _Atomic uint32_t gen;
	// any thread, atomically; touched when something changes only
	alignas(64) _Atomic uint32_t n_entries;
	_Atomic uint32_t n_static;
	_Atomic uint32_t evict_hand;
	_Atomic uint16_t version;
	_Atomic uint32_t news; // raised behind every new or moved entry
	_Atomic uint16_t top;  // hint: the port that has most
	_Atomic uint64_t learned, moved, moves_refused, evicted, aged, full;
};

struct fdb_probe { // where a key may stand
	struct fdb_bucket *bucket[FDB_CHOICES];
};

#define fdb_count(counter, n) ((void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed))
#define fdb_read(counter)     atomic_load_explicit(counter, memory_order_relaxed)

static inline uint64_t fdb_meta(uint16_t port, uint16_t version, uint16_t seen, uint16_t window,
				uint8_t moves, bool is_static)
{
	return port | (uint64_t)version << 16 | (uint64_t)seen << 32 | (uint64_t)(window & 0x7ff) << 48 |
	       (uint64_t)moves << 59 | (uint64_t)is_static << 63;
}

static inline uint16_t fdb_port_of(struct fdb_cell c)
{
	return (uint16_t)c.meta;
}

static inline uint16_t fdb_version_of(struct fdb_cell c)
{
	return (uint16_t)(c.meta >> 16);
}

static inline uint16_t fdb_seen_of(struct fdb_cell c)
{
	return (uint16_t)(c.meta >> 32);
}

static inline uint16_t fdb_window_of(struct fdb_cell c)
{
	return c.meta >> 48 & 0x7ff;
}

static inline uint8_t fdb_moves_of(struct fdb_cell c)
{
	return c.meta >> 59 & 0xf;
}

static inline bool fdb_is_static(struct fdb_cell c)
{
	return c.meta >> 63;
}

// Seconds since the entry was seen. Another thread's clock may be a little ahead: that is 0.
static inline uint16_t fdb_age_of(struct fdb_cell c, uint32_t now_s)
{
	uint16_t age = (uint16_t)(now_s - fdb_seen_of(c));
	return age > UINT16_MAX - FDB_SKEW_S ? 0 : age;
}

// Has the window in which moves are counted ended?
static inline bool fdb_window_over(struct fdb_cell c, uint32_t now_s)
{
	uint16_t age = (now_s - fdb_window_of(c)) & 0x7ff;
	return age >= FDB_MOVE_WINDOW_S && age <= 0x7ff - FDB_SKEW_S;
}

static inline struct fdb_cell fdb_load(const union fdb_slot *s)
{
	__m128i v = *(const volatile __m128i *)&s->vector; // volatile: one load, never split or repeated
	return (struct fdb_cell){(uint64_t)_mm_cvtsi128_si64(v), (uint64_t)_mm_extract_epi64(v, 1)};
}

static inline bool fdb_cas(union fdb_slot *s, struct fdb_cell old, struct fdb_cell new)
{
	// The __sync form is one inline cmpxchg16b; the atomic form would call a library that may lock.
	return __sync_bool_compare_and_swap(&s->whole, (unsigned __int128)old.meta << 64 | old.key,
					    (unsigned __int128)new.meta << 64 | new.key);
}

static inline uint64_t fdb_hash(const struct fdb *f, uint64_t key)
{
	return mix(key ^ f->seed[0], f->seed[1]);
}

// The others differ from the first in the last two bits by 1, 2 and 3: never the same bucket twice. They take
// another round of mixing, as addresses in sequence leave the bits of the first one related.
static inline struct fdb_bucket *fdb_bucket_at(const struct fdb *f, uint64_t hash, unsigned choice)
{
	uint64_t at = hash;
	if (choice > 0)
		at ^= (mix(hash, FDB_MIX) >> 21 * (choice - 1) & ~3ull) | choice;
	return &f->buckets[at & f->mask];
}

static inline struct fdb_probe fdb_probe_of(const struct fdb *f, uint64_t key)
{
	uint64_t hash = fdb_hash(f, key);
	struct fdb_probe p;
	for (unsigned i = 0; i < FDB_CHOICES; i++)
		p.bucket[i] = fdb_bucket_at(f, hash, i);
	return p;
}

static inline union fdb_slot *fdb_slot_at(const struct fdb_probe *p, unsigned i)
{
	return &p->bucket[i / FDB_WAYS]->slots[i % FDB_WAYS];
}

// The slot that holds `key`, with its value in `c`; NULL = none.
union fdb_slot *fdb_find(const struct fdb *f, uint64_t key, struct fdb_cell *c);

// Notes that the entry was seen, unless that was in this second or it is static.
void fdb_touch(union fdb_slot *s, struct fdb_cell c, uint32_t now_s);

// A version that the key's entry did not have before.
uint16_t fdb_next_version(struct fdb *f);

// Changes an entry's port or kind, with the counts. False: it was changed by another thread.
bool fdb_replace(struct fdb *f, union fdb_slot *s, struct fdb_cell old, struct fdb_cell new);
bool fdb_remove(struct fdb *f, union fdb_slot *s, struct fdb_cell old);

// Puts a new entry in. Looks at most at `n_probes` buckets for something to evict, of a port that has more
// than `share` or of the entry's own. False: no room. May lose against an equal key: see "Duplicates".
bool fdb_insert(struct fdb *f, struct fdb_cell c, uint32_t share, uint32_t n_probes);
