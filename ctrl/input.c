// Reading a client's descriptor to its end.
//
// A file is read by a job, since a disk can be slow. A pipe, a terminal or a socket is read here as
// bytes come: one that never ends would hold up the jobs. Control thread, file_read() jobs thread.
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/jobs.h"
#include "api/timer.h"
#include "must.h"
#include "tube.h"

#define CHUNK 65536

struct input {
	struct tube from; // a regular file, too: its descriptor
	size_t max_bytes;
	char *text;
	size_t n, room;
	struct err e;
	bool cancelled;
	struct watch *watch;
	void (*done)(char *text, size_t n, const struct err *e, void *arg);
	void *arg;
};

// One read: 1 = there may be more, 0 = end, or a negative errno.
static int chunk_read(struct input *in)
{
	ssize_t n;

	if (in->room - in->n < CHUNK) {
		in->room = in->room * 2 + CHUNK;
		in->text = must(realloc(in->text, in->room));
	}
	n = in->watch ? tube_read(&in->from, in->text + in->n, CHUNK)
		      : read(in->from.fd, in->text + in->n, CHUNK);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 1;
	if (n < 0)
		return err_set(&in->e, -errno, "the file cannot be read: %s", err_name(errno));
	in->n += (size_t)n;
	if (in->n > in->max_bytes)
		return err_set(&in->e, -EFBIG, "the file is larger than %zu MiB", in->max_bytes >> 20);
	return n > 0;
}

static void input_free(struct input *in)
{
	watch_stop(in->watch);
	if (in->from.fd >= 0)
		close(in->from.fd);
	free(in->text);
	free(in);
}

static void input_done(void *arg)
{
	struct input *in = arg;

	if (!in->cancelled) {
		in->done(in->e.code ? NULL : in->text, in->n, &in->e, in->arg);
		if (!in->e.code)
			in->text = NULL;
	}
	input_free(in);
}

static void file_read(void *arg)
{
	while (chunk_read(arg) > 0)
		;
}

static void tube_ready(int fd, void *arg)
{
	(void)fd;
	if (chunk_read(arg) <= 0)
		input_done(arg);
}

struct input *input_start(int fd, size_t max_bytes,
			  void (*done)(char *text, size_t n, const struct err *e, void *arg), void *arg)
{
	struct input *in = must(calloc(1, sizeof(*in)));
	struct err why = {0};
	struct stat st;

	*in = (struct input){.from.fd = -1, .max_bytes = max_bytes, .done = done, .arg = arg};
	if (fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
		in->from.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		job_run("input", file_read, input_done, in);
	} else if (tube_open(&in->from, fd, O_RDONLY, &why) < 0) {
		err_set(&in->e, why.code, "the file cannot be read: %s", why.text);
		control_post("input", input_done, in);
	} else {
		in->watch = watch_start("input", in->from.fd, tube_ready, in);
		if (!in->watch) {
			err_set(&in->e, -EINVAL, "the file is no regular file, pipe, terminal or socket");
			control_post("input", input_done, in);
		}
	}
	return in;
}

void input_cancel(struct input *in)
{
	if (in->watch)
		input_free(in);
	else
		in->cancelled = true;
}
