// Writing to a client's descriptor.
//
// A file is written by a job, since a disk can be slow. A pipe, a terminal or a socket is written here as it takes
// bytes: one that nobody reads would hold up the jobs. Control thread, file_write() jobs thread.
#include "output.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/jobs.h"
#include "loop.h"
#include "must.h"

struct output {
	int fd; // our own
	char *text;
	size_t n, at;
	struct err e;
	bool cancelled;
	struct event *writable; // NULL = by a job
	void (*done)(const struct err *e, void *arg);
	void *arg;
};

static void output_free(struct output *out)
{
	if (out->writable)
		event_free(out->writable);
	if (out->fd >= 0)
		close(out->fd);
	free(out->text);
	free(out);
}

static void output_done(void *arg)
{
	struct output *out = arg;

	if (!out->cancelled)
		out->done(&out->e, out->arg);
	output_free(out);
}

static void failed(struct output *out)
{
	err_set(&out->e, -errno, "the file cannot be written: %s", err_name(errno));
}

// One write: true = there is more to do.
static bool chunk_write(struct output *out, size_t max)
{
	size_t left = out->n - out->at;
	ssize_t n = write(out->fd, out->text + out->at, left < max ? left : max);

	if (n < 0 && errno != EINTR && errno != EAGAIN) {
		failed(out);
		return false;
	}
	out->at += n > 0 ? (size_t)n : 0;
	return out->at < out->n;
}

static void file_write(void *arg)
{
	struct output *out = arg;

	while (chunk_write(out, SSIZE_MAX))
		;
}

// A pipe that is ready takes so many bytes without waiting.
static void stream_write(evutil_socket_t fd, short what, void *arg)
{
	struct loop_mark mark = loop_enter();
	struct output *out = arg;
	struct pollfd ready = {.fd = fd, .events = POLLOUT};

	(void)what;
	// another writer of the same pipe may have been faster
	bool more = poll(&ready, 1, 0) != 1 || chunk_write(out, PIPE_BUF);

	if (!more)
		output_done(out);
	loop_leave("output", mark);
}

struct output *output_start(int fd, char *text, size_t n, void (*done)(const struct err *e, void *arg),
			    void *arg)
{
	struct output *out = must(calloc(1, sizeof(*out)));
	struct stat st;

	*out = (struct output){.text = text, .n = n, .done = done, .arg = arg};
	out->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (out->fd < 0 || fstat(out->fd, &st) < 0) {
		failed(out);
		control_post("output", output_done, out);
	} else if (S_ISREG(st.st_mode)) {
		job_run("output", file_write, output_done, out);
	} else {
		out->writable = event_new(loop_base(), out->fd, EV_WRITE | EV_PERSIST, stream_write, out);
		if (!out->writable || event_add(out->writable, NULL) != 0) {
			err_set(&out->e, -EINVAL, "the file is no regular file, pipe, terminal or socket");
			control_post("output", output_done, out);
		}
	}
	return out;
}

void output_cancel(struct output *out)
{
	if (out->writable && !out->e.code)
		output_free(out);
	else
		out->cancelled = true;
}
