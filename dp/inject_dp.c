// Frames that are made here: into a worker's ring from any thread, and out of it in the worker's round.
#include "inject.h"

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "pkt.h"
#include "snap.h"
#include "worker.h"

#define ROUND 32 // frames of one round

struct note { // in the headroom of the frame's buffer, while it waits
	const void *after;
	uint32_t from, to;
};
static_assert(sizeof(struct note) <= RTE_PKTMBUF_HEADROOM, "stands in front of the frame");

bool inject_frame(struct worker *w, const void *frame, uint32_t length, uint32_t from, const void *after,
		  uint32_t to)
{
	struct worker *at = w != NULL ? w : worker_first();

	if (at == NULL || length < 14 || length > FRAME_MAX_MTU + 22)
		return false;
	struct rte_mbuf *m = rte_pktmbuf_alloc(at->pool);

	if (m == NULL)
		return false;
	*(struct note *)m->buf_addr = (struct note){after, from, to};
	if (!pkt_append(at->pool, m, frame, length) || rte_ring_enqueue(at->injected, m) != 0) {
		rte_pktmbuf_free(m);
		return false;
	}
	if (w == NULL)
		worker_wake(at);
	return true;
}

bool inject_waits(const struct worker *w)
{
	return w->injected != NULL && !rte_ring_empty(w->injected);
}

static const struct snap_port *port_of(const struct worker *w, uint32_t id)
{
	uint16_t index = port_id_index(id);
	const struct snap_port *sp = index < w->snap->n_ports ? w->snap->ports[index] : NULL;

	return sp != NULL && sp->id == id ? sp : NULL;
}

// Whether the step that it enters behind is there: an extension sends on its own switch only, and while it is enabled.
static bool is_at(const struct snap_port *sp, const void *after)
{
	for (uint8_t i = 0; after != NULL && i < sp->n_in; i++)
		if (sp->in[i].arg == after)
			return true;
	return after == NULL;
}

uint32_t inject_round(struct worker *w)
{
	uint32_t n = 0;
	struct rte_mbuf *m;

	while (n < ROUND && rte_ring_sc_dequeue(w->injected, (void **)&m) == 0) {
		const struct note note = *(const struct note *)m->buf_addr;
		const struct snap_port *at = port_of(w, note.from != 0 ? note.from : note.to);

		n++;
		if (at != NULL && is_at(at, note.after))
			worker_insert(w, m, at, note.after, note.from != 0 ? NULL : at);
		else
			rte_pktmbuf_free(m); // its port or its sender has gone meanwhile
	}
	return n;
}
