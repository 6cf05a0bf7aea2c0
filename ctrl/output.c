// Writing to a client's descriptor.
//
// A file is written by a job, since a disk can be slow. A pipe, a terminal or a socket is written here as it takes
// bytes: one that nobody reads would hold up the jobs. Control thread, file_write() jobs thread.
#include "output.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/jobs.h"
#include "loop.h"
#include "must.h"
#include "tube.h"

struct output {
	struct tube to; // a regular file, too: its descriptor
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
	if (out->to.fd >= 0)
		close(out->to.fd);
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
static bool chunk_write(struct output *out)
{
	const char *from = out->text + out->at;
	size_t left = out->n - out->at;
	ssize_t n = out->writable ? tube_write(&out->to, from, left) : write(out->to.fd, from, left);

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

	while (chunk_write(out))
		;
}

static void tube_ready(evutil_socket_t fd, short what, void *arg)
{
	struct loop_mark mark = loop_enter();
	struct output *out = arg;

	(void)fd, (void)what;
	if (!chunk_write(out))
		output_done(out);
	loop_leave("output", mark);
}

struct output *output_start(int fd, char *text, size_t n, void (*done)(const struct err *e, void *arg),
			    void *arg)
{
	struct output *out = must(calloc(1, sizeof(*out)));
	struct err why = {0};
	struct stat st;

	*out = (struct output){.to.fd = -1, .text = text, .n = n, .done = done, .arg = arg};
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		out->to.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		job_run("output", file_write, output_done, out);
	} else if (tube_open(&out->to, fd, O_WRONLY, &why) < 0) {
		err_set(&out->e, why.code, "the file cannot be written: %s", why.text);
		control_post("output", output_done, out);
	} else {
		out->writable = event_new(loop_base(), out->to.fd, EV_WRITE | EV_PERSIST, tube_ready, out);
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
