// The FDB's packet side: look up, learn, and make room when full. See fdb_priv.h for the table.
//
// Any worker, and the control thread. No lock, no wait, every loop bounded.

#include "fdb_priv.h"

#define LEARN_TRIES  4  // against other threads that change the same entry
#define EVICT_PROBES 16 // buckets, on the packet path

static inline union fdb_slot *bucket_find(struct fdb_bucket *b, uint64_t key, struct fdb_cell *c)
{
	// The four keys at once: a hint that is confirmed by the 16-byte load. Order after unpacking: 0 2 1 3.
	__m256i low = _mm256_load_si256((const __m256i *)&b->slots[0]);
	__m256i high = _mm256_load_si256((const __m256i *)&b->slots[2]);
	__m256i same =
	    _mm256_cmpeq_epi64(_mm256_unpacklo_epi64(low, high), _mm256_set1_epi64x((long long)key));
	unsigned found = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(same));
	static const uint8_t order[FDB_WAYS] = {0, 2, 1, 3};

	while (found) {
		union fdb_slot *s = &b->slots[order[__builtin_ctz(found)]];
		*c = fdb_load(s);
		if (__builtin_expect(c->key == key, 1))
			return s;
		found &= found - 1;
	}
	return NULL;
}

static inline union fdb_slot *find(const struct fdb *f, uint64_t key, struct fdb_cell *c)
{
	uint64_t hash = fdb_hash(f, key);
	for (unsigned i = 0; i < FDB_CHOICES; i++) {
		union fdb_slot *s = bucket_find(fdb_bucket_at(f, hash, i), key, c);
		if (__builtin_expect(s != NULL, 1))
			return s;
	}
	return NULL;
}

union fdb_slot *fdb_find(const struct fdb *f, uint64_t key, struct fdb_cell *c)
{
	return find(f, key, c);
}

uint16_t fdb_lookup(const struct fdb *f, uint64_t key)
{
	struct fdb_cell c;
	return key && find(f, key, &c) ? fdb_port_of(c) : FDB_NO_PORT; // key 0 would match free slots
}

uint16_t fdb_next_version(struct fdb *f)
{
	return (uint16_t)(atomic_fetch_add_explicit(&f->version, 1, memory_order_relaxed) + 1);
}

static void count_raise(struct fdb *f, struct fdb_cell c)
{
	uint16_t port = fdb_port_of(c);
	if (fdb_is_static(c)) {
		fdb_count(&f->ports[port].n_static, 1);
		fdb_count(&f->n_static, 1);
		return;
	}
	fdb_count(&f->ports[port].n_learned, 1);
	uint16_t top = fdb_read(&f->top);
	if (top != port && fdb_read(&f->ports[port].n_learned) > fdb_read(&f->ports[top].n_learned))
		atomic_store_explicit(&f->top, port, memory_order_relaxed);
}

static void count_lower(struct fdb *f, struct fdb_cell c)
{
	if (fdb_is_static(c)) {
		fdb_count(&f->ports[fdb_port_of(c)].n_static, -1u);
		fdb_count(&f->n_static, -1u);
	} else {
		fdb_count(&f->ports[fdb_port_of(c)].n_learned, -1u);
	}
}

static void answer_changed(struct fdb *f)
{
	atomic_fetch_add_explicit(&f->gen, 1, memory_order_release);
}

bool fdb_replace(struct fdb *f, union fdb_slot *s, struct fdb_cell old, struct fdb_cell new)
{
	count_raise(f, new);
	bool done = fdb_cas(s, old, new);
	if (done)
		answer_changed(f);
	count_lower(f, done ? old : new);
	return done;
}

bool fdb_remove(struct fdb *f, union fdb_slot *s, struct fdb_cell old)
{
	if (!fdb_cas(s, old, (struct fdb_cell){0}))
		return false;
	answer_changed(f);
	count_lower(f, old);
	fdb_count(&f->n_entries, -1u);
	return true;
}

// Removes all but one entry of a key: the static one, or the first. See fdb_priv.h, "Duplicates".
static void settle(struct fdb *f, uint64_t key, const struct fdb_probe *probe)
{
	union fdb_slot *kept = NULL;
	struct fdb_cell kept_cell = {0};

	for (unsigned i = 0; i < FDB_CHOICES * FDB_WAYS; i++) {
		union fdb_slot *s = fdb_slot_at(probe, i);
		struct fdb_cell c = fdb_load(s);
		if (c.key != key)
			continue;
		if (kept && !fdb_is_static(c)) {
			// Fails when another thread changed it meanwhile: look at that slot again.
			if (!fdb_remove(f, s, c))
				i--;
			continue;
		}
		if (kept && !fdb_remove(f, kept, kept_cell)) {
			i--;
			kept_cell = fdb_load(kept);
			if (kept_cell.key != key)
				kept = NULL;
			continue;
		}
		kept = s;
		kept_cell = c;
	}
}

struct victim {
	union fdb_slot *slot;
	struct fdb_cell cell;
	uint32_t n; // entries of its port
};

// Keeps the better victim: the one whose port has more. Never of a port that has no more than `share`,
// except the newcomer's own: a flood can only evict its own entries and those of bigger floods.
static void victim_consider(const struct fdb *f, struct victim *best, union fdb_slot *s, uint16_t own,
			    uint32_t share)
{
	struct fdb_cell c = fdb_load(s);
	if (c.key == 0 || fdb_is_static(c))
		return;
	uint16_t port = fdb_port_of(c);
	uint32_t n = fdb_read(&f->ports[port].n_learned);
	if (n > best->n && (n > share || port == own))
		*best = (struct victim){s, c, n};
}

static bool victim_remove(struct fdb *f, const struct victim *v)
{
	if (!v->slot || !fdb_remove(f, v->slot, v->cell))
		return false;
	fdb_count(&f->evicted, 1);
	return true;
}

// Evicts one entry found from a rotating place on: of the port that has most, or the best that was seen.
static bool evict_anywhere(struct fdb *f, uint16_t own, uint32_t share, uint32_t n_probes)
{
	struct victim best = {0};
	uint16_t top = fdb_read(&f->top);

	for (uint32_t i = 0; i < n_probes; i++) {
		uint32_t at = atomic_fetch_add_explicit(&f->evict_hand, 1, memory_order_relaxed);
		struct fdb_bucket *b = &f->buckets[at & f->mask];
		for (unsigned way = 0; way < FDB_WAYS; way++)
			victim_consider(f, &best, &b->slots[way], own, share);
		if (!best.slot || fdb_port_of(best.cell) != top)
			continue;
		if (victim_remove(f, &best))
			return true;
		best = (struct victim){0}; // another thread changed it
	}
	return victim_remove(f, &best);
}

// Evicts one entry of the key's own buckets, which are all full.
static bool evict_here(struct fdb *f, const struct fdb_probe *probe, uint16_t own, uint32_t share)
{
	struct victim best = {0};
	for (unsigned i = 0; i < FDB_CHOICES * FDB_WAYS; i++)
		victim_consider(f, &best, fdb_slot_at(probe, i), own, share);
	return victim_remove(f, &best);
}

static union fdb_slot *bucket_free(struct fdb_bucket *b, unsigned *n_free)
{
	union fdb_slot *s = NULL;
	*n_free = 0;
	for (unsigned i = FDB_WAYS; i-- > 0;)
		if (fdb_load(&b->slots[i]).key == 0) {
			s = &b->slots[i];
			++*n_free;
		}
	return s;
}

// A free slot in the first bucket as long as that keeps one free, else in the emptiest of the four.
static union fdb_slot *slot_choose(const struct fdb_probe *probe)
{
	union fdb_slot *best = NULL;
	unsigned most = 0;
	for (unsigned i = 0; i < FDB_CHOICES; i++) {
		unsigned n;
		union fdb_slot *s = bucket_free(probe->bucket[i], &n);
		if (n > most) {
			best = s;
			most = n;
		}
		if (i == 0 && n > 1)
			break;
	}
	return best;
}

bool fdb_insert(struct fdb *f, struct fdb_cell c, uint32_t share, uint32_t n_probes)
{
	struct fdb_probe probe = fdb_probe_of(f, c.key);
	uint16_t own = fdb_port_of(c);

	// A place is taken first: the table never holds more than `max`, whatever the other threads do.
	if (atomic_fetch_add_explicit(&f->n_entries, 1, memory_order_relaxed) >= f->max &&
	    !evict_anywhere(f, own, share, n_probes)) {
		fdb_count(&f->n_entries, -1u);
		return false;
	}
	count_raise(f, c);
	for (unsigned i = 0; i < LEARN_TRIES; i++) {
		union fdb_slot *s = slot_choose(&probe);
		if (s && fdb_cas(s, (struct fdb_cell){0}, c)) {
			settle(f, c.key, &probe);
			return true;
		}
		if (!s && !evict_here(f, &probe, own, share))
			break;
	}
	count_lower(f, c);
	fdb_count(&f->n_entries, -1u);
	return false;
}

// Whether it is the address of a port that is in every VLAN: nobody else gets it in one of them.
static bool is_owned(const struct fdb *f, uint64_t key)
{
	struct fdb_cell c;
	return find(f, key | (uint64_t)FDB_ANY_FID << 48, &c) != NULL;
}

static enum fdb_result learn_new(struct fdb *f, uint64_t key, uint16_t port, uint32_t now_s)
{
	uint16_t seen = (uint16_t)now_s;
	struct fdb_cell c = {key, fdb_meta(port, fdb_next_version(f), seen, seen, 0, false)};
	if (fdb_insert(f, c, fdb_read(&f->ports[port].n_learned), EVICT_PROBES)) {
		fdb_count(&f->learned, 1);
		atomic_fetch_add(&f->news, 1);
		return FDB_LEARNED;
	}
	fdb_count(&f->full, 1);
	return FDB_FULL;
}

// The entry's next value if it moves to `port` now; key 0 = it has moved too often.
static struct fdb_cell moved_cell(struct fdb *f, struct fdb_cell c, uint16_t port, uint32_t now_s)
{
	bool fresh = fdb_window_over(c, now_s);
	uint8_t moves = fresh ? 0 : fdb_moves_of(c);
	uint16_t window = fresh || moves == 0 ? (uint16_t)now_s : fdb_window_of(c);

	if (moves >= FDB_MOVES)
		return (struct fdb_cell){0};
	return (struct fdb_cell){
	    c.key, fdb_meta(port, fdb_next_version(f), (uint16_t)now_s, window, moves + 1, false)};
}

// True with `r` set, or false: another thread was faster, look again.
static bool learn_move(struct fdb *f, union fdb_slot *s, struct fdb_cell c, uint16_t port, uint32_t now_s,
		       enum fdb_result *r)
{
	struct fdb_cell next = moved_cell(f, c, port, now_s);
	*r = next.key ? FDB_MOVED : FDB_REFUSED_MOVES;
	if (!next.key)
		fdb_count(&f->moves_refused, 1);
	else if (!fdb_replace(f, s, c, next))
		return false;
	else {
		fdb_count(&f->moved, 1);
		atomic_fetch_add(&f->news, 1);
	}
	return true;
}

void fdb_touch(union fdb_slot *s, struct fdb_cell c, uint32_t now_s)
{
	struct fdb_cell next = c;
	if (fdb_is_static(c) || fdb_age_of(c, now_s) == 0)
		return;
	next.meta = (c.meta & ~(0xffffull << 32)) | (uint64_t)(uint16_t)now_s << 32;
	fdb_cas(s, c, next); // failing means that somebody else did the same, or more
}

enum fdb_result fdb_learn(struct fdb *f, uint64_t key, uint16_t port, uint32_t now_s)
{
	enum fdb_result r = FDB_KNOWN;
	if (__builtin_expect(key == 0, 0))
		return FDB_FULL; // no station has the zero address
	for (unsigned i = 0; i < LEARN_TRIES; i++) {
		struct fdb_cell c;
		union fdb_slot *s = find(f, key, &c);
		if (!s)
			return is_owned(f, key) ? FDB_REFUSED_STATIC : learn_new(f, key, port, now_s);
		if (__builtin_expect(fdb_port_of(c) == port, 1)) {
			fdb_touch(s, c, now_s);
			return FDB_KNOWN;
		}
		if (fdb_is_static(c))
			return FDB_REFUSED_STATIC;
		if (learn_move(f, s, c, port, now_s, &r))
			return r;
	}
	return FDB_KNOWN; // others move it at this moment; the next frame decides
}

uint16_t fdb_lookup_ref(const struct fdb *f, uint64_t key, struct fdb_ref *ref)
{
	struct fdb_cell c;
	union fdb_slot *s = key ? find(f, key, &c) : NULL;

	if (!s)
		return FDB_NO_PORT;
	ref->slot = (uint32_t)(s - &f->buckets[0].slots[0]);
	ref->version = fdb_version_of(c);
	return fdb_port_of(c);
}

uint32_t fdb_news(const struct fdb *f)
{
	return atomic_load(&f->news);
}
