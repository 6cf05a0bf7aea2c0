// Carrying out plans: ops, rewriting, destinations; and delivering per destination.
//
// Two passes as in VALE: every packet of a burst is put into its destinations' batches, then each batch enters its transmit
// queue once. Worker threads.
#include "run.h"

#include <string.h>

#include <rte_common.h>

#include "flow.h"
#include "txq.h"

static void flush_batch(struct worker *w, struct tx_batch *b)
{
	const struct snap_port *dst = w->snap->ports[b->port];
	uint16_t n =
	    RTE_MIN(dst->n_txqs, atomic_load_explicit(&dst->live->n_tx_active, memory_order_relaxed));

	txq_send(w, dst, &dst->txqs[n > 1 ? b->queue % n : 0], b);
	for (uint16_t i = 0; b->shared && i < b->n; i++)
		b->p[i]->n_users--;
}

void run_flush(struct worker *w)
{
	for (uint16_t i = 0; i < w->n_batches; i++) {
		w->batch_of[w->batches[i].port] = 0;
		flush_batch(w, &w->batches[i]);
	}
	w->n_batches = 0;
}

// Flows spread over a multi-queue receiver; each flow stays on one queue, until a guest sends it on another one.
static uint16_t pick_queue(struct worker *w, const struct snap_port *dst, struct pkt *p)
{
	if (likely(dst->n_txqs == 1))
		return 0;
	if (dst->flags & SNAP_STEERS) {
		uint8_t wanted = atomic_load_explicit(run_steer_slot(w, dst, p), memory_order_relaxed);

		if (wanted != 0)
			return wanted - 1;
	}
	if (p->hash == 0)
		p->hash = parse_hash(p, w->hash_seed);
	return p->hash % MAX_QUEUES;
}

static struct tx_batch *batch_new(struct worker *w, uint16_t port, uint16_t queue)
{
	struct tx_batch *b = &w->batches[w->n_batches++];

	w->batch_of[port] = w->n_batches;
	b->port = port;
	b->queue = queue;
	b->n = 0;
	b->flags = 0;
	b->bytes = 0;
	b->tags = b->shared = false;
	return b;
}

// batch_of knows the newest batch of a port; others are there only with several queues.
static struct tx_batch *batch_for(struct worker *w, const struct dest *d, uint16_t queue)
{
	uint8_t slot = w->batch_of[d->port];

	if (slot != 0) {
		if (likely(w->batches[slot - 1].queue == queue))
			return &w->batches[slot - 1];
		for (uint16_t i = 0; i < w->n_batches; i++)
			if (w->batches[i].port == d->port && w->batches[i].queue == queue)
				return &w->batches[i];
	}
	if (unlikely(w->n_batches == WORKER_BATCHES))
		run_flush(w);
	return batch_new(w, d->port, queue);
}

static void deliver(struct worker *w, struct pkt *p, const struct dest *d)
{
	struct tx_batch *b = batch_for(w, d, pick_queue(w, w->snap->ports[d->port], p));

	p->n_users++;
	b->shared = true;
	b->flags |= p->flags;
	b->bytes += p->len;
	b->tags |= d->tagged;
	b->p[b->n] = p;
	b->d[b->n++] = *d;
}

__attribute__((noinline)) void run_pull(struct pkt *p)
{
	pkt_pull(p, RTE_MIN(p->len, (uint32_t)PKT_HEAD));
}

// Each of `drops` is DROP_NONE before.
static void ops_run(struct worker *w, const struct snap_port *of, uint16_t ops, struct pkt *pkts,
		    uint8_t *drops, uint16_t n, const struct snap_port *dst)
{
	for (uint16_t left = ops; left != 0; left &= left - 1) {
		const struct op *op = &of->ops[__builtin_ctz(left)];

		op->run(w, pkts, drops, n, dst, op->state);
	}
	if (unlikely(w->walk.in->n_watches != 0))
		worker_tell_all(w, pkts, drops, n, dst);
}

// Nothing was dropped, which is usual.
static bool is_clean(const uint8_t drops[PKT_BURST])
{
	uint64_t d[PKT_BURST / sizeof(uint64_t)], any = 0;

	static_assert(DROP_NONE == 0 && sizeof(d) == PKT_BURST, "compared at once");
	memcpy(d, drops, sizeof(d));
	for (size_t i = 0; i < sizeof(d) / sizeof(d[0]); i++)
		any |= d[i];
	return any == 0;
}

// Counts the dropped ones from `at` on, up to the next that goes on. Returns where that is, and in *end where
// those with it end.
static uint16_t passed_next(struct port_counters *count, const uint8_t *drops, uint16_t at, uint16_t n,
			    uint16_t *end)
{
	for (; at < n && unlikely(drops[at] != DROP_NONE); at++)
		count->dropped[drops[at]]++;
	*end = at;
	while (*end < n && likely(drops[*end] == DROP_NONE))
		++*end;
	return at;
}

// A copy that an op of its destination takes away was made all the same.
static void deliver_or_drop(struct worker *w, struct port_counters *n, struct pkt *p, const struct dest *d)
{
	const struct snap_port *dst = w->snap->ports[d->port];
	uint8_t drop = DROP_NONE;

	if (unlikely(d->ops != 0)) {
		w->out = d;
		ops_run(w, dst, d->ops, p, &drop, 1, dst);
	}
	if (likely(drop == DROP_NONE))
		deliver(w, p, d);
	else
		n->dropped[drop]++;
}

struct flood_run {
	uint32_t n;
};

static void flood_one(struct walk *k, const struct pkt *p, uint16_t port, void *arg)
{
	struct flood_run *f = arg;
	struct dest d;

	if (!walk_is_up(k->snap->ports[port]) || walk_out(k, p, port, &d) != DROP_NONE)
		return;
	f->n++;
	deliver_or_drop(k->w, worker_counters(k->w, k->in), (struct pkt *)p, &d);
}

static void run_flood(struct worker *w, struct port_counters *n, struct pkt *p)
{
	struct flood_run f = {0};

	w->walk.runs = true;
	walk_flood(&w->walk, p, flood_one, &f);
	w->walk.runs = false;
	if (f.n > 0) {
		n->made += f.n - 1;
		return;
	}
	n->dropped[DROP_NO_DESTINATION]++;
	worker_tell(w, w->walk.in, p, DROP_NO_DESTINATION, NULL);
}

// Destinations that are down at this moment take nothing: one that is known is missed, of several the others do.
static void run_dests(struct worker *w, struct port_counters *n, struct pkt *p, const struct plan *plan)
{
	uint32_t n_up = 0;

	for (uint8_t i = 0; i < plan->n_dests; i++) {
		if (unlikely(!walk_is_up(w->snap->ports[plan->dests[i].port])))
			continue;
		deliver_or_drop(w, n, p, &plan->dests[i]);
		n_up++;
	}
	if (likely(n_up > 0)) {
		n->made += n_up - 1;
		return;
	}
	enum drop drop = plan->n_dests == 1 ? DROP_PORT_DOWN : DROP_NO_DESTINATION;

	n->dropped[drop]++;
	worker_tell(w, w->walk.in, p, drop, w->snap->ports[plan->dests[0].port]);
}

static void run_each(struct worker *w, struct pkt *p, const struct plan *plan)
{
	struct port_counters *n = worker_counters(w, w->walk.in);

	// Several receivers get the same bytes, whatever the sender writes meanwhile.
	if (unlikely(plan->flood || plan->n_dests > 1) && !pkt_own(w, p)) {
		n->dropped[DROP_NO_MEMORY]++;
		worker_tell(w, w->walk.in, p, DROP_NO_MEMORY, NULL);
		return;
	}
	// Held while destinations are still being added, so that a flush in between takes nothing away.
	p->n_users = 1;
	if (plan->flood)
		run_flood(w, n, p);
	else
		run_dests(w, n, p, plan);
	p->n_users--;
}

// The same as run_each() for each, when there is one destination with one queue: what is the same is looked up once.
static void run_one(struct worker *w, struct pkt *pkts, uint16_t n, uint32_t bytes, const struct dest *d)
{
	struct tx_batch *b = batch_for(w, d, 0);
	struct dest to = *d;
	uint16_t at = b->n, flags = b->flags;

	b->n += n;
	b->bytes += bytes;
	b->tags |= to.tagged;
	for (uint16_t i = 0; i < n; i++) {
		pkts[i].n_users = 1;
		flags |= pkts[i].flags;
		b->p[at + i] = &pkts[i];
		b->d[at + i] = to;
	}
	b->flags = flags;
}

static uint32_t bytes_of(const struct pkt *pkts, uint16_t n)
{
	uint32_t bytes = 0;

	for (uint16_t i = 0; i < n; i++)
		bytes += pkts[i].len;
	return bytes;
}

// Those that the destination's ops let pass.
static __attribute__((noinline)) void run_one_asked(struct worker *w, struct pkt *pkts, uint16_t n,
						    const struct dest *d)
{
	const struct snap_port *dst = w->snap->ports[d->port];
	uint8_t drops[PKT_BURST] = {DROP_NONE};

	w->out = d;
	ops_run(w, dst, d->ops, pkts, drops, n, dst);
	if (likely(is_clean(drops))) {
		run_one(w, pkts, n, bytes_of(pkts, n), d);
		return;
	}
	for (uint16_t at = 0, end; at < n; at = end)
		if ((at = passed_next(worker_counters(w, w->walk.in), drops, at, n, &end)) < n)
			run_one(w, &pkts[at], end - at, bytes_of(&pkts[at], end - at), d);
}

static __attribute__((noinline)) void run_passed(struct worker *w, struct pkt *pkts, uint16_t n,
						 const struct plan *plan)
{
	const struct dest *d = &plan->dests[0];

	if (plan->flood || plan->n_dests != 1 || w->snap->ports[d->port]->n_txqs != 1) {
		for (uint16_t i = 0; i < n; i++)
			run_each(w, &pkts[i], plan);
	} else if (!walk_is_up(w->snap->ports[d->port])) {
		worker_drop(w, w->walk.in, DROP_PORT_DOWN, n);
		for (uint16_t i = 0; i < n; i++)
			worker_tell(w, w->walk.in, &pkts[i], DROP_PORT_DOWN, w->snap->ports[d->port]);
	} else if (d->ops != 0) {
		run_one_asked(w, pkts, n, d);
	} else {
		run_one(w, pkts, n, bytes_of(pkts, n), d);
	}
}

static enum drop parse_anew(struct pkt *p)
{
	const struct virtio_net_hdr_v1 vnet = p->vnet;
	const uint32_t vsid = p->vsid;
	const uint16_t vid = p->vid, n_tail = p->n_tail;

	pkt_clear(p);
	p->vnet = vnet;
	p->vsid = vsid;
	p->vid = vid;
	p->n_tail = n_tail;
	return run_parse(p);
}

// An op may have changed the bytes: what they are now is decided by the steps behind it, for this packet alone.
static void walk_on(struct worker *w, struct pkt *p, uint8_t from)
{
	struct walk *k = &w->walk;
	enum drop drop = parse_anew(p);

	if (drop != DROP_NONE) {
		worker_drop(w, k->in, drop, 1);
		worker_tell(w, k->in, p, drop, NULL);
		return;
	}
	walk_packet(k, p, from);
	run_walked(w, p, NULL);
}

// What passed the ops of its source.
static __attribute__((noinline)) void run_asked(struct worker *w, struct pkt *pkts, uint16_t n,
						const struct plan *plan)
{
	const uint8_t again = plan->again;

	if (plan->n_excluded > 0)
		w->details[plan->why] += (uint64_t)n * plan->n_excluded;
	if (plan->gives)
		for (uint16_t i = 0; i < n; i++)
			pkt_rewrite(&pkts[i], &plan->rewrite);
	if (again == 0)
		run_passed(w, pkts, n, plan);
	for (uint16_t i = 0; again != 0 && i < n; i++)
		walk_on(w, &pkts[i], again);
}

// What stands in front of the step that drops them sees them all the same.
static __attribute__((noinline)) void run_dropped(struct worker *w, struct pkt *pkts, uint16_t n,
						  const struct plan *plan)
{
	const struct snap_port *in = w->walk.in;
	uint8_t drops[PKT_BURST] = {DROP_NONE};

	ops_run(w, in, plan->ops, pkts, drops, n, NULL);
	for (uint16_t i = 0; i < n; i++) {
		if (drops[i] != DROP_NONE) {
			worker_drop(w, in, drops[i], 1);
			continue;
		}
		worker_drop(w, in, plan->drop, 1);
		w->details[plan->why]++;
		if (unlikely(in->n_watches != 0))
			worker_tell_watches(w, in, &pkts[i],
					    &(struct drop_note){plan->drop, plan->why, NULL});
	}
}

static __attribute__((noinline)) void run_ops(struct worker *w, struct pkt *pkts, uint16_t n,
					      const struct plan *plan)
{
	uint8_t drops[PKT_BURST] = {DROP_NONE};

	ops_run(w, w->walk.in, plan->ops, pkts, drops, n, NULL);
	if (likely(is_clean(drops))) {
		run_asked(w, pkts, n, plan);
		return;
	}
	for (uint16_t at = 0, end; at < n; at = end)
		if ((at = passed_next(worker_counters(w, w->walk.in), drops, at, n, &end)) < n)
			run_asked(w, &pkts[at], end - at, plan);
}

void worker_run(struct worker *w, struct pkt *pkts, uint16_t n, uint32_t bytes, const struct plan *plan)
{
	const struct dest *d = &plan->dests[0];

	if (likely(plan_is_usual(plan) && d->ops == 0 && w->snap->ports[d->port]->n_txqs == 1 &&
		   walk_is_up(w->snap->ports[d->port])))
		run_one(w, pkts, n, bytes, d);
	else if (unlikely(plan->drop != DROP_NONE))
		run_dropped(w, pkts, n, plan);
	else if (unlikely(plan->ops != 0))
		run_ops(w, pkts, n, plan);
	else
		run_asked(w, pkts, n, plan);
}

static void learn(struct worker *w, const struct pkt *p)
{
	if (w->walk.learn)
		fdb_learn(w->walk.sw->fdb, w->walk.learn_key, p->src, w->now_s);
}

// A plan with ops, that was just made. They come first: what they drop is neither learned nor kept. But a packet that
// they may change is kept as it came.
static __attribute__((noinline)) void walk_run_ops(struct worker *w, struct pkt *p, struct flow_table *keep)
{
	struct plan plan = w->walk.plan; // behind it the walk may go on
	uint8_t drop = DROP_NONE;

	if (plan.again != 0 && keep != NULL)
		flow_compile(w, keep, p);
	ops_run(w, w->walk.in, plan.ops, p, &drop, 1, NULL);
	if (drop != DROP_NONE) {
		worker_drop(w, w->walk.in, drop, 1);
		return;
	}
	learn(w, p);
	if (plan.again == 0 && keep != NULL)
		flow_compile(w, keep, p);
	run_asked(w, p, 1, &plan);
}

// The plan of one packet that was just made.
void run_walked(struct worker *w, struct pkt *p, struct flow_table *keep)
{
	struct walk *k = &w->walk;

	if (unlikely(k->plan.ops != 0) && k->plan.drop == DROP_NONE) {
		walk_run_ops(w, p, keep);
		return;
	}
	learn(w, p);
	if (keep != NULL)
		flow_compile(w, keep, p);
	worker_run(w, p, 1, p->len, &k->plan);
}

void worker_walk(struct worker *w, struct pkt *p, struct flow_table *keep)
{
	walk_packet(&w->walk, p, 0);
	run_walked(w, p, keep);
}
