// Flow tables, the workers' side: a burst of packets, most of which are decided by flows.
//
// Passes over the burst, so that no line of a large table is waited for and no packet overtakes another: keys are built
// and their lines of the index fetched; flows are looked for there and fetched; then their actions; then the packets are
// handled in order. What the early passes note is a guess, as the packets before may change the table: the last one
// compares. The FDB is looked at when its generation has changed, and once a second for the age of the source.
#include "flow_priv.h"

#include <immintrin.h>
#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "fdb_ref.h"
#include "flow_index.h"
#include "flow_key.h"
#include "worker.h"

// Using

static __attribute__((noinline)) void counters_fold(struct flow_table *t, uint32_t number)
{
	struct flow *f = &t->flows[number];
	struct flow_side *s = &t->sides[number];

	flow_change_begin(s);
	s->packets_sum += f->packets;
	s->bytes_sum += f->bytes;
	f->packets = f->bytes = 0;
	flow_change_end(s);
}

static bool deps_hold(const struct snap *s, uint16_t sw, const struct flow_action *a)
{
	for (uint8_t i = 0; i < a->n_deps; i++) {
		uint16_t port = a->dep_port[i];

		if (port == NO_PORT ? s->switches[sw]->version != a->dep_version[i]
				    : port >= s->n_ports || s->ports[port] == NULL ||
					  s->ports[port]->version != a->dep_version[i])
			return false;
	}
	return true;
}

static bool refs_hold(struct fdb *fdb, const struct flow_action *a, uint32_t now_s)
{
	struct fdb_ref src = {a->src_slot, a->src_version}, dst = {a->dst_slot, a->dst_version};

	return (a->src_key == 0 || fdb_ref_seen(fdb, a->src_key, src, now_s)) &&
	       (a->dst_key == 0 || fdb_ref_holds(fdb, a->dst_key, dst));
}

static __attribute__((noinline)) bool look_closer(const struct worker *w, struct flow_table *t,
						  struct flow_action *a)
{
	const struct walk *k = &w->walk;
	uint32_t gen = fdb_gen(k->sw->fdb); // before the entries are looked at

	if (a->epoch != (uint32_t)k->snap->epoch) {
		t->stats.rechecked++;
		if (!deps_hold(k->snap, k->in->sw, a))
			return false;
		a->epoch = k->snap->epoch;
	}
	if (!refs_hold(k->sw->fdb, a, w->now_s))
		return false;
	a->fdb_gen = gen;
	a->seen_s = w->now_s;
	return true;
}

// Whether it still says what the walk would.
static inline bool action_holds(const struct worker *w, struct flow_table *t, struct flow_action *a)
{
	const struct walk *k = &w->walk;
	uint32_t changed = (a->epoch ^ (uint32_t)k->snap->epoch) | (a->fdb_gen ^ fdb_gen(k->sw->fdb)) |
			   (a->seen_s ^ w->now_s);

	if (unlikely(changed != 0) && !look_closer(w, t, a))
		return false;
	return likely(!a->missed) || a->news == fdb_news(k->sw->fdb);
}

static void walk_and_keep(struct worker *w, struct flow_table *t, struct pkt *p)
{
	worker_walk(w, p);
	flow_compile(w, t, p);
}

static inline bool action_takes(const struct flow_action *a, const struct pkt *p)
{
	// Without tags, or with some in a short frame, the first bound will do.
	bool fits = likely(p->len - 14 <= a->max_payload) || pkt_payload(p) <= a->max_payload;

	return likely(!(p->flags & a->escape) && fits);
}

// The burst

enum way { WAY_NONE, WAY_WALK, WAY_FLOW, WAY_SAME }; // SAME: the key of the packet before

struct burst {
	struct flow_key key[PKT_BURST];
	uint32_t hash[PKT_BURST];
	uint32_t guess[PKT_BURST]; // number of the flow, 0 = none was found by the hash alone
	uint8_t way[PKT_BURST];
	uint8_t looked[PKT_BURST]; // the packets of WAY_FLOW
	uint16_t n_looked;
};

static enum way way_of_control(struct worker *w, struct flow_table *t)
{
	if (control_admits(&t->control, w->now_tsc, w->hz))
		return WAY_WALK;
	worker_drop(w, w->walk.in, DROP_CONTROL_RATE, 1);
	return WAY_NONE;
}

#define INLINE __attribute__((always_inline)) inline

static INLINE enum way way_of(struct worker *w, struct flow_table *t, struct burst *b, const struct pkt *p,
			      uint16_t i, enum flow_shape shape)
{
	struct flow_key *key = &b->key[i];

	if (unlikely(control_is(p)))
		return way_of_control(w, t);
	if (unlikely(!w->flows_on))
		return WAY_WALK;
	key_build(p, shape, key);
	if (likely(i > 0) && b->way[i - 1] >= WAY_FLOW && key_same(key, key - 1, shape)) {
		b->hash[i] = b->hash[i - 1];
		b->guess[i] = 0;
		return WAY_SAME;
	}
	b->hash[i] = key_hash(t, key);
	rte_prefetch0(bucket_of(t->index, b->hash[i], 0));
	b->looked[b->n_looked++] = i;
	return WAY_FLOW;
}

static INLINE void ways_of(struct worker *w, struct flow_table *t, struct burst *b, const struct pkt *pkts,
			   const uint8_t *drops, uint16_t n, enum flow_shape shape)
{
	b->n_looked = 0;
	for (uint16_t i = 0; i < n; i++)
		b->way[i] = unlikely(drops[i] != DROP_NONE) ? WAY_NONE : way_of(w, t, b, &pkts[i], i, shape);
}

// The first flow of this hash where most flows stand. Nearly always the right one.
static inline uint32_t guess(const struct flow_table *t, uint32_t hash)
{
	const struct flow_bucket *b = bucket_of(t->index, hash, 0);
	uint32_t m = bucket_matches(b, hash);

	if (unlikely(m == 0)) {
		rte_prefetch0(bucket_of(t->index, hash, 1));
		return 0;
	}
	return b->number[__builtin_ctz(m)];
}

static void guess_all(const struct flow_table *t, struct burst *b)
{
	for (uint16_t k = 0; k < b->n_looked; k++) {
		uint16_t i = b->looked[k];

		b->guess[i] = guess(t, b->hash[i]);
		rte_prefetch0(&t->flows[b->guess[i]]);
		if (unlikely(key_is_ipv6(&b->key[i])))
			rte_prefetch0(&t->sides[b->guess[i]]);
	}
}

static void actions_prefetch(const struct flow_table *t, const struct burst *b)
{
	for (uint16_t k = 0; k < b->n_looked; k++)
		rte_prefetch0(&t->actions[t->flows[b->guess[b->looked[k]]].action]);
}

// The guess if it has come true: the flow is there, with this key.
static inline uint32_t look_up(const struct flow_table *t, const struct burst *b, uint16_t i)
{
	uint32_t number = b->guess[i];

	if (likely(key_equal(t, number, &b->key[i]) && t->flows[number].used_s != 0))
		return number;
	return flow_find(t, b->hash[i], &b->key[i]);
}

static uint32_t look_again(struct flow_table *t, const struct pkt *p, enum flow_shape shape)
{
	struct flow_key key;

	if (p->flags & FLOW_ESCAPE_L3)
		return 0;
	key_build(p, shape, &key);
	return flow_find(t, key_hash(t, &key), &key);
}

// Takes packet i and those behind it that have its key and that the flow decides, too. Returns how many. With
// `again` the key of the others says not enough.
static inline uint16_t flow_run(struct worker *w, struct flow_table *t, const struct burst *b,
				uint32_t number, const struct flow_action *a, struct pkt *pkts, uint16_t i,
				uint16_t n, bool again)
{
	struct flow *f = &t->flows[number];
	const uint16_t vid = a->vid;
	uint32_t bytes = 0;
	uint16_t end = i;

	do {
		bytes += pkts[end].len;
		pkts[end++].vid = vid;
	} while (!again && end < n && b->way[end] == WAY_SAME && action_takes(a, &pkts[end]));
	t->stats.hits += end - i;
	f->packets += end - i;
	f->bytes += bytes;
	if (unlikely(f->bytes >> 31))
		counters_fold(t, number);
	worker_run_all(w, &pkts[i], end - i, &a->plan);
	return end - i;
}

static inline struct flow_action *action_of(const struct flow_table *t, uint32_t number)
{
	return &t->actions[t->flows[number].action];
}

// Returns how many packets from i on are handled, at least one.
static inline uint16_t handle(struct worker *w, struct flow_table *t, const struct burst *b, struct pkt *pkts,
			      uint16_t i, uint16_t n)
{
	struct pkt *p = &pkts[i];
	uint32_t number = look_up(t, b, i);
	struct flow_action *a = action_of(t, number);
	bool again = unlikely(a->again != 0);

	if (again) {
		number = look_again(t, p, a->again);
		a = action_of(t, number);
	}
	if (unlikely(number == 0)) {
		t->stats.misses++;
		walk_and_keep(w, t, p);
		return 1;
	}
	if (unlikely(!action_takes(a, p))) {
		worker_walk(w, p);
		return 1;
	}
	if (unlikely(!action_holds(w, t, a))) {
		t->stats.rewalked++;
		walk_and_keep(w, t, p);
		return 1;
	}
	if (unlikely(t->flows[number].used_s != w->now_s))
		t->flows[number].used_s = w->now_s;
	return flow_run(w, t, b, number, a, pkts, i, n, again);
}

void flow_burst(struct worker *w, struct rxq *q, struct pkt *pkts, const uint8_t *drops, uint16_t n)
{
	struct flow_table *t = q->flows;
	enum flow_shape shape = shape_of(w->walk.in->reads_in);
	struct burst b;

	flow_index_move(t);
	if (likely(shape == FLOW_L2)) // one of the two knows the shape
		ways_of(w, t, &b, pkts, drops, n, FLOW_L2);
	else
		ways_of(w, t, &b, pkts, drops, n, shape);
	guess_all(t, &b);
	actions_prefetch(t, &b);
	for (uint16_t i = 0; i < n;) {
		if (likely(b.way[i] >= WAY_FLOW)) {
			i += handle(w, t, &b, pkts, i, n);
			continue;
		}
		if (b.way[i] == WAY_WALK)
			worker_walk(w, &pkts[i]);
		i++;
	}
	flow_sweep(t, w->now_s, 1);
}
