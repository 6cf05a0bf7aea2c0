// Writes one byte more than it was given: behind the packet, or in front of it.
#include <evswitch/extension.h>

#define FLAGS   EVS_MODIFIES
#define PACKETS packets_in

static void packets_in(void *self, const struct evs_call *call, struct evs_packet *const *packets,
		       uint32_t n);

#include "caller.h"

static void packets_in(void *self, const struct evs_call *call, struct evs_packet *const *packets, uint32_t n)
{
	const struct self *s = self;

	(void)call;
	for (uint32_t i = 0; i < n; i++) {
		if (packets[i]->ether_type != TRIGGER)
			continue;
		if (s->in != NULL)
			packets[i]->data[-1] = 0; // any call that is named: in front
		else
			packets[i]->data[packets[i]->safe] = 0;
	}
}
