// Entries of the FDB as flows remember them, and the generation that spares looking at them: compared for every packet,
// so inline. The one part of fdb_priv.h that is used outside the FDB. Workers.
#pragma once

#include <rte_branch_prediction.h>

#include "fdb_priv.h"

static inline union fdb_slot *fdb_ref_slot(const struct fdb *f, struct fdb_ref ref)
{
	return (union fdb_slot *)f->buckets + ref.slot;
}

// While it stays, entries say what they said. Loaded before they are looked at.
static inline uint32_t fdb_gen(const struct fdb *f)
{
	return atomic_load_explicit(&f->gen, memory_order_acquire);
}

// Whether `ref` is still the entry of `key` that it was.
static inline bool fdb_ref_holds(const struct fdb *f, uint64_t key, struct fdb_ref ref)
{
	struct fdb_cell c = fdb_load(fdb_ref_slot(f, ref));

	return c.key == key && fdb_version_of(c) == ref.version;
}

// The same, and notes that the address was seen, as fdb_learn() does.
static inline bool fdb_ref_seen(struct fdb *f, uint64_t key, struct fdb_ref ref, uint32_t now_s)
{
	union fdb_slot *s = fdb_ref_slot(f, ref);
	struct fdb_cell c = fdb_load(s);

	if (unlikely(c.key != key || fdb_version_of(c) != ref.version))
		return false;
	if (unlikely(fdb_seen_of(c) != (uint16_t)now_s))
		fdb_touch(s, c, now_s);
	return true;
}
