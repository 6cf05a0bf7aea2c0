// The FDB's control side: create, static entries, deleting, ageing, listing. See fdb_priv.h for the table.
//
// Control thread, while workers look up and learn.

#include "fdb_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE    (2u << 20)
#define MIN_BUCKETS  64 // one page
#define STATIC_TRIES 64
#define FULL_TRIES   8

// Aligned to huge pages when that large: a lookup then costs no TLB miss.
static void *table_map(size_t bytes)
{
	size_t extra = bytes >= HUGE_PAGE ? HUGE_PAGE : 0;
	uint8_t *map = mmap(NULL, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	if (!extra)
		return map;
	uint8_t *table = (uint8_t *)(((uintptr_t)map + extra - 1) & ~(uintptr_t)(extra - 1));
	size_t before = (size_t)(table - map);
	if (before)
		munmap(map, before);
	if (extra > before)
		munmap(table + bytes, extra - before);
	madvise(table, bytes, MADV_HUGEPAGE);
	return table;
}

// Spreads the seed over both words (the finalizer of splitmix64).
static uint64_t seed_word(uint64_t seed)
{
	seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9;
	seed = (seed ^ seed >> 27) * 0x94d049bb133111eb;
	return seed ^ seed >> 31;
}

struct fdb *fdb_create(uint32_t max, uint32_t n_ports, uint64_t seed)
{
	assert(max > 0 && max <= FDB_MAX_LIMIT && n_ports > 0 && n_ports < FDB_NO_PORT);
	uint32_t n_buckets = MIN_BUCKETS;
	while (n_buckets < (max + 1) / 2) // at most half of the slots in use
		n_buckets *= 2;

	struct fdb *f = aligned_alloc(alignof(struct fdb), sizeof(*f));
	if (!f)
		return NULL;
	memset(f, 0, sizeof(*f));
	f->mask = n_buckets - 1;
	f->max = max;
	f->n_ports = n_ports;
	f->seed[0] = seed_word(seed + 0x9e3779b97f4a7c15);
	f->seed[1] = seed_word(seed + 2 * 0x9e3779b97f4a7c15) | 1;
	f->map_bytes = n_buckets * sizeof(struct fdb_bucket);
	f->ports = calloc(n_ports, sizeof(*f->ports));
	f->buckets = f->ports ? table_map(f->map_bytes) : NULL;
	if (!f->buckets) {
		fdb_destroy(f);
		return NULL;
	}
	return f;
}

void fdb_destroy(struct fdb *f)
{
	if (!f)
		return;
	if (f->buckets)
		munmap(f->buckets, f->map_bytes);
	free(f->ports);
	free(f);
}

int fdb_add_static(struct fdb *f, uint64_t key, uint16_t port)
{
	if (key == 0)
		return -EINVAL;
	assert(port < f->n_ports);
	for (unsigned i = 0, n_full = 0; i < STATIC_TRIES; i++) {
		struct fdb_cell old, new = {key, fdb_meta(port, fdb_next_version(f), 0, 0, 0, true)};
		union fdb_slot *s = fdb_find(f, key, &old);
		if (s && fdb_is_static(old))
			return fdb_port_of(old) == port ? 0 : -EEXIST;
		if (s ? fdb_replace(f, s, old, new) : fdb_insert(f, new, 0, f->mask + 1)) {
			atomic_fetch_add(&f->news, 1);
			return 0;
		}
		// Workers may have taken the room that was made for it, time and again.
		if (!s && ++n_full == FULL_TRIES)
			return -ENOSPC;
	}
	return -ENOSPC; // a worker changes the entry faster than this thread: cannot be with moves limited
}

int fdb_del(struct fdb *f, uint64_t key)
{
	struct fdb_probe probe = fdb_probe_of(f, key);
	int result = -ENOENT;
	if (key == 0)
		return result;
	for (unsigned i = 0; i < FDB_CHOICES * FDB_WAYS; i++) { // all: a duplicate may be on its way out
		union fdb_slot *s = fdb_slot_at(&probe, i);
		for (struct fdb_cell c; (c = fdb_load(s)).key == key;)
			if (fdb_remove(f, s, c))
				result = 0;
	}
	return result;
}

static union fdb_slot *slot_of(const struct fdb *f, uint32_t i)
{
	return &f->buckets[i / FDB_WAYS].slots[i % FDB_WAYS];
}

static bool flush_matches(struct fdb_cell c, uint16_t port, int fid, bool with_static)
{
	return c.key && (port == FDB_NO_PORT || port == fdb_port_of(c)) &&
	       (fid < 0 || (uint64_t)fid == c.key >> 48) && (with_static || !fdb_is_static(c));
}

uint32_t fdb_flush(struct fdb *f, uint16_t port, int fid, bool with_static)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < (f->mask + 1) * FDB_WAYS; i++) {
		union fdb_slot *s = slot_of(f, i);
		for (struct fdb_cell c; flush_matches(c = fdb_load(s), port, fid, with_static);)
			if (fdb_remove(f, s, c)) {
				n++;
				break;
			}
	}
	return n;
}

void fdb_forget(struct fdb *f, const uint8_t mac[6])
{
	uint64_t address = fdb_key(mac, 0);
	if (fdb_read(&f->n_entries) == fdb_read(&f->n_static))
		return;
	for (uint32_t i = 0; i < (f->mask + 1) * FDB_WAYS; i++) {
		union fdb_slot *s = slot_of(f, i);
		for (struct fdb_cell c; (c = fdb_load(s)).key << 16 == address << 16 && !fdb_is_static(c);)
			if (fdb_remove(f, s, c))
				break;
	}
}

// Workers only raise the hint when they learn; this corrects it after removals.
static void top_find(struct fdb *f)
{
	uint32_t most = 0;
	uint16_t top = 0;
	for (uint32_t i = 0; i < f->n_ports; i++) {
		uint32_t n = fdb_read(&f->ports[i].n_learned);
		if (n > most) {
			most = n;
			top = (uint16_t)i;
		}
	}
	atomic_store_explicit(&f->top, top, memory_order_relaxed);
}

static void slot_age(struct fdb *f, union fdb_slot *s, uint32_t now_s, uint32_t age_s)
{
	struct fdb_cell c = fdb_load(s), forgiven = c;
	if (c.key == 0 || fdb_is_static(c))
		return;
	if (fdb_age_of(c, now_s) >= age_s) {
		if (fdb_remove(f, s, c)) // fails when it was seen just now
			fdb_count(&f->aged, 1);
	} else if (fdb_moves_of(c) && fdb_window_over(c, now_s)) {
		// Needed: the window's 11 bits come round after 34 minutes.
		forgiven.meta &= ~(0xfull << 59);
		fdb_cas(s, c, forgiven);
	}
}

void fdb_age(struct fdb *f, uint32_t n_buckets, uint32_t now_s, uint32_t age_s)
{
	if (age_s > FDB_AGE_MAX_S)
		age_s = FDB_AGE_MAX_S;
	if (n_buckets > f->mask + 1)
		n_buckets = f->mask + 1;
	for (uint32_t i = 0; i < n_buckets; i++) {
		struct fdb_bucket *b = &f->buckets[f->age_hand++ & f->mask];
		for (unsigned way = 0; way < FDB_WAYS; way++)
			slot_age(f, &b->slots[way], now_s, age_s);
	}
	top_find(f);
}

uint32_t fdb_n_buckets(const struct fdb *f)
{
	return f->mask + 1;
}

static struct fdb_entry entry_of(struct fdb_cell c, uint32_t now_s)
{
	struct fdb_entry e = {
	    .fid = (uint16_t)(c.key >> 48), .port = fdb_port_of(c), .version = fdb_version_of(c)};
	memcpy(e.mac, &c.key, sizeof(e.mac));
	e.flags = fdb_is_static(c) ? FDB_STATIC : 0;
	e.age_s = fdb_is_static(c) ? 0 : fdb_age_of(c, now_s);
	return e;
}

uint32_t fdb_list(const struct fdb *f, uint32_t *cursor, struct fdb_entry *out, uint32_t n, uint32_t now_s)
{
	uint32_t filled = 0;
	for (; filled < n && *cursor < (f->mask + 1) * FDB_WAYS; ++*cursor) {
		struct fdb_cell c = fdb_load(slot_of(f, *cursor));
		if (c.key)
			out[filled++] = entry_of(c, now_s);
	}
	return filled;
}

void fdb_stats(const struct fdb *f, struct fdb_stats *out)
{
	*out = (struct fdb_stats){
	    .learned = fdb_read(&f->learned),
	    .moved = fdb_read(&f->moved),
	    .moves_refused = fdb_read(&f->moves_refused),
	    .evicted = fdb_read(&f->evicted),
	    .aged = fdb_read(&f->aged),
	    .full = fdb_read(&f->full),
	    .n_entries = fdb_read(&f->n_entries),
	    .n_static = fdb_read(&f->n_static),
	};
}

uint32_t fdb_port_count(const struct fdb *f, uint16_t port)
{
	if (port >= f->n_ports)
		return 0;
	return fdb_read(&f->ports[port].n_learned) + fdb_read(&f->ports[port].n_static);
}

uint16_t fdb_static_port(const struct fdb *f, const uint8_t mac[6], uint16_t fid)
{
	const uint16_t fids[] = {fid, FDB_ANY_FID};
	struct fdb_cell c;

	for (unsigned i = 0; i < 2; i++)
		if (fdb_find(f, fdb_key(mac, fids[i]), &c) && fdb_is_static(c))
			return fdb_port_of(c);
	return FDB_NO_PORT;
}
