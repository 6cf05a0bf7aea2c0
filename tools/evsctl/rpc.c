// Talks to the daemon: connect, send a request with its descriptors, wait for the answer.
//
// A daemon may be gone, stuck, or not be ours at all: every wait has an end, every message a bound,
// and whatever else arrives than an answer becomes one sentence. A call may rightly take long, so
// after a silence a second connection finds out whether the daemon still answers anybody.
#include "rpc.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	MAX_REQUEST = 1 << 20, // the daemon's limit
	MAX_ANSWER = 256 << 20,
	MAX_FDS = 8,
};

static int connect_failed(const char *path, int errnum, struct err *e)
{
	switch (errnum) {
	case ENOENT:
	case ECONNREFUSED:
	case ENOTSOCK:
	case ENOTDIR:
		return err_set(e, -errnum, "no daemon at %s: %s; start evswitchd or give -s SOCKET", path,
			       err_name(errnum));
	case EACCES:
	case EPERM:
		return err_set(e, -errnum,
			       "cannot connect to %s: %s; be root or a member of the socket's group", path,
			       err_name(errnum));
	case EAGAIN:
		return err_set(e, -errnum,
			       "the daemon at %s accepts no connection; it may be stuck, see its log", path);
	default:
		return err_set(e, -errnum, "cannot connect to %s: %s", path, err_name(errnum));
	}
}

int rpc_open(struct rpc *c, const char *path, int silence_ms, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval tv = {.tv_sec = silence_ms / 1000, .tv_usec = silence_ms % 1000 * 1000};

	*c = (struct rpc){.path = path, .fd = -1, .silence_ms = silence_ms};
	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, -ENAMETOOLONG, "socket path %s is longer than %zu bytes; use a shorter one",
			       path, sizeof(sa.sun_path) - 1);
	strcpy(sa.sun_path, path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return err_set(e, -errno, "cannot make a socket: %s", err_name(errno));
	// Bounds connect() too, which waits while the daemon's backlog is full.
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return 0;
	connect_failed(path, errno, e);
	rpc_close(c);
	return e->code;
}

void rpc_close(struct rpc *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	*c = (struct rpc){.fd = -1};
}

// The descriptors travel with the first bytes.
static ssize_t send_first(int fd, const char *text, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)text, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, n_fds * sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static int send_line(struct rpc *c, const char *text, size_t len, const int *fds, size_t n_fds, struct err *e)
{
	while (len > 0) {
		ssize_t n = send_first(c->fd, text, len, fds, n_fds);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return err_set(e, -EAGAIN,
				       "the daemon at %s reads nothing; it may be stuck, see its log",
				       c->path);
		if (n < 0)
			return err_set(e, -errno, "lost the daemon at %s: %s", c->path, err_name(errno));
		text += n;
		len -= n;
		n_fds = 0;
	}
	return 0;
}

static int send_request(struct rpc *c, const struct call *call, struct err *e)
{
	json_t *o = json_pack("{ss sI ss sO*}", "jsonrpc", "2.0", "id", (json_int_t)++c->last_id, "method",
			      call->method, "params", call->params);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	int rc;

	if (!text)
		rc = err_set(e, -ENOMEM, "out of memory for the request");
	else if (len >= MAX_REQUEST)
		rc = err_set(e, -EMSGSIZE, "the request has %zu bytes, the daemon takes 1 MiB", len);
	else if (call->n_fds > MAX_FDS)
		rc = err_set(e, -E2BIG, "the request opens %zu files, the daemon takes %d", call->n_fds,
			     MAX_FDS);
	else {
		text[len] = '\n'; // json_dumps() ended it with a zero byte that is not needed
		rc = send_line(c, text, len + 1, call->fds, call->n_fds, e);
	}
	free(text);
	json_decref(o);
	return rc;
}

static int buffer_room(struct rpc *c, struct err *e)
{
	if (c->start > 0) {
		memmove(c->buf, c->buf + c->start, c->end - c->start);
		c->end -= c->start;
		c->start = 0;
	}
	if (c->end < c->size)
		return 0;
	if (c->size >= MAX_ANSWER)
		return err_set(e, -EMSGSIZE, "%s sends more than %d MiB without an end of line; ask for less",
			       c->path, MAX_ANSWER >> 20);
	size_t size = c->size ? c->size * 2 : 1 << 16;
	char *buf = realloc(c->buf, size);
	if (!buf)
		return err_set(e, -ENOMEM, "out of memory for the daemon's answer of more than %zu bytes",
			       c->size);
	c->buf = buf;
	c->size = size;
	return 0;
}

// -ETIMEDOUT (with no sentence) after a silence; timeout_ms -1 = waits for ever.
static int receive_bytes(struct rpc *c, int timeout_ms, struct err *e)
{
	struct pollfd pfd = {.fd = c->fd, .events = POLLIN};
	int rc = poll(&pfd, 1, timeout_ms);
	ssize_t n;

	if (rc == 0)
		return -ETIMEDOUT;
	if (rc < 0)
		return errno == EINTR ? 0
				      : err_set(e, -errno, "cannot wait for the daemon: %s", err_name(errno));
	if (buffer_room(c, e) < 0)
		return e->code;
	n = recv(c->fd, c->buf + c->end, c->size - c->end, 0);
	if (n == 0)
		return err_set(e, -EPIPE, "the daemon at %s closed the connection; see its log", c->path);
	if (n < 0)
		return err_set(e, -errno, "lost the daemon at %s: %s", c->path, err_name(errno));
	c->end += n;
	return 0;
}

// The next message; NULL with a sentence, or with e->code -ETIMEDOUT and none.
static json_t *receive(struct rpc *c, int timeout_ms, struct err *e)
{
	size_t seen = 0;
	char *end;

	while (!(end = c->end > c->start + seen
			   ? memchr(c->buf + c->start + seen, '\n', c->end - c->start - seen)
			   : NULL)) {
		seen = c->end - c->start;
		int rc = receive_bytes(c, timeout_ms, e);
		if (rc < 0) {
			e->code = rc;
			return NULL;
		}
	}
	size_t len = end - (c->buf + c->start);
	json_t *o = json_loadb(c->buf + c->start, len, 0, NULL);
	if (!json_is_object(o)) {
		err_set(e, -EPROTO,
			"%s sent something that is not JSON-RPC: %.*s%s; is it evswitchd's socket?", c->path,
			(int)(len < 40 ? len : 40), c->buf + c->start, len > 40 ? "..." : "");
		json_decref(o);
		o = NULL;
	}
	c->start += len + 1;
	return o;
}

static bool is_answered(const char *path, int silence_ms)
{
	json_t *params = json_pack("{ss}", "object", "system"), *m = NULL;
	struct call call = {.method = "system.methods", .params = params};
	struct err e = {0};
	struct rpc c;

	if (rpc_open(&c, path, silence_ms, &e) == 0 && send_request(&c, &call, &e) == 0)
		m = receive(&c, silence_ms, &e);
	rpc_close(&c);
	json_decref(params);
	json_decref(m);
	return m != NULL;
}

// The next message, waiting as long as the daemon shows signs of life.
static json_t *receive_patiently(struct rpc *c, bool stream, struct err *e)
{
	for (;;) {
		json_t *m = receive(c, stream ? -1 : c->silence_ms, e);
		if (m || e->code != -ETIMEDOUT)
			return m;
		if (is_answered(c->path, c->silence_ms)) {
			*e = (struct err){0};
			continue;
		}
		err_set(e, -ETIMEDOUT,
			"the daemon at %s has not answered for %d s; it may be stuck, see its log", c->path,
			c->silence_ms / 1000);
		return NULL;
	}
}

static enum outcome answer_read(const struct rpc *c, const json_t *m, json_t **result, struct err *e)
{
	const json_t *error = json_object_get(m, "error");
	const char *why = json_string_value(json_object_get(error, "message"));

	*result = json_incref(json_object_get(m, "result"));
	if (why) {
		err_set(e, -EREMOTEIO, "%s", why);
		return OUTCOME_REFUSED;
	}
	if (*result)
		return OUTCOME_OK;
	err_set(e, -EPROTO, "%s sent an answer with neither result nor error; is it evswitchd's socket?",
		c->path);
	return OUTCOME_FAILED;
}

enum outcome rpc_call(struct rpc *c, const struct call *call, json_t **result, struct err *e)
{
	bool answered = false;

	*result = NULL;
	// A daemon that takes no more clients says so and closes, maybe before it has read anything.
	if (send_request(c, call, e) < 0 && e->code != -EPIPE)
		return OUTCOME_FAILED;
	*e = (struct err){0};
	for (;;) {
		json_t *m = receive_patiently(c, call->stream, e);
		if (!m)
			return OUTCOME_FAILED;
		const char *method = json_string_value(json_object_get(m, "method"));
		const json_t *id = json_object_get(m, "id");
		enum outcome out = OUTCOME_OK;

		if (method && call->notify)
			call->notify(method, json_object_get(m, "params"), call->arg);
		// An error without an id answers a request that the daemon could not read.
		if (!method && (json_integer_value(id) == c->last_id || !json_is_integer(id))) {
			json_decref(*result);
			out = answer_read(c, m, result, e);
			answered = true;
		}
		json_decref(m);
		if (answered && (out != OUTCOME_OK || !call->stream))
			return out;
	}
}

bool rpc_closed_within(struct rpc *c, int ms)
{
	struct pollfd pfd = {.fd = c->fd, .events = POLLRDHUP};

	return poll(&pfd, 1, ms) > 0;
}
