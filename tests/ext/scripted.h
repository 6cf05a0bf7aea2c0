// The body of a scripted test extension. Whoever includes it says NAME, KIND and READS, and may say FLAGS, VERSION and
// FLOWS_ONLY (it has no packet calls), PACKETS_ONLY (it has no flow calls) or BLIND (it has neither).
#pragma once

#include <stdlib.h>
#include <string.h>

#include "hooks.h"

#ifdef BLIND
#define FLOWS_ONLY
#define PACKETS_ONLY
#endif
#ifndef FLAGS
#define FLAGS 0
#endif
#ifndef VERSION
#define VERSION "1.0"
#endif

struct self {
	struct hooks *h;
	struct evs_instance *instance, *before; // `before`: whose place it would take
};

static int create(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		  struct evs_why *why)
{
	static struct self own; // each instance is loaded by itself
	struct self *s = &own;
	const char *number = config != NULL ? strstr(config, "\"hooks\":") : NULL;

	if (number == NULL) {
		memcpy(why->text, "it needs hooks", sizeof("it needs hooks"));
		return -1;
	}
	s->h = (struct hooks *)(uintptr_t)strtoull(number + strlen("\"hooks\":"), NULL, 10);
	s->instance = i;
	s->before = s->h->instance;
	s->h->host = host;
	s->h->instance = i;
	s->h->version = VERSION;
	s->h->n_created++;
	*self = s;
	return 0;
}

static void destroy(void *self)
{
	struct self *s = self;

	s->h->n_destroyed++;
	if (s->h->instance == s->instance)
		s->h->instance = s->before;
}

static int port(void *self, uint32_t step, const struct evs_port *p, struct evs_why *why)
{
	struct hooks *h = ((struct self *)self)->h;

	return h->port != NULL ? h->port(h, step, p, why) : 0;
}

static int upgrade(void *self, void *old, const char *version, struct evs_why *why)
{
	struct hooks *h = ((struct self *)self)->h;

	(void)old;
	return h->upgrade != NULL ? h->upgrade(h, version, why) : 0;
}

#ifdef PACKETS_ONLY
#define FLOW_IN  NULL
#define FLOW_OUT NULL
#else
#define FLOW_IN  flow_in
#define FLOW_OUT flow_out

static void flow_in(void *self, const struct evs_call *c, const struct evs_flow *f, struct evs_answer *a)
{
	struct hooks *h = ((struct self *)self)->h;

	(void)c;
	h->n_in += !f->trace;
	if (h->flow_in != NULL)
		h->flow_in(h, f, a);
}

static void flow_out(void *self, const struct evs_call *c, const struct evs_flow *f, struct evs_answer *a)
{
	struct hooks *h = ((struct self *)self)->h;

	(void)c;
	h->n_out += !f->trace;
	if (h->flow_out != NULL)
		h->flow_out(h, f, a);
}
#endif

#ifdef FLOWS_ONLY
#define PACKETS_IN  NULL
#define PACKETS_OUT NULL
#else
#define PACKETS_IN  packets_in
#define PACKETS_OUT packets_out

static void packets_in(void *self, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	struct hooks *h = ((struct self *)self)->h;

	h->n_packets_in += n;
	h->n_packets += n;
	if (h->packets_in != NULL)
		h->packets_in(h, c, p, n);
}

static void packets_out(void *self, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	struct hooks *h = ((struct self *)self)->h;

	h->n_packets += n;
	if (h->packets_out != NULL)
		h->packets_out(h, c, p, n);
}
#endif

static const char *const reasons[] = {"first reason", "second reason", NULL};

EVS_EXTENSION(.name = NAME, .version = VERSION, .id = "6d0f8a3e-52c1-4b7e-9a51-0c6f6f2b7d10", .kind = KIND,
	      .reads = READS, .flags = FLAGS, .worker_bytes = 64, .reasons = reasons, .create = create,
	      .destroy = destroy, .port = port, .upgrade = upgrade, .flow_in = FLOW_IN, .flow_out = FLOW_OUT,
	      .packets_in = PACKETS_IN, .packets_out = PACKETS_OUT);
