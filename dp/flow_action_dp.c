// What flows decide, shared: an action is made when a decision is compiled, unless there is one with the same contents,
// and goes with its last flow.
//
// Behind flow_compile_dp.c and flow_index_dp.c; a hit only reads and stamps it (flow_dp.c). Workers.
#include <string.h>

#include "flow_priv.h"
#include "mix.h"

#define CONTENTS offsetof(struct flow_action, max_payload)
#define BYTES    (sizeof(struct flow_action) - CONTENTS)
static_assert(BYTES % 16 == 0, "hashed in pairs of words");

static uint32_t contents_hash(const struct flow_table *t, const struct flow_action *a)
{
	uint64_t h = t->seed, w[2];

	for (size_t i = 0; i < BYTES; i += sizeof(w)) {
		memcpy(w, (const char *)a + CONTENTS + i, sizeof(w));
		h = mix(h ^ w[0], w[1] ^ 0x9e3779b97f4a7c15);
	}
	return h ^ h >> 32;
}

static uint32_t number_take(struct flow_table *t)
{
	uint32_t number = t->free_action;

	if (number != 0)
		t->free_action = t->actions[number].epoch;
	else
		number = ++t->n_acted;
	atomic_store_explicit(&t->n_actions, t->n_actions + 1, memory_order_relaxed);
	return number;
}

static void number_give(struct flow_table *t, uint32_t number)
{
	t->actions[number].epoch = t->free_action;
	t->free_action = number;
	atomic_store_explicit(&t->n_actions, t->n_actions - 1, memory_order_relaxed);
}

uint32_t action_place(struct flow_table *t, const struct flow_action *like)
{
	uint32_t mask = atomic_load_explicit(&t->size, memory_order_relaxed) - 1;
	uint32_t *recent = &t->recent[contents_hash(t, like) & mask];
	struct flow_action *a = &t->actions[*recent];

	if (a->n_flows > 0 && memcmp((char *)a + CONTENTS, (const char *)like + CONTENTS, BYTES) == 0) {
		a->epoch = like->epoch;
		return *recent;
	}
	*recent = number_take(t);
	t->actions[*recent] = *like;
	return *recent;
}

void action_set(struct flow_table *t, uint32_t number, uint32_t action)
{
	uint32_t old = t->flows[number].action;

	if (action != 0)
		t->actions[action].n_flows++;
	t->flows[number].action = action;
	if (old != 0 && --t->actions[old].n_flows == 0)
		number_give(t, old);
}
