// Rings of frames that are made here: one for each worker. Control thread.
#include "inject.h"

#include <errno.h>
#include <stdlib.h>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "worker.h"

int inject_init(struct worker *w)
{
	struct rte_ring *r = aligned_alloc(RTE_CACHE_LINE_SIZE, rte_ring_get_memsize(INJECT_RING));

	if (r == NULL || rte_ring_init(r, "inject", INJECT_RING, RING_F_SC_DEQ) != 0) {
		free(r);
		return -ENOMEM;
	}
	w->injected = r;
	return 0;
}

void inject_fini(struct worker *w)
{
	struct rte_mbuf *m;

	while (w->injected != NULL && rte_ring_dequeue(w->injected, (void **)&m) == 0)
		rte_pktmbuf_free(m);
	free(w->injected);
	w->injected = NULL;
}
