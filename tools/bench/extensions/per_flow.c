// A filter that decides each flow once, by addresses and ports: for measuring what it costs afterwards.
#include <evswitch/extension.h>

static void look(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	(void)self, (void)call;
	a->verdict = f->ip_proto == 6 && f->dport == 23 ? EVS_DROP : EVS_PASS;
}

static void look_out(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	(void)self, (void)call;
	a->verdict = f->ip_proto == 6 && f->sport == 23 ? EVS_DROP : EVS_PASS;
}

EVS_EXTENSION(.name = "per-flow", .version = "1.0", .id = "91f0a1f4-5f0e-4b57-8c0e-4d5a5a1e7b01",
	      .kind = EVS_FILTER, .reads = EVS_READ_IP | EVS_READ_PORTS, .flow_in = look,
	      .flow_out = look_out);
