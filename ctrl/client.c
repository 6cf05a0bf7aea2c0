// One connection: collects bytes into lines, gives one line after the other to dispatch, and sends
// what is answered.
//
// A client's turn takes one line or one step of a long answer, so that a busy client shares the
// control thread with the others. A client that does not read is given no work; one that keeps a full
// buffer unread for a minute is closed. Control thread.
#include "client.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ctrl/api/log.h"
#include "dispatch.h"
#include "loop.h"

#define READ_BYTES      (64 << 10)
#define MAX_SMALL_INPUT (64 << 10) // this much every client may have
#define MAX_INPUT       (64 << 20) // unfinished larger requests, all clients together
#define SEND_IOVECS     16
#define MAX_FDS_AT_ONCE (REQUEST_MAX_FDS + 1) // one more than is allowed, to see that there were more

struct client *client_list;
unsigned n_clients;
static size_t n_input_bytes; // allocated by all clients

bool client_has_room(const struct client *c)
{
	return evbuffer_get_length(c->out) + evbuffer_get_length(c->notes) < CLIENT_FULL_BYTES;
}

void client_wake(struct client *c)
{
	static const struct timeval now = {0};

	event_add(c->turn_event, &now);
}

// Output

static void line_add(struct client *c, struct evbuffer *to, const json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);

	if (text)
		evbuffer_add_printf(to, "%s\n", text);
	free(text);
	client_wake(c);
}

void client_note(struct client *c, const json_t *message)
{
	line_add(c, c->mid_answer ? c->notes : c->out, message);
}

void client_error(struct client *c, const json_t *id, int code, const char *text)
{
	json_t *message = json_pack("{ss sO? s{si ss}}", "jsonrpc", "2.0", "id", (json_t *)id, "error",
				    "code", code, "message", text);

	line_add(c, c->out, message);
	json_decref(message);
}

void client_answered(struct client *c)
{
	c->request = NULL;
	c->mid_answer = false;
	evbuffer_add_buffer(c->out, c->notes);
	client_wake(c);
}

void client_stream_add(struct client *c, struct request *rq)
{
	rq->next = c->streams;
	c->streams = rq;
	c->n_streams++;
}

void client_stream_del(struct client *c, struct request *rq)
{
	for (struct request **p = &c->streams; *p; p = &(*p)->next)
		if (*p == rq) {
			*p = rq->next;
			c->n_streams--;
			return;
		}
}

bool client_send(struct client *c)
{
	struct evbuffer_iovec v[SEND_IOVECS];
	int n = evbuffer_peek(c->out, -1, NULL, v, SEND_IOVECS);
	// evbuffer's iovec is the system's
	struct msghdr m = {.msg_iov = (struct iovec *)v,
			   .msg_iovlen = (size_t)(n < SEND_IOVECS ? n : SEND_IOVECS)};

	if (n <= 0)
		return true;
	ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
	evbuffer_drain(c->out, (size_t)sent);
	c->stall_ns = 0;
	return true;
}

// Input

static size_t input_len(const struct client *c)
{
	return c->in_end - c->in_start;
}

static void input_resize(struct client *c, char *in, size_t size)
{
	n_input_bytes += size - c->in_size;
	c->in = in;
	c->in_size = size;
}

// Moves what is left to the front; an idle client holds no memory.
static void input_compact(struct client *c)
{
	size_t len = input_len(c);

	if (len)
		memmove(c->in, c->in + c->in_start, len);
	c->in_pos += c->in_start;
	c->in_scanned = c->in_scanned > c->in_start ? c->in_scanned - c->in_start : 0;
	c->in_start = 0;
	c->in_end = len;
	if (!len) {
		free(c->in);
		input_resize(c, NULL, 0);
	}
}

static int input_reserve(struct client *c, size_t len)
{
	size_t size = c->in_size ? c->in_size : 1024;

	if (c->in_end + len <= c->in_size)
		return 0;
	if (c->in_start)
		input_compact(c);
	while (size < c->in_end + len)
		size *= 2;
	if (size <= c->in_size)
		return 0;
	if (size > MAX_SMALL_INPUT && n_input_bytes + size > MAX_INPUT)
		return -ENOMEM;
	char *in = realloc(c->in, size);
	if (!in)
		return -ENOMEM;
	input_resize(c, in, size);
	return 0;
}

// Refuses what the client sends from here on; it is closed when it has read why.
static void input_refuse(struct client *c, const char *why)
{
	client_error(c, NULL, RPC_INVALID_REQUEST, why);
	c->closing = true;
}

int client_input(struct client *c, const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
	bool too_many = c->n_in_fds + n_fds > CLIENT_MAX_FDS;
	int rc = input_reserve(c, len);

	for (unsigned i = 0; i < n_fds; i++) {
		if (rc || too_many || !len)
			close(fds[i]);
		else
			c->in_fds[c->n_in_fds++] =
			    (struct client_fd){.fd = fds[i], .pos = c->in_pos + c->in_end + len - 1};
	}
	if (rc) {
		input_refuse(c, "too many unfinished requests are held in memory, try again later");
		return rc;
	}
	memcpy(c->in + c->in_end, bytes, len);
	c->in_end += len;
	if (too_many)
		input_refuse(c, "too many descriptors came for requests that have not begun");
	return 0;
}

// The next line's length with its newline, 0 if it is not complete.
static size_t line_find(struct client *c)
{
	if (c->in_scanned < c->in_start)
		c->in_scanned = c->in_start;
	if (!input_len(c))
		return 0;
	const char *end = memchr(c->in + c->in_scanned, '\n', c->in_end - c->in_scanned);
	c->in_scanned = end ? (size_t)(end - c->in) : c->in_end;
	return end ? (size_t)(end - c->in) + 1 - c->in_start : 0;
}

// The descriptors whose last byte is in the line: they came with it. Returns how many, at most `max`;
// those beyond are closed, but counted.
static unsigned fds_take(struct client *c, uint64_t line_end, int *fds, unsigned max)
{
	unsigned n = 0, n_kept = 0;

	for (unsigned i = 0; i < c->n_in_fds; i++) {
		struct client_fd f = c->in_fds[i];
		if (f.pos >= line_end)
			c->in_fds[n_kept++] = f;
		else if (n < max)
			fds[n++] = f.fd;
		else
			close(f.fd);
	}
	c->n_in_fds = n_kept;
	return n;
}

static bool is_blank(const char *line, size_t len)
{
	while (len && strchr(" \t\r\n", line[len - 1]) && line[len - 1])
		len--;
	return len == 0;
}

static void line_take(struct client *c, size_t len)
{
	int fds[MAX_FDS_AT_ONCE];
	const char *line = c->in + c->in_start;

	c->in_start += len;
	unsigned n = fds_take(c, c->in_pos + c->in_start, fds, MAX_FDS_AT_ONCE);
	if (!is_blank(line, len))
		dispatch_line(c, line, len, fds, n);
	else
		while (n)
			close(fds[--n]);
	if (!input_len(c))
		input_compact(c);
}

static unsigned fds_of(struct msghdr *m, int *fds)
{
	unsigned n = 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		size_t len = h->cmsg_len - CMSG_LEN(0);
		memcpy(fds + n, CMSG_DATA(h), len);
		n += (unsigned)(len / sizeof(int));
	}
	return n;
}

// Returns false when the other side has gone.
static bool input_receive(struct client *c)
{
	static char bytes[READ_BYTES];
	// the kernel drops what finds no room here, and stops reading behind the bytes that brought some
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS_AT_ONCE * sizeof(int))];
	int fds[sizeof(control) / sizeof(int)];
	struct iovec v = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr m = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n > 0) {
		client_input(c, bytes, (size_t)n, fds, fds_of(&m, fds));
		return true;
	}
	// It may only have ended its sending half and still read.
	struct pollfd p = {.fd = c->fd};
	c->eof = true;
	return poll(&p, 1, 0) == 0;
}

// Turns

static bool wants_turn(struct client *c)
{
	if (!client_has_room(c))
		return false;
	if (c->request)
		return c->request->step != NULL;
	return !c->closing && (line_find(c) || input_len(c) > CLIENT_MAX_REQUEST);
}

// What the loop shall wait for now. Closes a client that has nothing more to do.
static void client_settle(struct client *c)
{
	bool has_output = evbuffer_get_length(c->out) > 0;
	bool has_turn = wants_turn(c);
	bool at_end = c->closing || (c->eof && !has_turn && !c->request && !c->streams);

	if (at_end && !has_output) {
		client_close(c);
		return;
	}
	if (has_output)
		event_add(c->write_event, NULL);
	if (has_turn)
		client_wake(c);
	if (c->eof || c->closing || input_len(c) > CLIENT_MAX_REQUEST)
		event_del(c->read_event);
	else
		event_add(c->read_event, NULL);
}

void client_turn(struct client *c)
{
	if (wants_turn(c)) {
		size_t len = c->request ? 0 : line_find(c);
		if (c->request)
			request_step(c->request);
		else if (len && len <= CLIENT_MAX_REQUEST)
			line_take(c, len);
		else
			input_refuse(c, "the request is longer than 1 MiB; send long data as a descriptor");
	}
	client_settle(c);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct loop_mark mark = loop_enter();

	(void)fd, (void)what;
	client_turn(arg);
	loop_leave("client's turn", mark);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct loop_mark mark = loop_enter();
	struct client *c = arg;

	(void)fd, (void)what;
	if (input_receive(c))
		client_turn(c);
	else
		client_close(c);
	loop_leave("client's input", mark);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct loop_mark mark = loop_enter();
	struct client *c = arg;

	(void)fd, (void)what;
	if (!client_send(c)) {
		client_close(c);
	} else {
		if (evbuffer_get_length(c->out) < CLIENT_FULL_BYTES / 2)
			for (struct request *rq = c->streams; rq; rq = rq->next)
				request_drained(rq);
		client_settle(c);
	}
	loop_leave("client's output", mark);
}

void client_check_stall(struct client *c, uint64_t now_ns)
{
	if (client_has_room(c) && !c->closing) {
		c->stall_ns = 0;
	} else if (!c->stall_ns) {
		c->stall_ns = now_ns;
	} else if (now_ns - c->stall_ns > CLIENT_STALL_NS) {
		log_info("client of user %u (process %d) has not read its answers for a minute, closed",
			 c->uid, c->pid);
		client_close(c);
	}
}

// Life

static void client_free(struct client *c)
{
	struct event *events[] = {c->read_event, c->write_event, c->turn_event};

	for (unsigned i = 0; i < 3; i++)
		if (events[i])
			event_free(events[i]);
	if (c->out)
		evbuffer_free(c->out);
	if (c->notes)
		evbuffer_free(c->notes);
	free(c->in);
	free(c);
}

struct client *client_create(int fd, uid_t uid, pid_t pid, bool writer)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->fd = fd;
	c->uid = uid;
	c->pid = pid;
	c->writer = writer;
	c->read_event = event_new(loop_base(), fd, EV_READ | EV_PERSIST, on_readable, c);
	c->write_event = event_new(loop_base(), fd, EV_WRITE, on_writable, c);
	c->turn_event = evtimer_new(loop_base(), on_turn, c);
	c->out = evbuffer_new();
	c->notes = evbuffer_new();
	if (!c->read_event || !c->write_event || !c->turn_event || !c->out || !c->notes ||
	    event_add(c->read_event, NULL) != 0) {
		client_free(c);
		return NULL;
	}
	c->next = client_list;
	c->link = &client_list;
	if (c->next)
		c->next->link = &c->next;
	client_list = c;
	n_clients++;
	return c;
}

void client_close(struct client *c)
{
	struct request *rq = c->request, *next;

	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	n_clients--;
	if (rq)
		request_client_gone(rq);
	for (rq = c->streams; rq; rq = next) {
		next = rq->next;
		request_client_gone(rq);
	}
	while (c->n_in_fds)
		close(c->in_fds[--c->n_in_fds].fd);
	n_input_bytes -= c->in_size;
	int fd = c->fd;
	client_free(c); // takes its events out of the loop first
	close(fd);
}
