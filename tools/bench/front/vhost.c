// The front end's side of vhost-user (QEMU's docs/interop/vhost-user): one conversation per connection, from
// GET_FEATURES to enabled rings. Control thread; the device is parked, its back end is new to it.

#include "tools/bench/front/front.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

enum { FLAG_VERSION = 1, FLAG_REPLY = 1 << 2, FLAG_NEED_REPLY = 1 << 3 };

#define BIT(n)        (1ull << (n))
#define F_MRG_RXBUF   BIT(15)
#define F_EVENT_IDX   BIT(29)
#define F_PROTOCOL    BIT(30)
#define F_VERSION_1   BIT(32)
#define F_RING_PACKED BIT(34)
#define F_IN_ORDER    BIT(35)
#define P_REPLY_ACK   BIT(3)
#define ANSWER_MS     10000

struct message {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t n, pad;
			uint64_t gpa, bytes, user, offset;
		} memory;
	};
} __attribute__((packed));

enum { HEADER = 12 };

struct talk {
	struct device *d;
	bool acks;
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
	    [SET_VRING_NUM] = "SET_VRING_NUM",
	    [SET_VRING_ADDR] = "SET_VRING_ADDR",
	    [SET_VRING_BASE] = "SET_VRING_BASE",
	    [SET_VRING_KICK] = "SET_VRING_KICK",
	    [SET_VRING_CALL] = "SET_VRING_CALL",
	    [GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
	    [SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
	    [SET_VRING_ENABLE] = "SET_VRING_ENABLE",
	};
	return names[r];
}

static int fail(struct talk *t, uint32_t request, const char *what, int error)
{
	snprintf(t->why, t->why_bytes, "%s: %s", request_name(request), what);
	return error;
}

static int send_all(struct talk *t, struct message *m, int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {m, HEADER + m->size};
	struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1};
	if (fd >= 0) {
		h.msg_control = room;
		h.msg_controllen = sizeof(room);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		*c = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	if (sendmsg(t->d->fd, &h, MSG_NOSIGNAL) != (ssize_t)v.iov_len)
		return fail(t, m->request, "the back end does not take it", -EPIPE);
	return 0;
}

static int receive_bytes(struct talk *t, uint32_t request, void *to, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		struct pollfd p = {t->d->fd, POLLIN};
		if (poll(&p, 1, ANSWER_MS) <= 0)
			return fail(t, request, "no answer within 10 s", -ETIMEDOUT);
		ssize_t n = recv(t->d->fd, (char *)to + at, bytes - at, 0);
		if (n <= 0)
			return fail(t, request, "the back end closed the connection", -EPIPE);
		at += n;
	}
	return 0;
}

static int answer(struct talk *t, uint32_t request, uint64_t *value)
{
	struct message m;
	int ret = receive_bytes(t, request, &m, HEADER);
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

static int agree_features(struct talk *t, const struct conf *c)
{
	uint64_t offered, must = F_VERSION_1 | (c->packed ? F_RING_PACKED : 0) | (c->mrg ? F_MRG_RXBUF : 0);
	uint64_t may = (c->in_order ? F_IN_ORDER : 0) | (c->event_idx ? F_EVENT_IDX : 0) | F_PROTOCOL;
	int ret = get(t, GET_FEATURES, &offered);
	if (ret)
		return ret;
	if (must & ~offered) {
		snprintf(t->why, t->why_bytes, "the back end does not offer%s%s%s (features %#llx)",
			 must & ~offered & F_VERSION_1 ? " VERSION_1" : "",
			 must & ~offered & F_RING_PACKED ? " packed rings" : "",
			 must & ~offered & F_MRG_RXBUF ? " mergeable buffers" : "",
			 (unsigned long long)offered);
		return -EPROTO;
	}
	t->d->features = offered & (must | may);
	if (!(offered & F_PROTOCOL))
		return 0;
	uint64_t protocol;
	if ((ret = get(t, GET_PROTOCOL_FEATURES, &protocol)) != 0)
		return ret;
	ret = set_u64(t, SET_PROTOCOL_FEATURES, protocol & P_REPLY_ACK, -1);
	t->acks = protocol & P_REPLY_ACK;
	return ret;
}

static int set_memory(struct talk *t)
{
	struct device *d = t->d;
	struct message m = {SET_MEM_TABLE, .size = sizeof(m.memory),
			    .memory = {1, 0, RING_GPA, d->region_bytes, (uintptr_t)d->region, 0}};
	return set(t, &m, d->memfd);
}

static int set_ring(struct talk *t, struct ring *r, unsigned index)
{
	struct device *d = t->d;
	struct message addr = {
	    SET_VRING_ADDR, .size = sizeof(addr.addr),
	    .addr = {index, 0, (uintptr_t)r->desc, (uintptr_t)r->used, (uintptr_t)r->avail, 0}};
	int ret = set_state(t, SET_VRING_NUM, index, r->conf.size);
	if (ret == 0)
		ret = set_state(t, SET_VRING_BASE, index, ring_base(r));
	if (ret == 0)
		ret = set(t, &addr, -1);
	if (ret == 0)
		ret = set_u64(t, SET_VRING_CALL, index, d->call[index]);
	if (ret == 0)
		ret = set_u64(t, SET_VRING_KICK, index, d->kick[index]);
	return ret;
}

// What was negotiated decides how rings are read; one that has run keeps its ways.
static int settle(struct talk *t, const struct conf *c)
{
	struct ring *rings[2] = {&t->d->rx, &t->d->tx};
	bool in_order = t->d->features & F_IN_ORDER, event_idx = t->d->features & F_EVENT_IDX;
	for (unsigned i = 0; i < 2; i++) {
		struct ring *r = rings[i];
		if (r->slots && (r->conf.in_order != in_order || r->conf.event_idx != event_idx)) {
			snprintf(t->why, t->why_bytes, "the back end came back with other features");
			return -EPROTO;
		}
		if (r->slots)
			continue;
		struct ring_conf rc = {t->d->ring_size, c->packed, in_order, event_idx, .receive = i == 0};
		if (ring_init(r, &rc, t->d->region + t->d->ring_at[i]) != 0) {
			snprintf(t->why, t->why_bytes, "no memory for a ring");
			return -ENOMEM;
		}
	}
	return 0;
}

int vhost_set_up(struct device *d, const struct conf *c, char *why, size_t why_bytes)
{
	struct talk t = {d, false, why, why_bytes};
	struct message owner = {SET_OWNER};
	int ret = agree_features(&t, c);
	if (ret == 0)
		ret = settle(&t, c);
	if (ret == 0)
		ret = set(&t, &owner, -1);
	if (ret == 0)
		ret = set_u64(&t, SET_FEATURES, d->features, -1);
	if (ret == 0)
		ret = set_memory(&t);
	if (ret == 0)
		ret = set_ring(&t, &d->rx, 0);
	if (ret == 0)
		ret = set_ring(&t, &d->tx, 1);
	for (unsigned i = 0; ret == 0 && i < 2 && d->features & F_PROTOCOL; i++)
		ret = set_state(&t, SET_VRING_ENABLE, i, 1);
	for (unsigned i = 0; ret == 0 && i < 2;
	     i++) // what was published before its time must not wait for more
		(void)!eventfd_write(d->kick[i], 1);
	return ret;
}
