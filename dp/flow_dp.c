// Flow tables, the workers' side: a burst of packets, most of which are decided by flows.
//
// Passes over the burst, so that no line of a large table is waited for and no packet overtakes another: keys are built
// and their lines of the index fetched; flows are looked for there and fetched; what these rest on in the FDB is fetched;
// then the packets are handled in order. What the early passes note is a guess, as the packets before may change the
// table: the last one compares.
#include "flow_priv.h"

#include <immintrin.h>
#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "fdb_ref.h"
#include "flow_index.h"
#include "flow_key.h"
#include "worker.h"

// Using

static void counters_fold(struct flow *f)
{
	f->packets_sum += f->packets;
	f->bytes_sum += f->bytes;
	f->packets = f->bytes = 0;
}

static bool deps_hold(const struct snap *s, uint16_t sw, const struct flow *f)
{
	for (uint8_t i = 0; i < f->n_deps; i++) {
		uint16_t port = f->dep_port[i];

		if (port == NO_PORT ? s->switches[sw]->version != f->dep_version[i]
				    : port >= s->n_ports || s->ports[port] == NULL ||
					  s->ports[port]->version != f->dep_version[i])
			return false;
	}
	return true;
}

static __attribute__((noinline)) bool flow_recheck(const struct walk *k, struct flow_table *t, struct flow *f)
{
	t->stats.rechecked++;
	if (!deps_hold(k->snap, k->in->sw, f))
		return false;
	f->epoch = k->snap->epoch;
	return true;
}

// Whether the flow still says what the walk would.
static inline bool flow_holds(const struct worker *w, struct flow_table *t, struct flow *f)
{
	const struct walk *k = &w->walk;
	struct fdb *fdb = k->sw->fdb;

	if (unlikely(f->epoch != (uint32_t)k->snap->epoch) && !flow_recheck(k, t, f))
		return false;
	if (f->src_key != 0 && unlikely(!fdb_ref_seen(fdb, f->src_key, f->src_ref, w->now_s)))
		return false;
	if (f->dst_key != 0 && unlikely(!fdb_ref_holds(fdb, f->dst_key, f->dst_ref)))
		return false;
	return likely(!f->missed) || f->news == fdb_news(fdb);
}

static void walk_and_keep(struct worker *w, struct flow_table *t, struct pkt *p)
{
	worker_walk(w, p);
	flow_compile(w, t, p);
}

static inline bool flow_takes(const struct flow *f, const struct pkt *p)
{
	// Without tags, or with some in a short frame, the first bound will do.
	bool fits = likely(p->len - 14 <= f->max_payload) || pkt_payload(p) <= f->max_payload;

	return likely(!(p->flags & f->escape) && fits);
}

static inline void flow_run(struct worker *w, struct flow_table *t, struct flow *f, struct pkt *pkts,
			    uint16_t n)
{
	t->stats.hits += n;
	f->packets += n;
	for (uint16_t i = 0; i < n; i++) {
		f->bytes += pkts[i].len;
		pkts[i].vid = f->vid;
	}
	if (unlikely(f->bytes >> 31))
		counters_fold(f);
	worker_run_all(w, pkts, n, &f->plan);
}

// The burst

enum way { WAY_NONE, WAY_WALK, WAY_FLOW, WAY_SAME }; // SAME: the key of the packet before

struct burst {
	struct flow_key key[PKT_BURST];
	uint32_t hash[PKT_BURST];
	uint32_t guess[PKT_BURST]; // number of the flow, 0 = none was found by the hash alone
	uint8_t way[PKT_BURST];
};

// Whether packet i has the key of the one before it.
static inline bool is_same(const struct burst *b, const struct flow_key *key, uint16_t i,
			   enum flow_shape shape)
{
	return i > 0 && b->way[i - 1] >= WAY_FLOW && key_same(key, key - 1, shape);
}

static enum way way_of_control(struct worker *w, struct flow_table *t)
{
	if (control_admits(&t->control, w->now_tsc, w->hz))
		return WAY_WALK;
	worker_drop(w, w->walk.in, DROP_CONTROL_RATE, 1);
	return WAY_NONE;
}

static inline enum way way_of(struct worker *w, struct flow_table *t, struct burst *b, const struct pkt *p,
			      uint16_t i, enum flow_shape shape)
{
	if (unlikely(control_is(p)))
		return way_of_control(w, t);
	if (unlikely(!w->flows_on))
		return WAY_WALK;
	key_build(p, shape, &b->key[i]);
	if (is_same(b, &b->key[i], i, shape)) {
		b->hash[i] = b->hash[i - 1];
		b->guess[i] = 0;
		return WAY_SAME;
	}
	b->hash[i] = key_hash(t, &b->key[i]);
	rte_prefetch0(bucket_of(t->index, b->hash[i], 0));
	return WAY_FLOW;
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

static void guess_all(const struct flow_table *t, struct burst *b, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		if (b->way[i] != WAY_FLOW)
			continue;
		const struct flow *f = &t->flows[b->guess[i] = guess(t, b->hash[i])];

		rte_prefetch0(f);
		rte_prefetch0(&f->used_s);
	}
}

static void refs_prefetch(const struct fdb *fdb, const struct flow_table *t, const struct burst *b,
			  uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		if (b->way[i] != WAY_FLOW)
			continue;
		const struct flow *f = &t->flows[b->guess[i]];

		fdb_ref_prefetch(fdb, f->src_ref);
		fdb_ref_prefetch(fdb, f->dst_ref);
	}
}

// The guess if it has come true: the flow is there, with this key.
static inline uint32_t look_up(const struct flow_table *t, const struct burst *b, uint16_t i)
{
	const struct flow *f = &t->flows[b->guess[i]];

	if (likely(key_equal(f, &b->key[i]) && f->used_s != 0))
		return b->guess[i];
	return flow_find(t, b->hash[i], &b->key[i]);
}

static uint32_t look_again(struct flow_table *t, const struct pkt *p, uint32_t number)
{
	struct flow_key key;

	if (p->flags & FLOW_ESCAPE_L3)
		return 0;
	key_build(p, t->flows[number].again, &key);
	return flow_find(t, key_hash(t, &key), &key);
}

// How many packets from i on have the key of that one, which the flow decides by itself, and are taken by it.
static inline uint16_t run_of(const struct burst *b, const struct flow *f, const struct pkt *pkts, uint16_t i,
			      uint16_t n)
{
	uint16_t end = i + 1;

	while (end < n && b->way[end] == WAY_SAME && flow_takes(f, &pkts[end]))
		end++;
	return end - i;
}

// Returns how many packets from i on are handled, at least one.
static inline uint16_t handle(struct worker *w, struct flow_table *t, const struct burst *b, struct pkt *pkts,
			      uint16_t i, uint16_t n)
{
	struct pkt *p = &pkts[i];
	uint32_t number = look_up(t, b, i);
	bool again = number != 0 && unlikely(t->flows[number].again != 0);

	if (again)
		number = look_again(t, p, number);
	if (unlikely(number == 0)) {
		t->stats.misses++;
		walk_and_keep(w, t, p);
		return 1;
	}
	struct flow *f = &t->flows[number];

	if (unlikely(!flow_takes(f, p))) {
		worker_walk(w, p);
		return 1;
	}
	if (unlikely(!flow_holds(w, t, f))) {
		t->stats.rewalked++;
		walk_and_keep(w, t, p);
		return 1;
	}
	if (unlikely(f->used_s != w->now_s))
		f->used_s = w->now_s;
	// What follows and is the same goes the same way, all at once.
	uint16_t n_run = again ? 1 : run_of(b, f, pkts, i, n);

	flow_run(w, t, f, p, n_run);
	return n_run;
}

void flow_burst(struct worker *w, struct rxq *q, struct pkt *pkts, const uint8_t *drops, uint16_t n)
{
	struct flow_table *t = q->flows;
	enum flow_shape shape = shape_of(w->walk.in->reads_in);
	struct burst b;

	flow_index_move(t);
	for (uint16_t i = 0; i < n; i++)
		b.way[i] = drops[i] != DROP_NONE ? WAY_NONE : way_of(w, t, &b, &pkts[i], i, shape);
	guess_all(t, &b, n);
	refs_prefetch(w->walk.sw->fdb, t, &b, n);
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
