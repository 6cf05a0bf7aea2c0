// Those who watch a port hear of each packet of it that is dropped, while it is still there. Worker threads.
#include "snap.h"
#include "worker.h"

void worker_tell_watches(struct worker *w, const struct snap_port *src, const struct pkt *p,
			 const struct drop_note *note)
{
	for (uint8_t i = 0; i < src->n_watches; i++)
		src->watches[i].fn(w, p, note, src->watches[i].state);
}

void worker_tell_all(struct worker *w, const struct pkt *pkts, const uint8_t *drops, uint16_t n,
		     const struct snap_port *dst)
{
	for (uint16_t i = 0; i < n; i++)
		if (drops[i] != DROP_NONE)
			worker_tell_watches(
			    w, w->walk.in, &pkts[i],
			    &(struct drop_note){drops[i], drops[i] == DROP_EXTENSION ? w->whys[i] : 0, dst});
}
