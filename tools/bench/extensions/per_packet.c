// A filter that looks at the headers of each packet.
#include <evswitch/extension.h>

static void look(void *self, const struct evs_call *call, struct evs_packet *const *packets, uint32_t n)
{
	(void)self, (void)call;
	for (uint32_t i = 0; i < n; i++) {
		struct evs_packet *p = packets[i];

		if (p->ip_proto == 6 && p->l4 != 0 && p->data[p->l4 + 2] == 0 && p->data[p->l4 + 3] == 23)
			p->verdict = EVS_DROP;
	}
}

EVS_EXTENSION(.name = "per-packet", .version = "1.0", .id = "91f0a1f4-5f0e-4b57-8c0e-4d5a5a1e7b02",
	      .kind = EVS_FILTER, .packets_in = look);
