// A filter that does a bad deed in the call that its configuration names, and only if there is the file `if`. Includers may
// say FLAGS, and PACKETS for a packet call of their own.
#pragma once

#include "deeds.h"

#ifndef FLAGS
#define FLAGS 0
#endif

struct self {
	const char *in;
	void (*deed)(void);
	char only_if[200]; // "" = always
};

static const char *const calls[] = {"create", "port", "flow", "flow_out", "packets", "destroy"};

static void act(const struct self *s, const char *call)
{
	if (s->in != NULL && s->deed != NULL && strcmp(s->in, call) == 0 &&
	    (s->only_if[0] == '\0' || access(s->only_if, F_OK) == 0))
		s->deed();
}

static int create(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		  struct evs_why *why)
{
	struct self *s = calloc(1, sizeof(*s));

	(void)host, (void)i, (void)why;
	if (s == NULL)
		return -1;
	s->deed = deed_of(config);
	for (size_t n = 0; n < sizeof(calls) / sizeof(calls[0]); n++)
		if (config_says(config, "in", calls[n]))
			s->in = calls[n];
	if (config != NULL && strstr(config, "\"if\":\"") != NULL)
		sscanf(strstr(config, "\"if\":\"") + 6, "%199[^\"]", s->only_if);
	*self = s;
	act(s, "create");
	return 0;
}

static void destroy(void *self)
{
	act(self, "destroy");
	free(self);
}

static int port(void *self, uint32_t step, const struct evs_port *p, struct evs_why *why)
{
	(void)why;
	if (step == EVS_PORT_CREATE && strcmp(p->name, "trigger") == 0)
		act(self, "port");
	return 0;
}

static void flow_in(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	(void)call;
	if (f->ether_type == TRIGGER)
		act(self, "flow");
	a->verdict = EVS_PACKETS;
}

static void flow_out(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	(void)call, (void)a;
	if (f->ether_type == TRIGGER)
		act(self, "flow_out");
}

#ifndef PACKETS
#define PACKETS packets_in
static void packets_in(void *self, const struct evs_call *call, struct evs_packet *const *packets, uint32_t n)
{
	(void)call;
	for (uint32_t i = 0; i < n; i++)
		if (packets[i]->ether_type == TRIGGER)
			act(self, "packets");
}
#endif

EVS_EXTENSION(.name = "bad", .version = "1.0", .id = "b54f6a14-0f0e-4f5c-9f57-d28dd7bb5cc1",
	      .kind = EVS_FILTER, .flags = FLAGS, .create = create, .destroy = destroy, .port = port,
	      .flow_in = flow_in, .flow_out = flow_out, .packets_in = PACKETS);
