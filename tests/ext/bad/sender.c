// Sends a copy of each packet that it sees, and keeps one, for ever.
#include <stdlib.h>
#include <string.h>

#include <evswitch/extension.h>

struct self {
	const struct evs_host *host;
	struct evs_instance *instance;
};

static int create(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		  struct evs_why *why)
{
	struct self *s = malloc(sizeof(*s));

	(void)config, (void)why;
	if (s == NULL)
		return -1;
	*s = (struct self){host, i};
	*self = s;
	return 0;
}

// Its copies come from the packet's own source, and what they meet begins behind it: else one would be made of each copy.
static void packets_in(void *self, const struct evs_call *call, struct evs_packet *const *packets, uint32_t n)
{
	const struct self *s = self;

	(void)call;
	for (uint32_t i = 0; i < n; i++) {
		void *volatile kept = malloc(packets[i]->safe);

		if (kept != NULL)
			memcpy(kept, packets[i]->data, packets[i]->safe);
		for (int more = 0; more < 100; more++)
			s->host->send(s->instance, packets[i]->data, packets[i]->safe, packets[i]->source,
				      EVS_NO_PORT);
	}
}

EVS_EXTENSION(.name = "sender", .version = "1.0", .id = "6a8e0c2a-6a65-4d0e-9c3c-6a5f4a8f1e02",
	      .kind = EVS_FILTER, .create = create, .destroy = free, .packets_in = packets_in);
