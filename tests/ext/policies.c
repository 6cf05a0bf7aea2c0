// A filter with properties of every type: drops what a port sends to its `closed` TCP port, and logs what it is told.
#include <evswitch/extension.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS 64

struct policies {
	const struct evs_host *host;
	struct evs_instance *instance;
	struct {
		uint32_t port;
		uint32_t closed; // 0 = none
	} of[PORTS];
};

static int create(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		  struct evs_why *why)
{
	struct policies *p = calloc(1, sizeof(*p));

	(void)config, (void)why;
	if (p == NULL)
		return -1;
	p->host = host;
	p->instance = i;
	*self = p;
	return 0;
}

static void set_closed(struct policies *p, uint32_t port, uint32_t closed)
{
	int at = 0;

	while (at < PORTS - 1 && p->of[at].port != port && p->of[at].port != EVS_NO_PORT)
		at++;
	__atomic_store_n(&p->of[at].closed, closed, __ATOMIC_RELAXED);
	__atomic_store_n(&p->of[at].port, port, __ATOMIC_RELEASE);
	p->host->revoke(p->instance, port);
}

static int property(void *self, const struct evs_port *port, const char *name, const char *value,
		    bool only_check, struct evs_why *why)
{
	struct policies *p = self;
	char line[400];

	if (strcmp(name, "closed") == 0 && value != NULL && strcmp(value, "13") == 0) {
		snprintf(why->text, sizeof(why->text), "13 brings bad luck");
		return -1;
	}
	if (only_check)
		return 0;
	snprintf(line, sizeof(line), "told %s %s=%s", port != NULL ? port->name : "switch", name,
		 value != NULL ? value : "nothing");
	p->host->log(p->instance, EVS_LOG_INFO, line);
	if (strcmp(name, "closed") == 0)
		set_closed(p, port->id, value != NULL ? strtoul(value, NULL, 10) : 0);
	return 0;
}

static void look(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	struct policies *p = self;

	(void)call;
	for (int i = 0; i < PORTS; i++)
		if (__atomic_load_n(&p->of[i].port, __ATOMIC_ACQUIRE) == f->source && f->ip_proto == 6 &&
		    f->dport == p->of[i].closed)
			a->verdict = EVS_DROP;
}

#define PROPERTY(of, kind, word, ...)                                                                       \
	{                                                                                                   \
		.size = sizeof(struct evs_property), .type = kind, .scope = of, .name = word, .help = word, \
		__VA_ARGS__                                                                                 \
	}

static const struct evs_property properties[] = {
    PROPERTY(EVS_OF_PORT, EVS_INT, "closed", .min = 1, .max = 65535),
    PROPERTY(EVS_OF_PORT, EVS_RATE, "limit", .max = 1000000000000),
    PROPERTY(EVS_OF_SWITCH, EVS_ENUM, "mode", .values = "learning|strict", .def = "learning"),
    PROPERTY(EVS_OF_SWITCH, EVS_BOOL, "loud"),
    PROPERTY(EVS_OF_SWITCH, EVS_ADDRESS, "collector"),
    PROPERTY(EVS_OF_SWITCH, EVS_STRING, "motto"),
    {.size = sizeof(struct evs_property)}};

EVS_EXTENSION(.name = "policies", .version = "1.0", .id = "91f0a1f4-5f0e-4b57-8c0e-4d5a5a1e7b77",
	      .kind = EVS_FILTER, .reads = EVS_READ_IP | EVS_READ_PORTS, .properties = properties,
	      .create = create, .destroy = free, .property = property, .flow_in = look);
