// Flow tables, the control side: memory, growth, listing. Control thread.
#include "flow_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_byteorder.h>

#define HUGE_FROM (2u << 20)

// Half full when the table is.
static struct flow_index *index_create(uint32_t size)
{
	uint32_t n = size / (FLOW_WAYS / 2);
	struct flow_index *x = aligned_alloc(64, sizeof(struct flow_bucket) * (n + 1));

	if (x == NULL)
		return NULL;
	memset(x, 0, sizeof(struct flow_bucket) * (n + 1));
	x->mask = n - 1;
	return x;
}

// Addresses only: a page costs memory when its first flow is written.
static void *reserve(size_t bytes)
{
	void *p =
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void memory_give(struct flow_table *t)
{
	if (t->lines != NULL)
		munmap(t->lines, (t->max + 1ul) * sizeof(*t->lines));
	if (t->recs != NULL)
		munmap(t->recs, (t->max + 1ul) * sizeof(*t->recs));
	t->lines = NULL;
	t->recs = NULL;
}

static bool memory_take(struct flow_table *t)
{
	t->lines = reserve((t->max + 1ul) * sizeof(*t->lines));
	t->recs = reserve((t->max + 1ul) * sizeof(*t->recs));
	if (t->lines != NULL && t->recs != NULL)
		return true;
	memory_give(t);
	return false;
}

struct flow_table *flow_create(uint32_t max, uint32_t seed)
{
	struct flow_table *t = aligned_alloc(64, (sizeof(*t) + 63) & ~(size_t)63);

	if (t == NULL)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->size = t->max = FLOW_FIRST;
	while (t->max <= max / 4)
		t->max *= 4;
	t->seed = ((uint64_t)seed + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9 | 1;
	// A kernel that does not overcommit counts what is only reserved: such a host has smaller tables.
	while (!memory_take(t) && t->max > FLOW_FIRST)
		t->max /= 4;
	t->index = index_create(FLOW_FIRST);
	if (t->lines != NULL && t->index != NULL)
		return t;
	flow_destroy(t);
	return NULL;
}

void flow_destroy(struct flow_table *t)
{
	if (t == NULL)
		return;
	memory_give(t);
	free(t->index);
	free(t->old);
	free(t->given);
	free(t->left);
	free(t);
}

uint32_t flow_size(const struct flow_table *t)
{
	return atomic_load(&t->size);
}

uint32_t flow_count(const struct flow_table *t)
{
	return atomic_load(&t->n);
}

bool flow_grow_due(const struct flow_table *t)
{
	uint32_t size = atomic_load(&t->size);

	return size < t->max && atomic_load(&t->n) >= size / 4 * 3 && atomic_load(&t->given) == NULL &&
	       atomic_load(&t->left) == NULL;
}

int flow_grow(struct flow_table *t)
{
	uint32_t size = atomic_load(&t->size) * 4;

	if (size > t->max)
		return -ENOSPC;
	struct flow_index *x = index_create(size);

	if (x == NULL)
		return -ENOMEM;
	if (size * sizeof(*t->lines) >= HUGE_FROM) {
		madvise(t->lines, size * sizeof(*t->lines), MADV_HUGEPAGE);
		madvise(t->recs, size * sizeof(*t->recs), MADV_HUGEPAGE);
	}
	atomic_store(&t->size, size);
	atomic_store(&t->given, x);
	return 0;
}

void flow_tidy(struct flow_table *t)
{
	free(atomic_exchange(&t->left, NULL));
}

void flow_stats(const struct flow_table *t, struct flow_stats *out)
{
	const uint64_t *from = (const uint64_t *)&t->stats;

	for (size_t i = 0; i < sizeof(*out) / sizeof(uint64_t); i++)
		((uint64_t *)out)[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static void key_view(const struct flow_line *l, uint64_t tail, struct flow_view *v)
{
	const uint8_t *k = (const uint8_t *)l->key, *f = (const uint8_t *)&l->key[2];
	size_t n = f[3] == 6 ? 16 : 4;
	uint8_t ip[40];

	memcpy(v->dst, k, 6);
	memcpy(v->src, k + 6, 6);
	memcpy(&v->ether_type, k + 12, 2);
	memcpy(&v->tci, k + 14, 2);
	v->shape = f[0];
	v->tagged = f[1] & PKT_TAGGED;
	v->proto = f[2];
	v->ip_version = f[3];
	memcpy(&v->sport, f + 4, 2);
	memcpy(&v->dport, f + 6, 2);
	v->sport = rte_be_to_cpu_16(v->sport);
	v->dport = rte_be_to_cpu_16(v->dport);
	memcpy(ip, &l->key[3], 24);
	memcpy(ip + 24, &tail, 8);
	memcpy(v->ip_src, ip, n);
	memcpy(v->ip_dst, ip + n, n);
}

// False when the flow was changed meanwhile, or there is none.
static bool flow_read(const struct flow_table *t, uint32_t number, struct flow_view *v)
{
	const struct flow_rec *r = &t->recs[number];
	uint32_t gen = atomic_load_explicit(&r->gen, memory_order_acquire);

	if (gen & 1 || r->used_s == 0)
		return false;
	struct flow_line l = t->lines[number];
	struct flow_rec rec = *r;

	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&r->gen, memory_order_relaxed) != gen)
		return false;
	memset(v, 0, sizeof(*v));
	key_view(&l, rec.key_tail, v);
	v->again = l.again != 0;
	v->vid = rec.vid;
	v->plan = rec.plan;
	v->packets = rec.packets + l.packets;
	v->bytes = rec.bytes + l.bytes;
	return true;
}

bool flow_next(const struct flow_table *t, uint32_t *at, struct flow_view *out)
{
	uint32_t n = __atomic_load_n(&t->n_used, __ATOMIC_ACQUIRE);

	while (*at < n)
		if (flow_read(t, ++*at, out))
			return true;
	return false;
}
