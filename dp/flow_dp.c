// Flow tables, the workers' side: a burst of packets, most of which are decided by flows.
//
// Passes over the burst, so that no line of a large table is waited for and no packet overtakes another: packets with one
// key are put into runs and their lines of the index fetched; flows are looked for there and fetched; then their actions;
// then the runs are handled in order. What the early passes note is a guess, as the packets before may change the table: the last one
// compares. The FDB is looked at when its generation has changed, and once a second for the age of the source.
#include "flow_priv.h"

#include <immintrin.h>
#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "fdb_ref.h"
#include "flow_end.h"
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

static inline bool action_takes(const struct flow_action *a, const struct pkt *p)
{
	// Without tags, or with some in a short frame, the first bound will do.
	bool fits = likely(p->len - 14 <= a->max_payload) || pkt_payload(p) <= a->max_payload;

	return likely(!(p->flags & a->escape) && fits);
}

// The burst

// Packets of the burst that follow each other and have one key. Those that were dropped are in none.
struct run {
	struct flow_key key;
	uint32_t hash;
	uint32_t guess;  // number of the flow, 0 = none was found by the hash alone
	uint8_t from, n; // packets
	bool walks;      // has no key: the walk decides
};

struct burst {
	struct run runs[PKT_BURST];
	uint16_t n;
};

#define INLINE __attribute__((always_inline)) inline

static __attribute__((noinline)) void walks_add(struct worker *w, struct flow_table *t, struct burst *b,
						uint16_t i, bool control)
{
	struct run *r = &b->runs[b->n];

	if (control && !control_admits(&t->control, w->now_tsc, w->hz)) {
		worker_drop(w, w->walk.in, DROP_CONTROL_RATE, 1);
		return;
	}
	r->from = i;
	r->n = 1;
	r->walks = true;
	b->n++;
}

static INLINE struct run *run_add(struct flow_table *t, struct burst *b, const struct flow_key *key,
				  uint16_t i)
{
	struct run *r = &b->runs[b->n++];

	r->key = *key;
	r->hash = key_hash(t, key);
	r->from = i;
	r->n = 1;
	r->walks = false;
	rte_prefetch0(bucket_of(t->index, r->hash, 0));
	return r;
}

static INLINE void runs_find(struct worker *w, struct flow_table *t, struct burst *b, const struct pkt *pkts,
			     const uint8_t *drops, uint16_t n, enum flow_shape shape)
{
	struct run *open = NULL; // ends with the packet before
	const bool flows_on = w->flows_on;

	b->n = 0;
	for (uint16_t i = 0; i < n; i++) {
		const struct pkt *p = &pkts[i];
		struct flow_key key;

		if (unlikely(drops[i] != DROP_NONE)) {
			open = NULL;
			continue;
		}
		bool control = control_is(p);

		if (unlikely(control || !flows_on)) {
			open = NULL;
			walks_add(w, t, b, i, control);
			continue;
		}
		key_build(p, shape, &key);
		if (likely(open != NULL) && key_same(&open->key, &key, shape))
			open->n++;
		else
			open = run_add(t, b, &key, i);
	}
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
	for (struct run *r = b->runs; r < b->runs + b->n; r++) {
		if (unlikely(r->walks))
			continue;
		r->guess = guess(t, r->hash);
		rte_prefetch0(&t->flows[r->guess]);
		if (unlikely(key_is_ipv6(&r->key)))
			rte_prefetch0(&t->sides[r->guess]);
	}
}

static void actions_prefetch(const struct flow_table *t, const struct burst *b)
{
	for (const struct run *r = b->runs; r < b->runs + b->n; r++)
		if (likely(!r->walks))
			rte_prefetch0(&t->actions[t->flows[r->guess].action]);
}

// The guess if it has come true: the flow is there, with this key.
static inline uint32_t look_up(const struct flow_table *t, const struct run *r)
{
	if (likely(key_equal(t, r->guess, &r->key) && t->flows[r->guess].used_s != 0))
		return r->guess;
	return flow_find(t, r->hash, &r->key);
}

static uint32_t look_again(struct flow_table *t, const struct pkt *p, enum flow_shape shape)
{
	struct flow_key key;

	if (p->flags & FLOW_ESCAPE_L3)
		return 0;
	key_build(p, shape, &key);
	return flow_find(t, key_hash(t, &key), &key);
}

// All of them are read-only facts of the packet by now.
// Takes the first packet and those of the n that the flow decides, too. Returns how many. With `again` the key of
// the others says not enough.
static inline uint16_t flow_run(struct worker *w, struct flow_table *t, uint32_t number,
				const struct flow_action *a, struct pkt *pkts, uint16_t n, bool again)
{
	struct flow *f = &t->flows[number];
	const uint16_t vid = a->vid;
	uint32_t bytes = 0;
	uint16_t done = 0;

	do {
		bytes += pkts[done].len;
		pkts[done++].vid = vid;
	} while (!again && done < n && action_takes(a, &pkts[done]));
	if (unlikely(a->plan.tells))
		flow_end_flags(&t->sides[number], pkts, done);
	t->stats.hits += done;
	f->packets += done;
	f->bytes += bytes;
	if (unlikely(f->bytes >> 31))
		counters_fold(t, number);
	worker_run(w, pkts, done, bytes, &a->plan);
	return done;
}

static inline struct flow_action *action_of(const struct flow_table *t, uint32_t number)
{
	return &t->actions[t->flows[number].action];
}

// Returns how many of the run's last n packets are handled, at least one.
static inline uint16_t handle(struct worker *w, struct flow_table *t, const struct run *r, struct pkt *p,
			      uint16_t n)
{
	uint32_t number = look_up(t, r);
	struct flow_action *a = action_of(t, number);
	bool again = unlikely(a->again != 0);

	if (again) {
		number = look_again(t, p, a->again);
		a = action_of(t, number);
	}
	if (unlikely(number == 0)) {
		t->stats.misses++;
		worker_walk(w, p, t);
		return 1;
	}
	if (unlikely(!action_takes(a, p))) {
		worker_walk(w, p, NULL);
		return 1;
	}
	if (unlikely(!action_holds(w, t, a))) {
		t->stats.rewalked++;
		worker_walk(w, p, t);
		return 1;
	}
	if (unlikely(t->flows[number].used_s != w->now_s))
		t->flows[number].used_s = w->now_s;
	return flow_run(w, t, number, a, p, n, again);
}

void flow_burst(struct worker *w, struct rxq *q, struct pkt *pkts, const uint8_t *drops, uint16_t n)
{
	struct flow_table *t = q->flows;
	enum flow_shape shape = shape_of(w->walk.in->reads_in);
	struct burst b;

	flow_index_move(t);
	if (likely(shape == FLOW_L2)) // one of the two knows the shape
		runs_find(w, t, &b, pkts, drops, n, FLOW_L2);
	else
		runs_find(w, t, &b, pkts, drops, n, shape);
	guess_all(t, &b);
	actions_prefetch(t, &b);
	for (const struct run *r = b.runs; r < b.runs + b.n; r++) {
		struct pkt *p = &pkts[r->from];

		if (unlikely(r->walks)) {
			worker_walk(w, p, NULL);
			continue;
		}
		for (uint16_t done = 0; done < r->n;)
			done += handle(w, t, r, p + done, r->n - done);
	}
	flow_sweep(t, w->now_s, 1);
}
