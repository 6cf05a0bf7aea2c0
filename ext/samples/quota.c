// Each guest may send so many bytes, which is all that the configuration says: `config 1000000`. Then nothing of it
// passes any more. A filter with state: of its ports, kept by their steps; saved and restored; changed by workers.
#include <evswitch/extension.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ACCOUNTS 256

struct account {
	uint32_t port; // EVS_NO_PORT = free; writer: control, workers: r
	uint64_t used; // bytes; writer: workers
};

struct quota {
	const struct evs_host *host;
	struct evs_instance *instance;
	uint64_t limit;
	struct account accounts[MAX_ACCOUNTS];
};

static int create(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		  struct evs_why *why)
{
	struct quota *q = (struct quota *)calloc(1, sizeof(*q));
	char *end = NULL;

	if (q == NULL)
		return -1;
	q->host = host;
	q->instance = i;
	q->limit = config != NULL ? strtoull(config, &end, 10) : 0;
	if (q->limit == 0 || *end != '\0') {
		snprintf(why->text, sizeof(why->text), "its configuration must be a number of bytes");
		free(q);
		return -1;
	}
	*self = q;
	return 0;
}

static void destroy(void *self)
{
	free(self);
}

// The account of `port` is the first free one from its number on: mostly the first look finds it. NULL = there is none.
static struct account *account_from(struct quota *q, uint32_t from, uint32_t port)
{
	for (uint32_t i = 0; i < MAX_ACCOUNTS; i++) {
		struct account *a = &q->accounts[(from + i) % MAX_ACCOUNTS];

		if (__atomic_load_n(&a->port, __ATOMIC_ACQUIRE) == port)
			return a;
	}
	return NULL;
}

static struct account *account_find(struct quota *q, uint32_t port)
{
	return account_from(q, port, port);
}

static int port_step(void *self, uint32_t step, const struct evs_port *port, struct evs_why *why)
{
	struct quota *q = (struct quota *)self;
	struct account *a = account_from(q, port->id, step == EVS_PORT_CREATE ? EVS_NO_PORT : port->id);

	if (port->type != EVS_PORT_GUEST)
		return 0;
	if (step == EVS_PORT_CREATE && a == NULL) {
		snprintf(why->text, sizeof(why->text), "it counts for %d guests already, which is its limit",
			 MAX_ACCOUNTS);
		return -1;
	}
	if (step == EVS_PORT_CREATE && !port->validates) {
		a->used = 0;
		__atomic_store_n(&a->port, port->id, __ATOMIC_RELEASE);
	}
	if (step == EVS_PORT_DELETE && a != NULL)
		__atomic_store_n(&a->port, EVS_NO_PORT, __ATOMIC_RELEASE);
	return 0;
}

// While there is something left each packet counts. Behind that the answer is about the flow, and costs nothing.
static void look(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *answer)
{
	struct quota *q = (struct quota *)self;
	const struct account *a = f->source != EVS_NO_PORT ? account_find(q, f->source) : NULL;

	(void)call;
	if (a != NULL)
		answer->verdict =
		    __atomic_load_n(&a->used, __ATOMIC_RELAXED) >= q->limit ? EVS_DROP : EVS_PACKETS;
}

static void count(void *self, const struct evs_call *call, struct evs_packet *const *packets, uint32_t n)
{
	struct quota *q = (struct quota *)self;
	struct account *a = account_find(q, packets[0]->source);

	(void)call;
	for (uint32_t i = 0; a != NULL && i < n; i++) {
		if (__atomic_load_n(&a->used, __ATOMIC_RELAXED) >= q->limit) {
			packets[i]->verdict = EVS_DROP;
			continue;
		}
		uint64_t used = __atomic_add_fetch(&a->used, packets[i]->length, __ATOMIC_RELAXED);

		if (used >= q->limit && used - packets[i]->length < q->limit) // this one was the last
			q->host->revoke(q->instance, packets[i]->source);
	}
}

static size_t save(void *self, const struct evs_port *port, void *to, size_t room)
{
	struct account *a = port != NULL ? account_find((struct quota *)self, port->id) : NULL;

	return a != NULL ? (size_t)snprintf((char *)to, room, "%" PRIu64,
					    __atomic_load_n(&a->used, __ATOMIC_RELAXED))
			 : 0;
}

static int restore(void *self, const struct evs_port *port, const char *version, const void *from,
		   size_t bytes, struct evs_why *why)
{
	struct account *a = port != NULL ? account_find((struct quota *)self, port->id) : NULL;
	char text[24] = "";

	(void)version;
	memcpy(text, from, bytes < sizeof(text) ? bytes : sizeof(text) - 1);
	if (a == NULL) {
		snprintf(why->text, sizeof(why->text), "it knows no such guest");
		return -1;
	}
	__atomic_store_n(&a->used, strtoull(text, NULL, 10), __ATOMIC_RELAXED);
	return 0;
}

static const char *const reasons[] = {"the guest has sent all that it may", NULL};

EVS_EXTENSION(.name = "quota", .version = "1.0", .id = "0d9a5be0-62e4-4c0c-8f7e-91d0c7a1c903",
	      .kind = EVS_FILTER, .reasons = reasons, .create = create, .destroy = destroy, .port = port_step,
	      .flow_in = look, .packets_in = count, .save = save, .restore = restore);
