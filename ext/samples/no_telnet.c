// The smallest filter: whatever is sent to TCP port 23 is dropped.
#include <evswitch/extension.h>

static void look(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	(void)self, (void)call;
	if (f->ip_proto == 6 && f->has_ports && f->dport == 23)
		a->verdict = EVS_DROP;
}

static const char *const reasons[] = {"telnet is not allowed", NULL};

EVS_EXTENSION(.name = "no-telnet", .version = "1.0", .id = "2f3f8a52-6f0b-4a3f-9a3c-5d2f1c1b7e01",
	      .kind = EVS_FILTER, .reads = EVS_READ_PORTS, .reasons = reasons, .flow_in = look);
