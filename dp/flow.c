// Flow tables, the control side: memory, growth, listing. Control thread.
#include "flow_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_byteorder.h>
#include <rte_common.h>

#include "flow_end.h"

#define HUGE_PAGE (2ul << 20)
#define PAGE      4096ul

struct flow_index *flow_index_make(uint32_t size)
{
	uint32_t n = size / (FLOW_WAYS / 2);
	size_t bytes = sizeof(struct flow_bucket) * (n + 1), unit = bytes > HUGE_PAGE / 2 ? HUGE_PAGE : 64;
	struct flow_index *x = aligned_alloc(unit, (bytes + unit - 1) & ~(unit - 1));

	if (x == NULL)
		return NULL;
	if (unit == HUGE_PAGE)
		madvise(x, (bytes + unit - 1) & ~(unit - 1), MADV_HUGEPAGE);
	memset(x, 0, bytes);
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

// Where the parts of a table of `max` flows begin, and the end. Number 0 is nobody's.
struct layout {
	size_t sides, actions, recent, end;
};

static struct layout layout_of(size_t max)
{
	struct layout l;

	l.sides = (max + 1) * sizeof(struct flow);
	l.actions = RTE_ALIGN(l.sides + (max + 1) * sizeof(struct flow_side), PAGE);
	l.recent = l.actions + (max + 2) * sizeof(struct flow_action);
	l.end = l.recent + max * sizeof(uint32_t);
	return l;
}

// False: no such range of addresses.
static bool flows_reserve(struct flow_table *t)
{
	struct layout l = layout_of(t->max);
	char *at = reserve(l.end);

	if (at == NULL)
		return false;
	t->flows = (void *)at;
	t->sides = (void *)(at + l.sides);
	t->actions = (void *)(at + l.actions);
	t->recent = (void *)(at + l.recent);
	return true;
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
	while (!flows_reserve(t) && t->max > FLOW_FIRST)
		t->max /= 4;
	t->index = flow_index_make(FLOW_FIRST);
	if (t->flows != NULL && t->index != NULL)
		return t;
	flow_destroy(t);
	return NULL;
}

static void ends_note(struct flow_table *t)
{
	for (uint32_t i = 1; i <= t->n_used; i++) {
		const struct plan *plan = &t->actions[t->flows[i].action].plan;

		if (t->flows[i].used_s != 0 && plan->tells)
			flow_end_note(t, i, plan->tell);
	}
}

void flow_destroy(struct flow_table *t)
{
	if (t == NULL)
		return;
	if (t->flows != NULL) {
		ends_note(t);
		munmap(t->flows, layout_of(t->max).end);
	}
	free(t->index);
	free(t->old);
	free(t->given);
	free(t->left);
	free(t);
}

void flow_source_set(struct flow_table *t, uint32_t port_id)
{
	t->source = port_id;
}

uint32_t flow_size(const struct flow_table *t)
{
	return atomic_load(&t->size);
}

uint32_t flow_count(const struct flow_table *t)
{
	return atomic_load(&t->n);
}

uint32_t flow_actions(const struct flow_table *t)
{
	return atomic_load(&t->n_actions);
}

bool flow_grow_due(const struct flow_table *t)
{
	uint32_t size = atomic_load(&t->size);

	return size < t->max && atomic_load(&t->n) >= size / 4 * 3 && atomic_load(&t->given) == NULL &&
	       atomic_load(&t->left) == NULL;
}

void flow_grow(struct flow_table *t, uint32_t size, struct flow_index *x)
{
	if (!flow_grow_due(t) || size != atomic_load(&t->size) * 4) {
		free(x);
		return;
	}
	// The whole of it: a huge page that lies in this size and the next would stay small for ever.
	if (layout_of(size).end >= HUGE_PAGE)
		madvise(t->flows, layout_of(t->max).end, MADV_HUGEPAGE);
	atomic_store(&t->size, size);
	atomic_store(&t->given, x);
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

void flow_key_view(const struct flow *flow, uint64_t tail, struct flow_view *v)
{
	const uint8_t *k = (const uint8_t *)flow->key, *f = (const uint8_t *)&flow->key[2];
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
	memcpy(ip, &flow->key[3], 24);
	memcpy(ip + 24, &tail, 8);
	memcpy(v->ip_src, ip, n);
	memcpy(v->ip_dst, ip + n, n);
}

// False when the flow was changed meanwhile, or there is none.
static bool flow_read(const struct flow_table *t, uint32_t number, struct flow_view *v)
{
	const struct flow_side *beside = &t->sides[number];
	uint32_t gen = atomic_load_explicit(&beside->gen, memory_order_acquire);
	struct flow f = t->flows[number];

	// A new one has no action for a moment.
	if (gen & 1 || f.used_s == 0 || f.action == 0)
		return false;
	struct flow_side s = *beside;
	struct flow_action a = t->actions[f.action];

	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&beside->gen, memory_order_relaxed) != gen)
		return false;
	memset(v, 0, sizeof(*v));
	flow_key_view(&f, s.key_tail, v);
	v->again = a.again != 0;
	v->vid = a.vid;
	v->plan = a.plan;
	v->packets = s.packets_sum + f.packets;
	v->bytes = s.bytes_sum + f.bytes;
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
