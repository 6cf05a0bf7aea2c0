// As built by someone whose header is newer than this evswitch: what it has behind the end of what the daemon knows is not
// asked for. (freeze makes that header.)
#include <evswitch/extension.h>

#include <stdlib.h>

static void look(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	(void)self, (void)call;
	if (f->ip_proto == 6 && f->has_ports && f->dport == 23)
		a->verdict = EVS_DROP;
}

static const char *const reasons[] = {"telnet is not allowed", NULL};

EVS_EXTENSION(.name = "long", .version = "9.0", .id = "c4b1de1a-4b5a-4f1b-8d7f-0f6f3f2a0105",
	      .kind = EVS_FILTER, .reads = EVS_READ_PORTS, .reasons = reasons, .flow_in = look,
	      .later = abort, .more = {1, 2, 3});
