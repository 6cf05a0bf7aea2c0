// Transmit queues, the control side: making and ending them. Control thread.
#include "txq.h"

#include <errno.h>
#include <stdlib.h>

#include <rte_ring.h>

#include "ctrl/api/err.h"

int txq_init(struct txq *q, uint16_t id, struct err *e)
{
	ssize_t bytes = rte_ring_get_memsize(TXQ_MAILBOX);

	q->id = id;
	q->mailbox = aligned_alloc(RTE_CACHE_LINE_SIZE, (bytes + 63) & ~(size_t)63);
	if (q->mailbox == NULL)
		return err_set(e, -ENOMEM, "transmit queue: out of memory");
	return rte_ring_init(q->mailbox, "mailbox", TXQ_MAILBOX, RING_F_SC_DEQ);
}

// The senders of what is still held are told, as far as they are still there.
static void drop_held(struct rte_mbuf *m)
{
	struct port *from = port_at(m->port);

	if (from != NULL) {
		from->counters[MAX_WORKERS]->held_out++;
		from->counters[MAX_WORKERS]->dropped[DROP_PORT_REMOVED]++;
	}
	rte_pktmbuf_free(m);
}

void txq_fini(struct txq *q)
{
	void *m;

	while (q->mailbox != NULL && rte_ring_sc_dequeue(q->mailbox, &m) == 0)
		drop_held(m);
	free(q->mailbox);
	q->mailbox = NULL;
}
