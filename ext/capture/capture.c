// The capture extension: `evsctl capture start|stop|show`. Packets of a port, or what is dropped of them, to pcapng files.
//
// A session is found by workers in a table of pointers. It leaves the table before it ends, and whoever was inside then
// is waited for: each worker has a number that is odd while it is.
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "session.h"

#define MAX_SESSIONS 8

struct capture {
	const struct evs_host *host;
	struct evs_instance *instance;
	pthread_mutex_t lock;                        // of what is below, against writers that end
	struct session *all[MAX_SESSIONS];           // NULL = free
	struct session *_Atomic shown[MAX_SESSIONS]; // to workers: control and writers w, workers r
	struct {
		alignas(64) _Atomic uint64_t n;
	} inside[EVS_MAX_WORKERS];
};

// Workers

static void enter(struct capture *c, uint32_t worker)
{
	// ordered before the look at `shown`
	atomic_store(&c->inside[worker].n,
		     atomic_load_explicit(&c->inside[worker].n, memory_order_relaxed) + 1);
}

static void leave(struct capture *c, uint32_t worker)
{
	atomic_store_explicit(&c->inside[worker].n,
			      atomic_load_explicit(&c->inside[worker].n, memory_order_relaxed) + 1,
			      memory_order_release);
}

static bool is_captured(struct capture *c, uint32_t worker, uint32_t port)
{
	bool is = false;

	enter(c, worker);
	for (unsigned i = 0; i < MAX_SESSIONS; i++) {
		const struct session *s = atomic_load_explicit(&c->shown[i], memory_order_acquire);

		is |= s != NULL && s->packets && s->port == port;
	}
	leave(c, worker);
	return is;
}

static void flow_in(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	if (is_captured(self, call->worker, f->source))
		a->verdict = EVS_PACKETS;
}

static void flow_out(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	if (is_captured(self, call->worker, f->destination))
		a->verdict = EVS_PACKETS;
}

struct clock {             // of a worker
	uint64_t set_ns;   // in the calls' time, 0 = never
	uint64_t ahead_ns; // of that is the time since 1970
};

// The time of the burst. The clock itself is looked at once a second: each look costs as much as a captured packet.
static uint64_t time_ns(const struct evs_call *call)
{
	struct clock *c = call->local;
	struct timespec t;

	if (c->set_ns == 0 || call->now_ns - c->set_ns > UINT64_C(1000000000)) {
		clock_gettime(CLOCK_REALTIME, &t);
		c->set_ns = call->now_ns;
		c->ahead_ns = t.tv_sec * UINT64_C(1000000000) + t.tv_nsec - call->now_ns;
	}
	return call->now_ns + c->ahead_ns;
}

static void packets(struct capture *c, const struct evs_call *call, struct evs_packet *const *list,
		    uint32_t n, enum side side)
{
	struct take t = {.host = c->host, .call = call, .side = side, .time_ns = time_ns(call)};

	enter(c, call->worker);
	for (unsigned i = 0; i < MAX_SESSIONS; i++) {
		struct session *s = atomic_load_explicit(&c->shown[i], memory_order_acquire);

		if (s == NULL || !s->packets)
			continue;
		for (uint32_t j = 0; j < n; j++) {
			t.packet = list[j];
			if (s->port == (side == SIDE_IN ? list[j]->source : list[j]->destination))
				session_take(s, &t);
		}
	}
	leave(c, call->worker);
}

static void packets_in(void *self, const struct evs_call *call, struct evs_packet *const *list, uint32_t n)
{
	packets(self, call, list, n, SIDE_IN);
}

static void packets_out(void *self, const struct evs_call *call, struct evs_packet *const *list, uint32_t n)
{
	packets(self, call, list, n, SIDE_OUT);
}

static void append(char *to, size_t room, const char *text)
{
	size_t n = strlen(to);

	for (; *text != '\0' && n + 1 < room; text++)
		to[n++] = *text;
	to[n] = '\0';
}

static void comment_make(char *to, size_t room, const struct evs_drop *d)
{
	to[0] = '\0';
	append(to, room, "dropped at stage ");
	append(to, room, d->stage);
	append(to, room, ": ");
	append(to, room, d->reason);
	if (d->extension[0] != '\0') {
		append(to, room, " ");
		append(to, room, d->extension);
	}
	append(to, room, ": ");
	append(to, room, d->text);
}

static void dropped(void *self, const struct evs_call *call, const struct evs_packet *p,
		    const struct evs_drop *why)
{
	struct capture *c = self;
	char comment[512];
	struct take t = {.host = c->host, .call = call, .packet = p, .comment = comment};

	enter(c, call->worker);
	for (unsigned i = 0; i < MAX_SESSIONS; i++) {
		struct session *s = atomic_load_explicit(&c->shown[i], memory_order_acquire);

		if (s == NULL || !s->drops || (s->port != p->source && s->port != p->destination))
			continue;
		if (t.time_ns == 0) {
			t.time_ns = time_ns(call);
			comment_make(comment, sizeof(comment), why);
		}
		t.side = s->port == p->source ? SIDE_IN : SIDE_OUT;
		session_take(s, &t);
	}
	leave(c, call->worker);
}

// What workers shall do follows from the sessions. Under the lock.

static void apply(struct capture *c)
{
	uint32_t rate = UINT32_MAX;
	bool drops = false;

	for (unsigned i = 0; i < MAX_SESSIONS; i++) {
		const struct session *s = atomic_load(&c->shown[i]);

		if (s == NULL)
			continue;
		drops |= s->drops;
		rate = s->packets && s->sample < rate ? s->sample : rate;
	}
	for (unsigned i = 0; i < MAX_SESSIONS; i++) {
		struct session *s = atomic_load(&c->shown[i]);

		if (s != NULL)
			atomic_store(&s->one_in, s->packets ? s->sample / rate : 1);
	}
	c->host->sample(c->instance, rate != UINT32_MAX ? rate : 1);
	c->host->watch_drops(c->instance, drops);
	c->host->revoke(c->instance, EVS_NO_PORT);
}

static void wait_outside(struct capture *c)
{
	for (unsigned i = 0; i < EVS_MAX_WORKERS; i++) {
		uint64_t n = atomic_load(&c->inside[i].n);

		while (n % 2 != 0 && atomic_load(&c->inside[i].n) == n)
			sched_yield();
	}
}

// The writer's: from here on no worker knows the session.
static void unlink_session(struct session *s)
{
	struct capture *c = s->owner;

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < MAX_SESSIONS; i++)
		if (atomic_load(&c->shown[i]) == s)
			atomic_store(&c->shown[i], NULL);
	apply(c);
	pthread_mutex_unlock(&c->lock);
	wait_outside(c);
}

// Control

static void end(struct capture *c, unsigned i)
{
	atomic_store(&c->all[i]->stop, true);
	pthread_join(c->all[i]->writer, NULL);
	session_destroy(c->all[i]);
	c->all[i] = NULL;
}

static void bury(struct capture *c)
{
	for (unsigned i = 0; i < MAX_SESSIONS; i++)
		if (c->all[i] != NULL && atomic_load(&c->all[i]->ended))
			end(c, i);
}

static int refuse(struct evs_why *why, const char *what, const char *name)
{
	snprintf(why->text, sizeof(why->text), "capture %s: %s", name, what);
	return -1;
}

static int start(void *self, const struct evs_request *r, struct evs_why *why)
{
	struct capture *c = self;
	const char *name = r->text(r, "name");
	unsigned at = MAX_SESSIONS;
	struct session *s;

	bury(c);
	for (unsigned i = MAX_SESSIONS; i-- > 0;) {
		if (c->all[i] == NULL)
			at = i;
		else if (strcmp(c->all[i]->name, name) == 0)
			return refuse(why, "is running already; stop it, or choose another name", name);
	}
	if (at == MAX_SESSIONS)
		return refuse(why, "there are 8 captures on this switch, which is the limit; stop one", name);
	s = session_create(r, why);
	if (s == NULL)
		return -1;
	s->unlink = unlink_session;
	s->owner = c;
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->shown[at], s);
	apply(c);
	pthread_mutex_unlock(&c->lock);
	c->all[at] = s;
	if (session_start(s, why))
		return 0;
	unlink_session(s);
	c->all[at] = NULL;
	session_destroy(s);
	return -1;
}

static void start_gone(void *self, const struct evs_request *r)
{
	struct capture *c = self;

	for (unsigned i = 0; i < MAX_SESSIONS; i++)
		if (c->all[i] != NULL && c->all[i]->request == r)
			end(c, i);
}

static int stop(void *self, const struct evs_request *r, struct evs_why *why)
{
	struct capture *c = self;
	const char *name = r->text(r, "name");

	bury(c);
	for (unsigned i = 0; i < MAX_SESSIONS; i++)
		if (c->all[i] != NULL && strcmp(c->all[i]->name, name) == 0) {
			end(c, i);
			return 0;
		}
	return refuse(why, "no such capture", name);
}

// Names have no characters that JSON writes otherwise; a filter may.
static void quote(char *to, size_t room, const char *text)
{
	size_t n = 0;

	for (; *text != '\0' && n + 3 < room; text++) {
		if (*text == '"' || *text == '\\')
			to[n++] = '\\';
		to[n++] = *text;
	}
	to[n] = '\0';
}

static int show(void *self, const struct evs_request *r, struct evs_why *why)
{
	struct capture *c = self;
	const char *name = r->text(r, "name");
	bool found = name == NULL;

	bury(c);
	for (unsigned i = 0; i < MAX_SESSIONS; i++) {
		const struct session *s = c->all[i];
		char row[1024], filter[520];

		if (s == NULL || (name != NULL && strcmp(name, s->name) != 0))
			continue;
		quote(filter, sizeof(filter), s->filter_text != NULL ? s->filter_text : "");
		snprintf(row, sizeof(row),
			 "{\"name\": \"%s\", \"port\": \"%s\", \"drops\": \"%s\", \"filter\": \"%s\", "
			 "\"packets\": %llu, \"bytes\": %llu, \"lost\": %llu}",
			 s->name, s->port_name,
			 !s->drops    ? "no"
			 : s->packets ? "too"
				      : "only",
			 filter, (unsigned long long)session_count(s, false), (unsigned long long)s->n_bytes,
			 (unsigned long long)session_count(s, true));
		r->row(r, row);
		found = true;
	}
	return found ? 0 : refuse(why, "no such capture", name);
}

static int port(void *self, uint32_t step, const struct evs_port *p, struct evs_why *why)
{
	struct capture *c = self;

	(void)why;
	for (unsigned i = 0; step == EVS_PORT_TEARDOWN && i < MAX_SESSIONS; i++)
		if (c->all[i] != NULL && c->all[i]->port == p->id) {
			const char *none = NULL;

			atomic_compare_exchange_strong(&c->all[i]->why, &none, "its port was deleted");
			atomic_store(&c->all[i]->stop, true);
		}
	return 0;
}

static int create(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		  struct evs_why *why)
{
	struct capture *c = aligned_alloc(64, sizeof(*c));

	(void)config;
	if (c == NULL) {
		snprintf(why->text, sizeof(why->text), "out of memory");
		return -1;
	}
	memset(c, 0, sizeof(*c));
	c->host = host;
	c->instance = i;
	pthread_mutex_init(&c->lock, NULL);
	*self = c;
	return 0;
}

static void destroy(void *self)
{
	struct capture *c = self;

	for (unsigned i = 0; i < MAX_SESSIONS; i++)
		if (c->all[i] != NULL)
			end(c, i);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

#define PARAM(...)                                            \
	{                                                     \
		.size = sizeof(struct evs_param), __VA_ARGS__ \
	}
#define COLUMN(...)                                            \
	{                                                      \
		.size = sizeof(struct evs_column), __VA_ARGS__ \
	}
#define METHOD(...)                                            \
	{                                                      \
		.size = sizeof(struct evs_method), __VA_ARGS__ \
	}

static const struct evs_param start_params[] = {
    PARAM(.name = "name", .type = EVS_PARAM_NAME, .flags = EVS_REQUIRED | EVS_POSITIONAL,
	  .help = "what the capture is called"),
    PARAM(.name = "port", .type = EVS_PARAM_PORT, .flags = EVS_REQUIRED, .help = "whose packets"),
    PARAM(.name = "file", .type = EVS_PARAM_OUTPUT, .flags = EVS_REQUIRED | EVS_LIVE, .unit = "files",
	  .help = "where to, in pcapng; - = standard output"),
    PARAM(.name = "filter", .type = EVS_PARAM_STRING,
	  .help = "only packets that it fits: in the syntax of pcap-filter(7), about the first 128 bytes"),
    PARAM(.name = "drops", .type = EVS_PARAM_ENUM, .values = "no|only|too", .def = "no",
	  .help =
	      "what is dropped of the port's packets, with the reason as a comment: only that, or that too"),
    PARAM(.name = "sample", .type = EVS_PARAM_INT, .def = "1", .min = 1, .max = 1000000000,
	  .help = "one packet in about so many, chosen at random"),
    PARAM(.name = "snaplen", .type = EVS_PARAM_INT, .def = "262144", .unit = "bytes", .min = 64,
	  .max = 262144, .help = "at most so much of a packet"),
    PARAM(.name = "size", .type = EVS_PARAM_SIZE, .unit = "bytes", .min = 65536, .max = INT64_C(1) << 50,
	  .help = "of a file: then the next one is begun, or, of one file, it ends"),
    PARAM(.name = "files", .type = EVS_PARAM_INT, .def = "1", .min = 1, .max = MAX_FILES,
	  .help = "how many, that are used again in turn: FILE, FILE.2, FILE.3 ..."),
    PARAM(.name = NULL)};
static const struct evs_param stop_params[] = {
    PARAM(.name = "name", .type = EVS_PARAM_NAME, .flags = EVS_REQUIRED | EVS_POSITIONAL, .help = "which"),
    PARAM(.name = NULL)};
static const struct evs_param show_params[] = {
    PARAM(.name = "name", .type = EVS_PARAM_NAME, .flags = EVS_POSITIONAL, .help = "only this one"),
    PARAM(.name = NULL)};
static const struct evs_column show_columns[] = {
    COLUMN(.name = "name", .help = "the capture"),
    COLUMN(.name = "port", .help = "its port"),
    COLUMN(.name = "drops", .help = "whether dropped packets are wanted"),
    COLUMN(.name = "filter", .help = "which packets are"),
    COLUMN(.name = "packets", .help = "captured", .unit = "packets"),
    COLUMN(.name = "bytes", .help = "written", .unit = "bytes"),
    COLUMN(.name = "lost", .help = "that were not written, as the reader or the disk is too slow",
	   .unit = "packets"),
    COLUMN(.name = NULL)};
static const struct evs_method methods[] = {
    METHOD(.name = "start", .help = "capture packets of a port until the command, or the capture, is stopped",
	   .flags = EVS_CHANGES | EVS_STAYS, .params = start_params, .call = start, .gone = start_gone),
    METHOD(.name = "stop", .help = "end a capture; what it has captured is written", .flags = EVS_CHANGES,
	   .params = stop_params, .call = stop),
    METHOD(.name = "show", .help = "list captures that are running", .params = show_params,
	   .columns = show_columns, .call = show),
    METHOD(.name = NULL)};

EVS_EXTENSION(.name = "capture", .version = "1.0", .id = "6b0f8e0a-8f5e-4a58-9d1c-0d5c7c3e2a41",
	      .kind = EVS_CAPTURE, .worker_bytes = sizeof(struct clock), .reads = EVS_READ_ETHERNET,
	      .create = create, .destroy = destroy, .port = port, .flow_in = flow_in, .flow_out = flow_out,
	      .packets_in = packets_in, .packets_out = packets_out, .object = "capture", .methods = methods,
	      .dropped = dropped);
