// Ends of flows come from workers as keys and go to extensions as the fields that these have declared. Control thread, and
// the jobs thread for the telling.
#include "notices.h"

#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include "blame.h"
#include "ctrl/api/jobs.h"
#include "dp/flow.h"
#include "dp/flow_end.h"
#include "ext.h"
#include "load.h"

#define BATCH 256 // ends that are told in one go

struct batch {
	uint32_t n;
	struct flow_end ends[BATCH];
	struct ext *to[MAX_EXTS];
	uint32_t n_to;
};

static bool is_telling;

static bool has_ports(const struct flow_view *v)
{
	return v->shape == FLOW_L4 &&
	       (v->proto == IPPROTO_TCP || v->proto == IPPROTO_UDP || v->proto == IPPROTO_SCTP ||
		v->proto == IPPROTO_ICMP || v->proto == IPPROTO_ICMPV6);
}

static void fields(const struct ext *x, const struct flow_end *end, const struct flow_view *v,
		   struct evs_flow *f)
{
	bool is_icmp = v->proto == IPPROTO_ICMP || v->proto == IPPROTO_ICMPV6;

	*f = (struct evs_flow){.size = sizeof(*f),
			       .source = end->source,
			       .ether_type = v->ether_type,
			       .vlan = v->vid,
			       .priority = v->tagged ? v->tci >> 13 : 0};
	memcpy(f->dst, v->dst, sizeof(f->dst));
	memcpy(f->src, v->src, sizeof(f->src));
	if (x->is.reads & (EVS_READ_IP | EVS_READ_PORTS) && v->ip_version != 0) {
		f->ip_version = v->ip_version;
		f->ip_proto = v->proto;
		memcpy(f->ip_src, v->ip_src, sizeof(f->ip_src));
		memcpy(f->ip_dst, v->ip_dst, sizeof(f->ip_dst));
	}
	if (x->is.reads & EVS_READ_PORTS && has_ports(v)) {
		f->has_ports = true;
		f->sport = is_icmp ? v->sport >> 8 : v->sport;
		f->dport = is_icmp ? v->sport & 0xff : v->dport;
	}
}

static void tell(struct ext *x, const struct batch *b)
{
	struct evs_flow flows[BATCH];
	struct evs_flow_end ends[BATCH];
	const struct evs_flow_end *list[BATCH];
	uint32_t n = 0;

	for (uint32_t i = 0; i < b->n; i++) {
		const struct flow_end *end = &b->ends[i];
		struct flow_view v;

		if (!(end->tell >> x->index & 1))
			continue;
		flow_end_view(end, &v);
		fields(x, end, &v, &flows[n]);
		ends[n] = (struct evs_flow_end){.size = sizeof(ends[n]),
						.flow = &flows[n],
						.packets = end->packets,
						.bytes = end->bytes,
						.tcp_flags = end->tcp_flags};
		list[n] = &ends[n];
		n++;
	}
	if (n == 0)
		return;
	blame_enter(BLAME_JOBS, x->index);
	x->is.flows_ended(x->self, list, n);
	blame_leave(BLAME_JOBS);
}

static void batch_tell(void *arg)
{
	const struct batch *b = arg;

	for (uint32_t i = 0; i < b->n_to; i++)
		if (ext_is_callable(b->to[i]))
			tell(b->to[i], b);
}

static void batch_done(void *arg)
{
	free(arg);
	is_telling = false;
	ext_notices_look(); // more may have come
}

static void receivers(struct batch *b)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < b->n; i++)
		all |= b->ends[i].tell;
	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		struct ext *x = all >> i & 1 ? ext_at(i) : NULL;

		if (x != NULL && !x->leaving && x->is.flows_ended != NULL)
			b->to[b->n_to++] = x;
	}
}

void ext_notices_look(void)
{
	struct flow_end first;

	if (is_telling || !flow_ends_next(&first))
		return;
	struct batch *b = malloc(sizeof(*b));

	if (b == NULL)
		return;
	b->ends[0] = first;
	b->n = 1;
	b->n_to = 0;
	while (b->n < BATCH && flow_ends_next(&b->ends[b->n]))
		b->n++;
	receivers(b);
	is_telling = true;
	job_run("flow ends", batch_tell, batch_done, b);
}
