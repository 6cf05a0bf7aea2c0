// The front end's side of vhost-user (QEMU's docs/interop/vhost-user): one conversation per connection, from
// GET_FEATURES to enabled rings. Control thread; the device is parked, its back end is new to it.

#include "tools/bench/front/feature.h"
#include "tools/bench/front/front.h"
#include "tools/bench/front/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#define ANSWER_MS 10000
// What QEMU says of a packed ring when a back end has gone without a word: where it stood before the first one.
#define PACKED_START 0x8000

struct talk {
	struct device *d;
	bool acks;
	bool resumes; // the back end was stopped and said where
	char *why;
	size_t why_bytes;
};

static const char *request_name(uint32_t r)
{
	static const char *const names[] = {
	    [GET_FEATURES] = "GET_FEATURES",
	    [SET_FEATURES] = "SET_FEATURES",
	    [SET_OWNER] = "SET_OWNER",
	    [SET_MEM_TABLE] = "SET_MEM_TABLE",
	    [SET_LOG_BASE] = "SET_LOG_BASE",
	    [SET_VRING_NUM] = "SET_VRING_NUM",
	    [SET_VRING_ADDR] = "SET_VRING_ADDR",
	    [SET_VRING_BASE] = "SET_VRING_BASE",
	    [GET_VRING_BASE] = "GET_VRING_BASE",
	    [SET_VRING_KICK] = "SET_VRING_KICK",
	    [SET_VRING_CALL] = "SET_VRING_CALL",
	    [GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
	    [SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
	    [GET_QUEUE_NUM] = "GET_QUEUE_NUM",
	    [SET_VRING_ENABLE] = "SET_VRING_ENABLE",
	};
	return names[r];
}

static int fail(struct talk *t, uint32_t request, const char *what, int error)
{
	snprintf(t->why, t->why_bytes, "%s: %s", request_name(request), what);
	return error;
}

static int send_all(struct talk *t, const struct message *m, int fd)
{
	if (wire_send(t->d->fd, m, MESSAGE_HEADER + m->size, &fd, fd >= 0) == 0)
		return 0;
	return fail(t, m->request, "the back end does not take it", -EPIPE);
}

static int receive_bytes(struct talk *t, uint32_t request, void *to, size_t bytes)
{
	int ret = wire_receive(t->d->fd, to, bytes, ANSWER_MS);
	if (ret == -ETIMEDOUT)
		return fail(t, request, "no answer within 10 s", ret);
	return ret ? fail(t, request, "the back end closed the connection", ret) : 0;
}

static int answer(struct talk *t, uint32_t request, uint64_t *value)
{
	struct message m;
	int ret = receive_bytes(t, request, &m, MESSAGE_HEADER);
	if (ret == 0 && (m.request != request || !(m.flags & FLAG_REPLY) || m.size != 8))
		ret = fail(t, request, "the answer is not one to this", -EPROTO);
	if (ret == 0)
		ret = receive_bytes(t, request, &m.u64, 8);
	*value = ret == 0 ? m.u64 : 0;
	return ret;
}

static int get(struct talk *t, uint32_t request, uint64_t *value)
{
	struct message m = {request, FLAG_VERSION, 0};
	int ret = send_all(t, &m, -1);
	return ret ? ret : answer(t, request, value);
}

// With fd if not −1.
static int set(struct talk *t, struct message *m, int fd)
{
	uint64_t bad = 0;
	m->flags = FLAG_VERSION | (t->acks ? FLAG_NEED_REPLY : 0);
	int ret = send_all(t, m, fd);
	if (ret == 0 && t->acks)
		ret = answer(t, m->request, &bad);
	if (ret == 0 && bad)
		ret = fail(t, m->request, "refused by the back end", -EPROTO);
	return ret;
}

static int set_u64(struct talk *t, uint32_t request, uint64_t value, int fd)
{
	struct message m = {request, .size = 8, .u64 = value};
	return set(t, &m, fd);
}

static int set_state(struct talk *t, uint32_t request, uint32_t ring, uint32_t value)
{
	struct message m = {request, .size = 8, .state = {ring, value}};
	return set(t, &m, -1);
}

static int agree_protocol(struct talk *t, const struct conf *c)
{
	uint64_t protocol, pairs = c->queues;
	int ret = get(t, GET_PROTOCOL_FEATURES, &protocol);
	if (ret == 0)
		ret = set_u64(t, SET_PROTOCOL_FEATURES, protocol & (P_REPLY_ACK | P_MQ | P_LOG_SHMFD), -1);
	t->acks = t->d->acks = protocol & P_REPLY_ACK;
	if (ret == 0 && c->log && !(protocol & P_LOG_SHMFD))
		ret = fail(t, SET_LOG_BASE, "the back end takes no log", -EPROTO);
	if (ret == 0 && c->queues > 1)
		ret = protocol & P_MQ ? get(t, GET_QUEUE_NUM, &pairs)
				      : fail(t, GET_QUEUE_NUM, "the back end has one queue pair", -EPROTO);
	if (ret == 0 && pairs < c->queues)
		ret = fail(t, GET_QUEUE_NUM, "the back end has fewer queue pairs", -EPROTO);
	return ret;
}

static int agree_features(struct talk *t, const struct conf *c)
{
	uint64_t offered, must = c->must[t->d->index % 2];
	char names[200];
	int ret = get(t, GET_FEATURES, &offered);
	if (ret)
		return ret;
	if (must & ~offered) {
		features_print(must & ~offered, names, sizeof(names));
		snprintf(t->why, t->why_bytes, "the back end does not offer %s (features %#llx)",
			 must & ~offered & F_VERSION_1 ? "VERSION_1" : names, (unsigned long long)offered);
		return -EPROTO;
	}
	t->d->features = offered & (must | c->may[t->d->index % 2] | F_PROTOCOL);
	return offered & F_PROTOCOL ? agree_protocol(t, c) : 0;
}

static int set_memory(struct talk *t)
{
	struct device *d = t->d;
	struct message m = {SET_MEM_TABLE, .size = 8 + sizeof(struct memory_region),
			    .memory = {1, 0, {{RING_GPA, d->region_bytes, (uintptr_t)d->region, 0}}}};
	return set(t, &m, d->memfd);
}

// Is answered in any case.
static int set_log(struct talk *t)
{
	struct message m = {SET_LOG_BASE, FLAG_VERSION, 16, .log = {t->d->log_bytes, 0}};
	uint64_t ignored;
	int ret = send_all(t, &m, t->d->logfd);
	return ret ? ret : answer(t, SET_LOG_BASE, &ignored);
}

static uint32_t base_of(const struct talk *t, const struct ring *r, unsigned index, const struct queue *q)
{
	if (t->resumes)
		return q->base[index % 2];
	return r->conf.packed ? PACKED_START : ring_base(r);
}

static int set_ring(struct talk *t, const struct ring *r, unsigned index, const struct queue *q)
{
	struct message addr = {
	    SET_VRING_ADDR, .size = sizeof(addr.addr),
	    .addr = {index, 0, (uintptr_t)r->desc, (uintptr_t)r->used, (uintptr_t)r->avail, 0}};
	int ret = set_state(t, SET_VRING_NUM, index, r->conf.size);
	if (ret == 0)
		ret = set_state(t, SET_VRING_BASE, index, base_of(t, r, index, q));
	if (ret == 0)
		ret = set(t, &addr, -1);
	if (ret == 0)
		ret = set_u64(t, SET_VRING_CALL, index, q->call[index % 2]);
	if (ret == 0)
		ret = set_u64(t, SET_VRING_KICK, index, q->kick[index % 2]);
	return ret;
}

// What was negotiated decides how rings are read; one that has run keeps its ways.
static int settle_ring(struct talk *t, const struct conf *c, struct ring *r, bool receive, size_t at)
{
	bool in_order = t->d->features & F_IN_ORDER, event_idx = t->d->features & F_EVENT_IDX;
	if (r->slots && (r->conf.in_order != in_order || r->conf.event_idx != event_idx)) {
		snprintf(t->why, t->why_bytes, "the back end came back with other features");
		return -EPROTO;
	}
	struct ring_conf rc = {t->d->ring_size, c->packed, in_order, event_idx, receive};
	if (r->slots || ring_init(r, &rc, t->d->region + at) == 0)
		return 0;
	snprintf(t->why, t->why_bytes, "no memory for a ring");
	return -ENOMEM;
}

static int settle(struct talk *t, const struct conf *c)
{
	int ret = 0;
	for (unsigned i = 0; i < t->d->n_queues && ret == 0; i++) {
		struct queue *q = &t->d->queues[i];
		ret = settle_ring(t, c, &q->rx, true, q->ring_at[0]);
		if (ret == 0)
			ret = settle_ring(t, c, &q->tx, false, q->ring_at[1]);
	}
	return ret;
}

static int set_rings(struct talk *t)
{
	int ret = 0;
	for (unsigned i = 0; i < t->d->n_queues && ret == 0; i++) {
		ret = set_ring(t, &t->d->queues[i].rx, 2 * i, &t->d->queues[i]);
		if (ret == 0)
			ret = set_ring(t, &t->d->queues[i].tx, 2 * i + 1, &t->d->queues[i]);
	}
	for (unsigned i = 0; ret == 0 && i < 2 * t->d->n_queues && t->d->features & F_PROTOCOL; i++)
		ret = set_state(t, SET_VRING_ENABLE, i, 1);
	// What was published before its time must not wait for more.
	for (unsigned i = 0; ret == 0 && i < 2 * t->d->n_queues; i++)
		(void)!eventfd_write(t->d->queues[i / 2].kick[i % 2], 1);
	return ret;
}

int vhost_set_up(struct device *d, const struct conf *c, char *why, size_t why_bytes)
{
	struct talk t = {d, false, false, why, why_bytes};
	struct message owner = {SET_OWNER};
	int ret = agree_features(&t, c);
	if (ret == 0)
		ret = settle(&t, c);
	if (ret == 0)
		ret = set(&t, &owner, -1);
	if (ret == 0 && c->log)
		ret = set_log(&t);
	if (ret == 0)
		ret = set_u64(&t, SET_FEATURES, d->features, -1);
	if (ret == 0)
		ret = set_memory(&t);
	return ret ? ret : set_rings(&t);
}

static int stop_ring(struct talk *t, uint32_t index, struct queue *q)
{
	struct message m = {GET_VRING_BASE, FLAG_VERSION, 8, .state = {index, 0}};
	uint64_t state;
	int ret = send_all(t, &m, -1);
	if (ret == 0)
		ret = answer(t, GET_VRING_BASE, &state);
	q->base[index % 2] = ret == 0 ? state >> 32 : 0;
	return ret;
}

int vhost_stop(struct device *d, char *why, size_t why_bytes)
{
	struct talk t = {d, d->acks, true, why, why_bytes};
	int ret = 0;
	for (unsigned i = 0; i < 2 * d->n_queues && ret == 0; i++)
		ret = stop_ring(&t, i, &d->queues[i / 2]);
	return ret;
}

int vhost_start(struct device *d, const struct conf *c, char *why, size_t why_bytes)
{
	struct talk t = {d, d->acks, true, why, why_bytes};
	int ret = c->log ? set_log(&t) : 0;
	if (ret == 0)
		ret = set_u64(&t, SET_FEATURES, d->features, -1);
	return ret ? ret : set_rings(&t);
}
