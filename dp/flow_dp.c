// Flow tables, the workers' side: keys, lookup, checking, compiling, giving back.
//
// Two passes over a burst: first every key is built and its line of the index fetched, then the packets are handled
// in order, so that no line is waited for and no packet overtakes another.
#include "flow_priv.h"

#include <string.h>

#include <immintrin.h>
#include <rte_branch_prediction.h>
#include <rte_cycles.h>
#include <rte_prefetch.h>

#include "control.h"
#include "mix.h"
#include "worker.h"

#define ESCAPE_L3    (PKT_FRAG | PKT_IP_OPTIONS | PKT_BEYOND_HEAD | PKT_L4_UNKNOWN)
#define MOVE_BUCKETS 16 // of an index that is being left, per burst

// Keys

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void key_l2(const struct pkt *p, struct flow_key *k)
{
	uint8_t flags = p->flags & (PKT_TAGGED | PKT_INNER_TAG | PKT_STAG);

	k->w[0] = load64(p->data);
	k->w[1] = load32(p->data + 8) | (uint64_t)p->ether_type << 32 | (uint64_t)p->tci << 48;
	k->w[2] = (uint64_t)flags << 8;
	k->w[3] = k->w[4] = k->w[5] = k->tail = 0;
}

// L3: addresses and protocol, L4: ports too, where they are. Packets without them keep the L2 part.
static void key_widen(const struct pkt *p, enum flow_shape shape, struct flow_key *k)
{
	const uint8_t *l3 = p->data + p->l3_off;

	k->w[2] |= (uint64_t)shape | (uint64_t)p->ip_proto << 16 | (uint64_t)p->ip_version << 24;
	if (p->ip_version == 4) {
		k->w[3] = load64(l3 + 12);
	} else if (p->ip_version == 6) {
		k->w[3] = load64(l3 + 8);
		k->w[4] = load64(l3 + 16);
		k->w[5] = load64(l3 + 24);
		k->tail = load64(l3 + 32);
	}
	if (shape == FLOW_L4 && p->l4_off != 0 && !(p->flags & (PKT_FRAG | PKT_L4_UNKNOWN)))
		k->w[2] |= (uint64_t)load32(p->data + p->l4_off) << 32;
}

static void key_build(const struct pkt *p, enum flow_shape shape, struct flow_key *k)
{
	key_l2(p, k);
	if (shape != FLOW_L2)
		key_widen(p, shape, k);
}

static uint32_t key_hash(const struct flow_table *t, const struct flow_key *k)
{
	uint64_t h = mix(k->w[0] ^ t->seed, k->w[1] ^ 0x9e3779b97f4a7c15);

	h = mix(h ^ k->w[2], t->seed ^ k->w[3]);
	if (k->w[4] | k->w[5] | k->tail)
		h = mix(h ^ k->w[4], t->seed ^ mix(k->w[5] ^ t->seed, k->tail ^ 0xbf58476d1ce4e5b9));
	return h ^ h >> 32;
}

static bool key_equal(const uint64_t a[KEY_WORDS], const struct flow_key *k)
{
	__m256i x =
	    _mm256_xor_si256(_mm256_loadu_si256((const void *)a), _mm256_loadu_si256((const void *)k->w));
	__m128i y =
	    _mm_xor_si128(_mm_loadu_si128((const void *)(a + 4)), _mm_loadu_si128((const void *)(k->w + 4)));

	return _mm256_testz_si256(x, x) & _mm_testz_si128(y, y);
}

// Index

static struct flow_bucket *bucket_of(struct flow_index *x, uint32_t hash, int choice)
{
	uint32_t at = choice == 0 ? hash : (hash * 0x9e3779b1u) >> 3 ^ hash >> 16;

	return &x->buckets[at & x->mask];
}

static uint32_t bucket_matches(const struct flow_bucket *b, uint32_t hash)
{
	__m256i same =
	    _mm256_cmpeq_epi32(_mm256_load_si256((const void *)b->hash), _mm256_set1_epi32((int)hash));

	return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(same));
}

static uint32_t index_find(const struct flow_table *t, struct flow_index *x, uint32_t hash,
			   const struct flow_key *k)
{
	for (int choice = 0; choice < 2; choice++) {
		struct flow_bucket *b = bucket_of(x, hash, choice);

		for (uint32_t m = bucket_matches(b, hash); m != 0; m &= m - 1) {
			uint32_t number = b->number[__builtin_ctz(m)];

			if (number != 0 && likely(key_equal(t->lines[number].key, k)) &&
			    t->recs[number].key_tail == k->tail)
				return number;
		}
	}
	return 0;
}

static uint32_t find(const struct flow_table *t, uint32_t hash, const struct flow_key *k)
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

// Flows

static void counters_fold(struct flow_line *l, struct flow_rec *r)
{
	r->packets += l->packets;
	r->bytes += l->bytes;
	l->packets = l->bytes = 0;
}

// The reader on the control thread leaves a flow alone between these two.
static void change_begin(struct flow_rec *r)
{
	atomic_store_explicit(&r->gen, r->gen + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void change_end(struct flow_rec *r)
{
	atomic_store_explicit(&r->gen, r->gen + 1, memory_order_release);
}

static void flow_remove(struct flow_table *t, uint32_t number)
{
	struct flow_rec *r = &t->recs[number];

	if (!index_remove(t->index, r->hash, number) && t->old != NULL)
		index_remove(t->old, r->hash, number);
	change_begin(r);
	r->used_s = 0;
	r->hash = t->free;
	change_end(r);
	t->free = number;
	atomic_store_explicit(&t->n, t->n - 1, memory_order_relaxed);
}

void flow_enter(struct flow_table *t, struct flow_index *x, uint32_t hash, uint32_t number)
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
		t->free = t->recs[number].hash;
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
		t->hand = t->hand % t->n_used + 1;
		struct flow_rec *r = &t->recs[t->hand];

		// Signed: the worker that had the queue before may be a second ahead.
		if (r->used_s != 0 && (int32_t)(now_s - r->used_s) > FLOW_IDLE_S) {
			flow_remove(t, t->hand);
			t->stats.expired++;
		}
	}
}

// Takes the larger index that the control thread has made, and moves to it a few buckets per burst.
static void index_move(struct flow_table *t)
{
	if (t->old == NULL) {
		struct flow_index *given = atomic_exchange(&t->given, NULL);

		if (given == NULL)
			return;
		t->old = t->index;
		t->old_at = 0;
		t->index = given;
	}
	for (int i = 0; i < MOVE_BUCKETS && t->old_at <= t->old->mask; i++) {
		struct flow_bucket *b = &t->old->buckets[t->old_at++];

		for (int way = 0; way < FLOW_WAYS; way++) {
			uint32_t number = b->number[way];

			b->number[way] = 0;
			if (number != 0)
				flow_enter(t, t->index, b->hash[way], number);
		}
	}
	if (t->old_at > t->old->mask) {
		atomic_store(&t->left, t->old);
		t->old = NULL;
	}
}

// Compiling

static enum flow_shape shape_of(uint8_t reads)
{
	return reads & STEP_READS_L4 ? FLOW_L4 : reads & STEP_READS_L3 ? FLOW_L3 : FLOW_L2;
}

static void dep_add(struct flow_rec *r, uint16_t port, uint32_t version)
{
	r->dep_port[r->n_deps] = port;
	r->dep_version[r->n_deps++] = version;
}

// What the plan rests on. False: this decision cannot be kept.
static bool rests_on(const struct walk *k, struct flow_rec *r, uint8_t *reads)
{
	const struct plan *plan = &k->plan;

	*reads = k->in->reads_in;
	r->n_deps = 0;
	r->max_payload = k->in->max_payload;
	dep_add(r, k->in->index, k->in->version);
	// A flood rests on those that were left out as well.
	if (plan->flood || k->dst_key == 0) {
		dep_add(r, NO_PORT, k->sw->version);
		*reads |= k->sw->reads_out;
	}
	if (plan->flood)
		return true;
	for (uint8_t i = 0; i < plan->n_dests; i++) {
		const struct snap_port *dst = k->snap->ports[plan->dests[i].port];

		if (r->n_deps == FLOW_MAX_DEPS)
			return false;
		dep_add(r, dst->index, dst->version);
		r->max_payload = RTE_MIN(r->max_payload, dst->max_payload);
		*reads |= dst->reads_out;
	}
	return true;
}

static bool source_ref(const struct walk *k, const struct pkt *p, struct flow_rec *r)
{
	r->src_key = k->plan.learn ? k->plan.learn_key : 0;
	return r->src_key == 0 || fdb_lookup_ref(k->sw->fdb, r->src_key, &r->src_ref) == p->src;
}

static void flow_write(struct flow_table *t, uint32_t number, const struct walk *k,
		       const struct flow_key *key, const struct flow_rec *from)
{
	struct flow_line *l = &t->lines[number];
	struct flow_rec *r = &t->recs[number];

	memcpy(l->key, key->w, sizeof(l->key));
	l->epoch = k->snap->epoch;
	r->key_tail = key->tail;
	r->news = k->news;
	r->src_ref = from->src_ref;
	r->src_key = from->src_key;
	r->dst_ref = k->dst_ref;
	r->dst_key = k->dst_key;
	r->missed = k->missed;
	r->vid = from->vid;
	r->escape = from->escape;
	r->max_payload = from->max_payload;
	r->n_deps = from->n_deps;
	memcpy(r->dep_port, from->dep_port, sizeof(r->dep_port));
	memcpy(r->dep_version, from->dep_version, sizeof(r->dep_version));
	r->plan = k->plan;
	r->plan.learn = false; // the reference to the source's entry does that
}

// A number for `key`, entered in the index: the one it has, or a new one. 0 = no room.
static uint32_t flow_place(struct flow_table *t, const struct flow_key *key, uint32_t hash, uint32_t now_s)
{
	uint32_t number = find(t, hash, key);

	if (number != 0)
		return number;
	number = number_take(t);
	if (number == 0) {
		t->stats.no_room++;
		flow_sweep(t, now_s, FLOW_WAYS);
		return 0;
	}
	struct flow_line *l = &t->lines[number];
	struct flow_rec *r = &t->recs[number];

	change_begin(r);
	memcpy(l->key, key->w, sizeof(l->key));
	l->packets = l->bytes = l->again = 0;
	r->packets = r->bytes = 0;
	r->key_tail = key->tail;
	r->hash = hash;
	r->used_s = now_s;
	change_end(r);
	flow_enter(t, t->index, hash, number);
	atomic_store_explicit(&t->n, t->n + 1, memory_order_relaxed);
	t->stats.inserted++;
	return number;
}

static void place_again(struct flow_table *t, const struct walk *k, const struct pkt *p,
			enum flow_shape shape, uint32_t now_s)
{
	struct flow_key key;

	key_build(p, shape_of(k->in->reads_in), &key);
	uint32_t number = flow_place(t, &key, key_hash(t, &key), now_s);

	if (number != 0)
		t->lines[number].again = shape;
}

// Keeps what the walk has decided, if it can be kept.
static void flow_compile(struct worker *w, struct flow_table *t, const struct pkt *p)
{
	struct walk *k = &w->walk;
	struct flow_rec r;
	struct flow_key key;
	uint8_t reads;

	if (k->plan.drop != DROP_NONE || k->per_packet || !rests_on(k, &r, &reads) || !source_ref(k, p, &r))
		return;
	enum flow_shape shape = shape_of(reads);

	r.vid = p->vid;
	r.escape = shape == FLOW_L2 ? 0 : ESCAPE_L3;
	if (p->flags & r.escape)
		return;
	if (shape != shape_of(k->in->reads_in))
		place_again(t, k, p, shape, w->now_s);
	key_build(p, shape, &key);
	uint32_t number = flow_place(t, &key, key_hash(t, &key), w->now_s);

	if (number == 0)
		return;
	change_begin(&t->recs[number]);
	flow_write(t, number, k, &key, &r);
	change_end(&t->recs[number]);
}

// Using

static bool deps_hold(const struct snap *s, uint16_t sw, const struct flow_rec *r)
{
	for (uint8_t i = 0; i < r->n_deps; i++) {
		uint16_t port = r->dep_port[i];

		if (port == NO_PORT ? s->switches[sw]->version != r->dep_version[i]
				    : port >= s->n_ports || s->ports[port] == NULL ||
					  s->ports[port]->version != r->dep_version[i])
			return false;
	}
	return true;
}

// Whether the flow still says what the walk would.
static bool flow_holds(struct worker *w, struct flow_table *t, struct flow_line *l, struct flow_rec *r)
{
	const struct walk *k = &w->walk;
	struct fdb *fdb = k->sw->fdb;

	if (unlikely(l->epoch != (uint32_t)k->snap->epoch)) {
		t->stats.rechecked++;
		if (!deps_hold(k->snap, k->in->sw, r))
			return false;
		l->epoch = k->snap->epoch;
	}
	if (r->src_key != 0 && unlikely(!fdb_ref_seen(fdb, r->src_key, r->src_ref, w->now_s)))
		return false;
	if (r->dst_key != 0 && unlikely(!fdb_ref_holds(fdb, r->dst_key, r->dst_ref)))
		return false;
	return likely(!r->missed) || r->news == fdb_news(fdb);
}

static void walk_and_keep(struct worker *w, struct flow_table *t, struct pkt *p)
{
	worker_walk(w, p);
	flow_compile(w, t, p);
}

static bool flow_takes(const struct flow_rec *r, const struct pkt *p)
{
	return likely(!(p->flags & r->escape) && pkt_payload(p) <= r->max_payload);
}

static void flow_run(struct worker *w, struct flow_table *t, struct pkt *pkts, uint16_t n, uint32_t number)
{
	struct flow_line *l = &t->lines[number];
	struct flow_rec *r = &t->recs[number];

	t->stats.hits += n;
	l->packets += n;
	for (uint16_t i = 0; i < n; i++) {
		l->bytes += pkts[i].len;
		pkts[i].vid = r->vid;
	}
	if (unlikely(l->bytes >> 31))
		counters_fold(l, r);
	worker_run_all(w, pkts, n, &r->plan);
}

// True if the flow decided: the next packet, if it is the same, need not ask again.
static bool flow_use(struct worker *w, struct flow_table *t, struct pkt *p, uint32_t number)
{
	struct flow_line *l = &t->lines[number];
	struct flow_rec *r = &t->recs[number];

	if (unlikely(!flow_takes(r, p))) {
		worker_walk(w, p);
		return false;
	}
	if (unlikely(!flow_holds(w, t, l, r))) {
		t->stats.rewalked++;
		walk_and_keep(w, t, p);
		return false;
	}
	if (unlikely(r->used_s != w->now_s))
		r->used_s = w->now_s;
	flow_run(w, t, p, 1, number);
	return true;
}

static uint32_t find_again(struct flow_table *t, const struct pkt *p, uint32_t number)
{
	struct flow_key key;

	if (p->flags & ESCAPE_L3)
		return 0;
	key_build(p, t->lines[number].again, &key);
	return find(t, key_hash(t, &key), &key);
}

// The burst

enum way { WAY_NONE, WAY_WALK, WAY_FLOW, WAY_SAME }; // SAME: the key of the packet before

struct burst {
	struct flow_key key[PKT_BURST];
	uint32_t hash[PKT_BURST];
	uint8_t way[PKT_BURST];
};

// Whether packet i has the key of the one before it. By words: wider loads would wait for the stores just made.
static bool is_same(const struct burst *b, const struct flow_key *key, uint16_t i)
{
	const struct flow_key *o = key - 1;

	return i > 0 && b->way[i - 1] >= WAY_FLOW && o->w[0] == key->w[0] && o->w[1] == key->w[1] &&
	       o->w[2] == key->w[2] && o->w[3] == key->w[3] && o->w[4] == key->w[4] && o->w[5] == key->w[5] &&
	       o->tail == key->tail;
}

static enum way way_of(struct worker *w, struct flow_table *t, struct burst *b, const struct pkt *p,
		       uint16_t i, enum flow_shape shape)
{
	if (unlikely(control_is(p))) {
		if (control_admits(&t->control, w->now_tsc, w->hz))
			return WAY_WALK;
		worker_drop(w, w->walk.in, DROP_CONTROL_RATE, 1);
		return WAY_NONE;
	}
	if (!w->flows_on)
		return WAY_WALK;
	key_build(p, shape, &b->key[i]);
	if (is_same(b, &b->key[i], i)) {
		b->hash[i] = b->hash[i - 1];
		return WAY_SAME;
	}
	b->hash[i] = key_hash(t, &b->key[i]);
	rte_prefetch0(bucket_of(t->index, b->hash[i], 0));
	return WAY_FLOW;
}

// Returns the flow that decided by this key alone, 0 if none did.
static uint32_t look_up(struct worker *w, struct flow_table *t, const struct burst *b, struct pkt *p,
			uint16_t i)
{
	uint32_t number = find(t, b->hash[i], &b->key[i]);
	bool again = number != 0 && unlikely(t->lines[number].again != 0);

	if (again)
		number = find_again(t, p, number);
	if (unlikely(number == 0)) {
		t->stats.misses++;
		walk_and_keep(w, t, p);
		return 0;
	}
	return flow_use(w, t, p, number) && !again ? number : 0;
}

void flow_burst(struct worker *w, struct rxq *q, struct pkt *pkts, const uint8_t *drops, uint16_t n)
{
	struct flow_table *t = q->flows;
	enum flow_shape shape = shape_of(w->walk.in->reads_in);
	struct burst b;

	index_move(t);
	for (uint16_t i = 0; i < n; i++)
		b.way[i] = drops[i] != DROP_NONE ? WAY_NONE : way_of(w, t, &b, &pkts[i], i, shape);
	for (uint16_t i = 0; i < n; i++) {
		uint32_t number = 0; // of the flow that decided

		if (b.way[i] == WAY_WALK)
			worker_walk(w, &pkts[i]);
		else if (b.way[i] != WAY_NONE)
			number = look_up(w, t, &b, &pkts[i], i);
		// What follows and is the same goes the same way, all at once.
		uint16_t from = i + 1;

		while (number != 0 && i + 1 < n && b.way[i + 1] == WAY_SAME &&
		       flow_takes(&t->recs[number], &pkts[i + 1]))
			i++;
		if (i >= from)
			flow_run(w, t, &pkts[from], i + 1 - from, number);
	}
	flow_sweep(t, w->now_s, 1);
}
