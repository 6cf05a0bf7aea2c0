// A front end's conversation passed on to the vhost library. See relay.h.
//
// Either side may stop reading: then what was read from the other one waits, and no more is read from there.
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctrl/api/timer.h"

#define BYTES    4096
#define MAX_FDS  8 // of a message
#define RETRY_US 1000
#define TURN_NS \
	10000000 // in this time a way passes on so many times; who says more waits, as others want their turn, too
#define TURNS 64

struct way {
	struct relay *relay;
	int from, to;
	struct watch *watch; // NULL = nothing is read
	struct timer *retry;
	size_t n_bytes, n_sent;
	unsigned n_fds; // to be sent with the first byte
	uint64_t since_ns;
	unsigned n_turns; // since then
	int fds[MAX_FDS];
	uint8_t bytes[BYTES];
};

struct relay {
	struct way up, down; // to the library, to the front end
	bool over;
};

static void fds_close(struct way *w)
{
	while (w->n_fds > 0)
		close(w->fds[--w->n_fds]);
}

static void way_stop(struct way *w)
{
	watch_stop(w->watch);
	timer_stop(w->retry);
	w->watch = NULL;
	w->retry = NULL;
}

void relay_pause(struct relay *r)
{
	way_stop(&r->up);
	way_stop(&r->down);
}

// Both sides learn of it. The descriptors stay until somebody frees it.
static void end(struct relay *r)
{
	relay_pause(r);
	r->over = true;
	shutdown(r->up.from, SHUT_RDWR);
	shutdown(r->up.to, SHUT_RDWR);
}

// False: the socket is full.
static bool way_send(struct way *w)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))] = {0};

	while (w->n_sent < w->n_bytes) {
		struct iovec v = {w->bytes + w->n_sent, w->n_bytes - w->n_sent};
		struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

		if (w->n_fds > 0) {
			m.msg_control = control;
			m.msg_controllen = CMSG_SPACE(w->n_fds * sizeof(int));
			struct cmsghdr *c = CMSG_FIRSTHDR(&m);

			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(w->n_fds * sizeof(int));
			memcpy(CMSG_DATA(c), w->fds, w->n_fds * sizeof(int));
		}
		ssize_t n = sendmsg(w->to, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno != EAGAIN && errno != EINTR;
		w->n_sent += n;
		fds_close(w);
	}
	return true;
}

// 1: something was read, 0: there is nothing, -1: the end.
static int way_receive(struct way *w)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
	struct iovec v = {w->bytes, sizeof(w->bytes)};
	struct msghdr m = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(w->from, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		w->n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(w->fds, CMSG_DATA(c), w->n_fds * sizeof(int));
	}
	w->n_bytes = n > 0 ? n : 0;
	w->n_sent = 0;
	return n > 0 && !(m.msg_flags & MSG_CTRUNC) ? 1 : -1;
}

static void readable(int fd, void *way);

static void way_go(struct way *w)
{
	if (w->watch == NULL)
		w->watch = watch_start("vhost-user relay", w->from, readable, w);
	if (w->watch == NULL)
		end(w->relay);
}

static void retry_due(void *way)
{
	struct way *w = way;

	w->retry = NULL;
	if (way_send(w))
		way_go(w);
	else
		w->retry = timer_start("vhost-user relay", RETRY_US, 0, retry_due, w);
}

static bool has_turn(struct way *w)
{
	uint64_t now = time_ns();

	if (now - w->since_ns > TURN_NS) {
		w->since_ns = now;
		w->n_turns = 0;
	}
	return w->n_turns++ < TURNS;
}

static void readable(int fd, void *way)
{
	struct way *w = way;
	int rc = way_receive(w);

	(void)fd;
	if (rc < 0) {
		end(w->relay);
	} else if (rc > 0 && (!way_send(w) || !has_turn(w))) {
		watch_stop(w->watch);
		w->watch = NULL;
		w->retry = timer_start("vhost-user relay", RETRY_US, 0, retry_due, w);
	}
}

struct relay *relay_start(int front, int back)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		close(front);
		close(back);
		return NULL;
	}
	fcntl(front, F_SETFL, O_NONBLOCK);
	fcntl(back, F_SETFL, O_NONBLOCK);
	r->up = (struct way){.relay = r, .from = front, .to = back};
	r->down = (struct way){.relay = r, .from = back, .to = front};
	way_go(&r->up);
	way_go(&r->down);
	return r;
}

bool relay_is_quiet(struct relay *r)
{
	int n = 0;

	if (r->over || r->up.n_sent < r->up.n_bytes || r->down.n_sent < r->down.n_bytes)
		return false;
	while (way_receive(&r->down) > 0)
		if (!way_send(&r->down))
			return false;
	return ioctl(r->up.to, SIOCOUTQ, &n) == 0 && n == 0;
}

int relay_front(const struct relay *r)
{
	return r->over ? -1 : r->up.from;
}

void relay_free(struct relay *r)
{
	if (r == NULL)
		return;
	fds_close(&r->up);
	fds_close(&r->down);
	close(r->up.from);
	close(r->up.to);
	free(r);
}
