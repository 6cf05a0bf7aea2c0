// Who stands in a flow table: finding a key, giving it a number, giving numbers back, moving to a larger index.
//
// Behind flow_dp.c's burst, which finds most flows by itself: here is what happens when it does not. Workers.
#include "flow_index.h"

#include "flow_end.h"
#include "flow_key.h"

#define MOVE_BUCKETS 16 // of an index that is being left, per burst

static uint32_t index_find(const struct flow_table *t, struct flow_index *x, uint32_t hash,
			   const struct flow_key *k)
{
	for (int choice = 0; choice < 2; choice++) {
		struct flow_bucket *b = bucket_of(x, hash, choice);

		for (uint32_t m = bucket_matches(b, hash); m != 0; m &= m - 1) {
			uint32_t number = b->number[__builtin_ctz(m)];

			if (number != 0 && likely(key_equal(t, number, k)))
				return number;
		}
	}
	return 0;
}

uint32_t flow_find(const struct flow_table *t, uint32_t hash, const struct flow_key *k)
{
	uint32_t number = index_find(t, t->index, hash, k);

	return number != 0 || likely(t->old == NULL) ? number : index_find(t, t->old, hash, k);
}

static int bucket_free_way(const struct flow_bucket *b, int *n_free)
{
	int way = -1;

	*n_free = 0;
	for (int i = 0; i < FLOW_WAYS; i++) {
		if (b->number[i] == 0) {
			way = i;
			++*n_free;
		}
	}
	return way;
}

static bool index_remove(struct flow_index *x, uint32_t hash, uint32_t number)
{
	for (int choice = 0; choice < 2; choice++) {
		struct flow_bucket *b = bucket_of(x, hash, choice);

		for (uint32_t m = bucket_matches(b, hash); m != 0; m &= m - 1) {
			int way = __builtin_ctz(m);

			if (b->number[way] == number) {
				b->number[way] = 0;
				b->hash[way] = 0;
				return true;
			}
		}
	}
	return false;
}

static void flow_remove(struct flow_table *t, uint32_t number)
{
	struct flow_side *s = &t->sides[number];
	const struct plan *plan = &t->actions[t->flows[number].action].plan;

	if (unlikely(plan->tells))
		flow_end_note(t, number, plan->tell);
	if (!index_remove(t->index, s->hash, number) && t->old != NULL)
		index_remove(t->old, s->hash, number);
	flow_change_begin(s);
	t->flows[number].used_s = 0;
	action_set(t, number, 0);
	s->hash = t->free;
	flow_change_end(s);
	t->free = number;
	atomic_store_explicit(&t->n, t->n - 1, memory_order_relaxed);
}

static void index_enter(struct flow_table *t, struct flow_index *x, uint32_t hash, uint32_t number)
{
	struct flow_bucket *b[2] = {bucket_of(x, hash, 0), bucket_of(x, hash, 1)};
	int n[2], way[2] = {bucket_free_way(b[0], &n[0]), bucket_free_way(b[1], &n[1])};
	int at = n[0] < 2 && n[1] > n[0]; // a flow in the second bucket costs one more line per packet

	if (unlikely(way[at] < 0)) {
		// Both are full: somebody goes.
		t->stats.evicted++;
		way[at] = hash >> 29;
		flow_remove(t, b[at]->number[way[at]]);
	}
	b[at]->hash[way[at]] = hash;
	b[at]->number[way[at]] = number;
}

static uint32_t number_take(struct flow_table *t)
{
	uint32_t number = t->free;

	if (number != 0) {
		t->free = t->sides[number].hash;
		return number;
	}
	if (t->n_used >= atomic_load_explicit(&t->size, memory_order_acquire))
		return 0;
	__atomic_store_n(&t->n_used, t->n_used + 1, __ATOMIC_RELEASE);
	return t->n_used;
}

void flow_sweep(struct flow_table *t, uint32_t now_s, uint32_t n)
{
	for (uint32_t i = 0; i < n && t->n_used > 0; i++) {
		t->hand = t->hand < t->n_used ? t->hand + 1 : 1;
		const struct flow *f = &t->flows[t->hand];

		// Signed: the worker that had the queue before may be a second ahead.
		if (f->used_s != 0 && (int32_t)(now_s - f->used_s) > FLOW_IDLE_S) {
			flow_remove(t, t->hand);
			t->stats.expired++;
		}
	}
}

uint32_t flow_place(struct flow_table *t, const struct flow_key *key, uint32_t hash, uint32_t now_s)
{
	uint32_t number = flow_find(t, hash, key);

	if (number != 0)
		return number;
	number = number_take(t);
	if (number == 0) {
		t->stats.no_room++;
		flow_sweep(t, now_s, FLOW_WAYS);
		return 0;
	}
	struct flow *f = &t->flows[number];
	struct flow_side *s = &t->sides[number];

	flow_change_begin(s);
	memcpy(f->key, key->w, sizeof(f->key));
	s->key_tail = key->tail;
	f->packets = f->bytes = 0;
	s->packets_sum = s->bytes_sum = 0;
	s->tcp_flags = 0;
	s->hash = hash;
	f->used_s = now_s;
	flow_change_end(s);
	index_enter(t, t->index, hash, number);
	atomic_store_explicit(&t->n, t->n + 1, memory_order_relaxed);
	t->stats.inserted++;
	return number;
}

static bool index_take(struct flow_table *t)
{
	if (t->old != NULL)
		return true;
	// Most often there is none: the exchange, which locks the line, is for when there is.
	if (likely(atomic_load_explicit(&t->given, memory_order_relaxed) == NULL))
		return false;
	t->old = t->index;
	t->old_at = 0;
	t->index = atomic_exchange(&t->given, NULL);
	return true;
}

void flow_index_move(struct flow_table *t)
{
	if (!index_take(t))
		return;
	for (int i = 0; i < MOVE_BUCKETS && t->old_at <= t->old->mask; i++) {
		struct flow_bucket *b = &t->old->buckets[t->old_at++];

		for (int way = 0; way < FLOW_WAYS; way++) {
			uint32_t number = b->number[way];

			b->number[way] = 0;
			if (number != 0)
				index_enter(t, t->index, b->hash[way], number);
		}
	}
	if (t->old_at > t->old->mask) {
		atomic_store(&t->left, t->old);
		t->old = NULL;
	}
}
