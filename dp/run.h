// Inside workers: what carries out plans (run_dp.c) and what brings packets to it (worker_dp.c).
#pragma once

#include <rte_branch_prediction.h>

#include "offload.h"
#include "parse.h"
#include "snap.h"
#include "worker.h"

void run_flush(struct worker *w); // delivers all batches
// Carries out the plan that the walk has just made; see worker_walk().
void run_walked(struct worker *w, struct pkt *p, struct flow_table *keep);
// Chains that begin with a short buffer are made to hold the headers in one piece.
void run_pull(struct pkt *p);

static inline enum drop run_parse(struct pkt *p)
{
	if (unlikely(p->head_len < PKT_HEAD && p->head_len < p->len))
		run_pull(p);
	enum drop drop = parse(p);

	if (unlikely(p->vnet.flags | p->vnet.gso_type) && drop == DROP_NONE)
		drop = offload_check(p);
	return drop;
}

static inline _Atomic uint8_t *run_steer_slot(struct worker *w, const struct snap_port *port,
					      const struct pkt *p)
{
	return &port->live->steer[parse_hash_both(p, w->hash_seed) % STEER_SLOTS];
}
