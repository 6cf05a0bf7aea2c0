// Needs far more time for a packet than it should, and comes back.
#define PACKETS packets_in
#include <evswitch/extension.h>

static void packets_in(void *self, const struct evs_call *call, struct evs_packet *const *packets,
		       uint32_t n);

#include "caller.h"

static void packets_in(void *self, const struct evs_call *call, struct evs_packet *const *packets, uint32_t n)
{
	(void)self, (void)call, (void)packets;
	for (volatile uint32_t i = 0; i < n * 20000; i++)
		;
}
