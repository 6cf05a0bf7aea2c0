// Rings of records of different lengths, each in one piece. A worker writes, a session's thread reads.
#include "lane.h"

#include <stddef.h>
#include <sys/mman.h>

bool lane_open(struct lane *l)
{
	void *m = mmap(NULL, LANE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	l->bytes = m != MAP_FAILED ? m : NULL;
	return l->bytes != NULL;
}

void lane_close(struct lane *l)
{
	if (l->bytes != NULL)
		munmap(l->bytes, LANE_BYTES);
}

static struct record *at(const struct lane *l, uint64_t place)
{
	return (struct record *)(l->bytes + place % LANE_BYTES);
}

struct record *lane_room(struct lane *l, uint32_t bytes)
{
	uint64_t head = atomic_load_explicit(&l->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&l->tail, memory_order_acquire);
	uint32_t needs = (sizeof(struct record) + bytes + 7) & ~7u;
	uint32_t to_end = LANE_BYTES - head % LANE_BYTES;
	// There is always room to say that the rest is skipped: records are multiples of 8.
	uint32_t skipped = to_end < needs ? to_end : 0;

	if (needs > LANE_BYTES / 2 || head - tail + skipped + needs > LANE_BYTES)
		return NULL;
	if (skipped > 0) {
		*(uint32_t *)at(l, head) = 0;
		atomic_store_explicit(&l->head, head + skipped, memory_order_release);
		head += skipped;
	}
	struct record *r = at(l, head);

	r->bytes = needs;
	return r;
}

void lane_push(struct lane *l, const struct record *r)
{
	atomic_store_explicit(&l->head, atomic_load_explicit(&l->head, memory_order_relaxed) + r->bytes,
			      memory_order_release);
}

const struct record *lane_first(struct lane *l)
{
	uint64_t head = atomic_load_explicit(&l->head, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&l->tail, memory_order_relaxed);

	if (tail != head && at(l, tail)->bytes == 0) {
		tail += LANE_BYTES - tail % LANE_BYTES;
		atomic_store_explicit(&l->tail, tail, memory_order_release);
	}
	return tail != head ? at(l, tail) : NULL;
}

void lane_pop(struct lane *l, const struct record *r)
{
	atomic_store_explicit(&l->tail, atomic_load_explicit(&l->tail, memory_order_relaxed) + r->bytes,
			      memory_order_release);
}
