// Ends of flows, the side that notes them. Workers, and the control thread for tables that are destroyed.
#include "flow_end_priv.h"

#include <netinet/in.h>
#include <string.h>

#include "flow_priv.h"

void flow_end_note(struct flow_table *t, uint32_t number, uint64_t tell)
{
	const struct flow *f = &t->flows[number];
	const struct flow_side *s = &t->sides[number];
	struct rte_ring *r = atomic_load_explicit(&flow_ends, memory_order_acquire);
	struct flow_end end = {.packets = s->packets_sum + f->packets,
			       .bytes = s->bytes_sum + f->bytes,
			       .tell = tell,
			       .source = t->source,
			       .vid = t->actions[f->action].vid,
			       .tcp_flags = s->tcp_flags};

	memcpy(end.key, f->key, sizeof(f->key));
	end.key[KEY_WORDS] = s->key_tail;
	if (r == NULL || rte_ring_mp_enqueue_elem(r, &end, sizeof(end)) != 0)
		atomic_fetch_add_explicit(&flow_ends_n_lost, 1, memory_order_relaxed);
}

void flow_end_flags(struct flow_side *s, const struct pkt *pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		const struct pkt *p = &pkts[i];

		if (p->ip_proto == IPPROTO_TCP && p->l4_off != 0 &&
		    !(p->flags & (PKT_FRAG_LATER | PKT_BEYOND_HEAD)))
			s->tcp_flags |= p->data[p->l4_off + 13];
	}
}
