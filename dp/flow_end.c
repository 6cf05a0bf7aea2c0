// Ends of flows, the side that hears of them. Control thread.
#include "flow_end.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "flow_end_priv.h"
#include "flow_priv.h"

#define ROOM 8192

struct rte_ring *_Atomic flow_ends;
_Atomic uint64_t flow_ends_n_lost;

int flow_ends_open(void)
{
	if (atomic_load(&flow_ends) != NULL)
		return 0;
	struct rte_ring *r =
	    aligned_alloc(RTE_CACHE_LINE_SIZE, rte_ring_get_memsize_elem(sizeof(struct flow_end), ROOM));

	if (r == NULL || rte_ring_init(r, "flow ends", ROOM, RING_F_SC_DEQ) != 0) {
		free(r);
		return -ENOMEM;
	}
	atomic_store(&flow_ends, r);
	return 0;
}

bool flow_ends_next(struct flow_end *out)
{
	struct rte_ring *r = atomic_load(&flow_ends);

	return r != NULL && rte_ring_sc_dequeue_elem(r, out, sizeof(*out)) == 0;
}

uint64_t flow_ends_lost(void)
{
	return atomic_load(&flow_ends_n_lost);
}

void flow_end_view(const struct flow_end *end, struct flow_view *v)
{
	struct flow f = {0};

	memcpy(f.key, end->key, sizeof(f.key));
	memset(v, 0, sizeof(*v));
	flow_key_view(&f, end->key[KEY_WORDS], v);
	v->vid = end->vid;
	v->packets = end->packets;
	v->bytes = end->bytes;
}
