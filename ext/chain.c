// The steps and ops that extensions are in the snapshots of their switch's ports, in their order. Control thread.
#include "ext.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dp/snap.h"
#include "ext_feature.h"
#include "load.h"

static int64_t sign(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

int ext_compare(const struct ext *a, const struct ext *b)
{
	int64_t by = sign(a->is.kind, b->is.kind);

	by = by != 0 ? by : sign(a->conf.rank, b->conf.rank);
	return by != 0 ? (int)by : strcmp(a->conf.name, b->conf.name);
}

static int by_order(const void *a, const void *b)
{
	return ext_compare(*(const struct ext *const *)a, *(const struct ext *const *)b);
}

// Those that should take part, in the order on the way in.
static uint16_t chain_of(uint16_t sw, struct ext *chain[MAX_EXTS])
{
	uint16_t n = 0;

	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		struct ext *x = ext_at(i);

		if (x != NULL && !x->leaving && x->switch_index == sw && x->conf.enabled)
			chain[n++] = x;
	}
	qsort(chain, n, sizeof(chain[0]), by_order);
	return n;
}

bool ext_is_shown(const struct ext *x)
{
	return !x->leaving && x->conf.enabled && ext_is_callable(x);
}

static void details_take(struct ext *x)
{
	uint8_t n = x->n_reasons > 0 ? x->n_reasons : 1;

	if (x->details[0] != 0)
		return;
	for (uint8_t i = 0; i < n; i++)
		x->details[i] =
		    drop_detail_take(x->conf.name, x->n_reasons > 0 ? x->is.reasons[i] : "it says no reason");
}

static uint8_t reads_of(const struct ext *x)
{
	return x->is.reads & EVS_READ_PORTS ? STEP_READS_L4
	       : x->is.reads & EVS_READ_IP  ? STEP_READS_L3
					    : STEP_READS_L2;
}

static void steps_in(struct ext *x, struct snap_port *sp)
{
	static const enum stage stages[] = {
	    [EVS_CAPTURE] = STAGE_CAPTURE_IN, [EVS_FILTER] = STAGE_FILTER_IN, [EVS_FORWARD] = STAGE_FORWARD};

	if (x->is.flow_in == NULL && x->is.packets_in == NULL) {
		snap_step_in(sp, stages[x->is.kind], STEP_READS_L2, x->conf.name, ext_passes_in, x);
		return;
	}
	struct step *s = snap_step_in(sp, stages[x->is.kind], reads_of(x), x->conf.name, ext_flow_in, x);

	if (x->is.packets_in != NULL)
		s->op = snap_op(sp, ext_packets_in, x);
}

static void steps_out(struct ext *x, struct snap_port *sp)
{
	static const enum stage stages[] = {[EVS_CAPTURE] = STAGE_CAPTURE_OUT,
					    [EVS_FILTER] = STAGE_FILTER_OUT,
					    [EVS_FORWARD] = STAGE_FORWARD_OUT};

	if (x->is.flow_out == NULL && x->is.packets_out == NULL)
		return;
	struct step *s = snap_step_out(sp, stages[x->is.kind], reads_of(x), x->conf.name, ext_flow_out, x);

	if (x->is.packets_out != NULL)
		s->op = snap_op(sp, ext_packets_out, x);
}

// One that should be there and is not: nothing of what it should have seen passes, if people want it so.
static void step_gone(const struct ext *x, struct snap_port *sp)
{
	if (x->conf.fail_closed) {
		snap_step_in(sp, STAGE_FILTER_IN, STEP_READS_L2, x->conf.name, ext_gone_in, x);
		snap_step_out(sp, STAGE_FILTER_OUT, STEP_READS_L2, x->conf.name, ext_gone_out, x);
	}
}

static unsigned n_ops_of(const struct ext *x)
{
	return ext_is_shown(x) ? (x->is.packets_in != NULL) + (x->is.packets_out != NULL) : 0;
}

static int room_check(const struct snap_port *sp, struct ext *const *chain, uint16_t n, struct err *e)
{
	unsigned n_ops = 0;

	for (uint16_t i = 0; i < n; i++) {
		n_ops += n_ops_of(chain[i]);
		if (!snap_has_room(sp, i + 1, n_ops))
			return err_set(
			    e, -ENOSPC,
			    "ext %s: the extensions of switch %s are more than it has room for; disable one",
			    chain[i]->conf.name, chain[i]->conf.switch_name);
	}
	return 0;
}

static int steps_build(const struct port *p, struct snap_port *sp, struct err *e)
{
	struct ext *chain[MAX_EXTS] = {NULL};
	uint16_t n = chain_of(p->switch_index, chain);

	if (room_check(sp, chain, n, e) < 0)
		return e->code;
	for (uint16_t i = 0; i < n; i++) {
		if (!ext_is_shown(chain[i])) {
			step_gone(chain[i], sp);
			continue;
		}
		details_take(chain[i]);
		steps_in(chain[i], sp);
		if (chain[i]->is.dropped != NULL && chain[i]->is.kind == EVS_CAPTURE &&
		    atomic_load(&chain[i]->watches_drops))
			snap_watch(sp, ext_dropped, chain[i]);
	}
	for (uint16_t i = n; i-- > 0;)
		if (ext_is_shown(chain[i]))
			steps_out(chain[i], sp);
	return 0;
}

const struct snap_feature ext_feature = {"extensions", steps_build};
