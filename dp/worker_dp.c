// A worker's round: receives bursts and finds flows for their packets, or lets them walk; what is decided is carried out by
// run_dp.c. Worker threads.
#include "worker.h"

#include <string.h>

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "flow.h"
#include "inject.h"
#include "run.h"
#include "sleep.h"

// Virtio 1.2, 5.1.6.5.5: what comes back belongs on the queue pair of what was sent last.
static void steer_note(struct worker *w, const struct rxq *q, const struct pkt *pkts, const uint8_t *drops,
		       uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		_Atomic uint8_t *slot =
		    drops[i] == DROP_NONE ? run_steer_slot(w, w->walk.in, &pkts[i]) : NULL;

		if (slot != NULL && atomic_load_explicit(slot, memory_order_relaxed) != q->id + 1)
			atomic_store_explicit(slot, q->id + 1, memory_order_relaxed);
	}
}

static void burst_begin(struct worker *w, const struct snap_port *in)
{
	w->owns = false;
	w->walk.w = w;
	w->walk.snap = w->snap;
	w->walk.in = in;
	w->walk.sw = w->snap->switches[in->sw];
	w->walk.nobody = false;
}

void worker_burst(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n)
{
	const struct snap_port *in = w->snap->ports[q->port_index];
	struct port_counters *count = worker_counters(w, in);
	struct rte_mbuf *done[PKT_BURST];
	uint8_t drops[PKT_BURST];
	uint32_t n_done = 0;
	uint64_t bytes = 0;
	bool owns = false;

	burst_begin(w, in);
	for (uint16_t i = 0; i < n; i++) {
		drops[i] = run_parse(&pkts[i]);
		bytes += pkts[i].len;
		owns |= pkts[i].m != NULL;
		if (unlikely(drops[i] != DROP_NONE)) {
			count->dropped[drops[i]]++;
			worker_tell(w, in, &pkts[i], drops[i], NULL);
		}
	}
	w->owns = owns;
	count->rx_bytes += bytes;
	count->rx_packets += n;
	if (unlikely(in->flags & SNAP_STEERS))
		steer_note(w, q, pkts, drops, n);
	flow_burst(w, q, pkts, drops, n);
	run_flush(w);
	for (uint16_t i = 0; w->owns && i < n; i++)
		if (pkts[i].m != NULL)
			done[n_done++] = pkts[i].m;
	rte_pktmbuf_free_bulk(done, n_done);
}

// Where the walk goes on: 0 = at the beginning.
static uint8_t step_behind(const struct snap_port *in, const void *after)
{
	for (uint8_t i = 0; after != NULL && i < in->n_in; i++)
		if (in->in[i].arg == after)
			return i + 1;
	return 0;
}

static void insert_to(struct worker *w, struct pkt *p, const struct snap_port *to)
{
	w->walk.nobody = true;
	p->vid = p->flags & PKT_TAGGED ? p->tci & 0xfff : 0;
	walk_out_as_is(&w->walk, p, to);
	worker_run(w, p, 1, p->len, &w->walk.plan);
}

void worker_insert(struct worker *w, struct rte_mbuf *m, const struct snap_port *in, const void *after,
		   const struct snap_port *to)
{
	struct pkt *p = &w->pkts[0];

	pkt_init_owned(p, m, in->index);
	burst_begin(w, in);
	w->owns = true;
	worker_counters(w, in)->made++;
	enum drop drop = run_parse(p);

	if (drop != DROP_NONE) {
		worker_drop(w, in, drop, 1);
		worker_tell(w, in, p, drop, NULL);
	} else if (to != NULL) {
		insert_to(w, p, to);
	} else {
		walk_packet(&w->walk, p, step_behind(in, after));
		run_walked(w, p, NULL);
	}
	run_flush(w);
	pkt_free(p);
}

static uint16_t queue_poll(struct worker *w, struct rxq *q)
{
	const struct snap_port *in = w->snap->ports[q->port_index];
	rxq_credit_fn *credit = atomic_load_explicit(&q->credit, memory_order_relaxed);
	uint16_t n = PKT_BURST;

	if (unlikely(credit != NULL) && (n = credit(w, q, n)) == 0) {
		q->seen_tsc = w->now_tsc; // what waits for credit does not sleep
		return 0;
	}
	n = in->driver->rx(w, q, w->pkts, n);
	if (n == 0)
		return 0;
	q->seen_tsc = w->now_tsc;
	q->packets += n;
	worker_burst(w, q, w->pkts, n);
	if (in->driver->rx_done != NULL)
		in->driver->rx_done(w, q, w->pkts, n);
	return n;
}

static bool is_silent(const struct worker *w, const struct rxq *q)
{
	return unlikely(q->seen_tsc < w->doze_before);
}

// Whether it sleeps now. What came before the driver notifies is found by looking once more.
static bool fell_asleep(struct worker *w, struct rxq *q, uint32_t *moved)
{
	if (!sleep_prepare(w, q))
		return false;
	*moved += queue_poll(w, q);
	if (is_silent(w, q)) {
		sleep_settle(w, q);
		return true;
	}
	sleep_cancel(w, q);
	return false;
}

uint32_t worker_round(struct worker *w)
{
	struct rxq **at = &w->hot, *q;
	uint32_t moved = 0;

	sleep_round(w);
	if (unlikely(inject_waits(w)))
		moved += inject_round(w);
	while ((q = *at) != NULL) {
		moved += queue_poll(w, q);
		if (is_silent(w, q) && fell_asleep(w, q, &moved))
			*at = q->next_hot;
		else
			at = &q->next_hot;
	}
	return moved;
}
