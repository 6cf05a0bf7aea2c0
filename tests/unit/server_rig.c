// The control server under test, its methods and its clients. One thread: the control thread.
#include "server_rig.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctrl/event.h"
#include "ctrl/loop.h"
#include "ctrl/methods.h"
#include "ctrl/server.h"

// The methods of this test

struct request *held;
unsigned n_writes, n_gone, n_released, n_steps;

int echo_call(struct request *rq, struct err *e)
{
	(void)e;
	rq_result(rq, rq_params(rq, NULL));
	return 0;
}

static int refuse_call(struct request *rq, struct err *e)
{
	rq_row(rq, json_pack("{si}", "n", 1));
	return err_set(e, -EBUSY, "port vm1: is \"busy\"\n");
}

static int write_call(struct request *rq, struct err *e)
{
	(void)rq, (void)e;
	n_writes++;
	return 0;
}

static void held_gone(struct request *rq, void *arg)
{
	ck_assert_ptr_eq(rq, held);
	ck_assert_ptr_eq(arg, &n_gone);
	n_gone++;
}

static int later_call(struct request *rq, struct err *e)
{
	(void)e;
	held = rq;
	return rq_later(rq, held_gone, &n_gone);
}

// Rows 0..n-1, 100 a step; `fail` = the row at which it fails, -1 = never.
struct many {
	int64_t next, n, fail;
};

static int many_step(struct request *rq, void *state, struct err *e)
{
	struct many *m = state;

	n_steps++;
	rq_progress(rq, (uint64_t)m->next, (uint64_t)m->n);
	for (int i = 0; i < 100 && m->next < m->n; i++) {
		if (m->next == m->fail)
			return err_set(e, -EIO, "many: row %d cannot be read", (int)m->next);
		rq_row(rq, json_pack("{sIss}", "n", (json_int_t)m->next++, "text",
				     "some text that fills the row"));
	}
	return m->next < m->n;
}

static void many_release(void *state)
{
	n_released++;
	free(state);
}

static int many_call(struct request *rq, struct err *e)
{
	struct many *m = malloc(sizeof(*m));

	(void)e;
	*m = (struct many){0, rq_int(rq, "n"), rq_has(rq, "fail") ? rq_int(rq, "fail") : -1};
	return rq_more(rq, many_step, m, many_release);
}

static int copy_call(struct request *rq, struct err *e)
{
	char buf[64];
	ssize_t n = read(rq_fd(rq, "in"), buf, sizeof(buf));

	if (n < 0 || write(rq_fd(rq, "out"), buf, (size_t)n) != n)
		return err_set(e, -errno, "copy: %s", err_name(errno));
	rq_result(rq, json_integer(n));
	return 0;
}

static const struct param echo_params[] = {
    {.name = "text", .type = PARAM_STRING, .flags = PARAM_POSITIONAL},
    {.name = "rate", .type = PARAM_RATE, .max = 1000000000000},
    {0},
};
static const struct param write_params[] = {
    {.name = "name", .type = PARAM_NAME, .flags = PARAM_REQUIRED | PARAM_POSITIONAL}, {0}};
static const struct param many_params[] = {{.name = "n", .type = PARAM_INT, .help = "rows", .def = "1000"},
					   {.name = "fail", .type = PARAM_INT},
					   {0}};
static const struct param copy_params[] = {{.name = "in", .type = PARAM_INPUT, .flags = PARAM_REQUIRED},
					   {.name = "out", .type = PARAM_OUTPUT, .flags = PARAM_REQUIRED},
					   {0}};
static const struct column n_columns[] = {{"n", "a number", NULL}, {0}};
static const struct method test_methods[] = {
    {.name = "t.echo", .help = "h", .params = echo_params, .call = echo_call},
    {.name = "t.refuse", .help = "h", .columns = n_columns, .call = refuse_call},
    {.name = "t.write", .help = "h", .params = write_params, .flags = METHOD_WRITE, .call = write_call},
    {.name = "t.later", .help = "h", .call = later_call},
    {.name = "t.many", .help = "h", .params = many_params, .columns = n_columns, .call = many_call},
    {.name = "t.copy", .help = "h", .params = copy_params, .call = copy_call},
    {0},
};
const struct module test_module = {.name = "test", .methods = test_methods};
static const struct module *const test_modules[] = {&test_module, &event_module, &methods_module, NULL};

// The server and its clients

char server_dir[64], server_path[96];
static struct timer *tick;

static void nothing(void *arg)
{
	(void)arg;
}

void server_setup(void)
{
	struct err e = {0};

	strcpy(server_dir, "/tmp/evs-server-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(server_dir));
	snprintf(server_path, sizeof(server_path), "%s/control.sock", server_dir);
	ck_assert_msg(loop_init(&e) == 0 && methods_init(test_modules, &e) == 0, "%s", e.text);
	tick = timer_start("tick", 1000, 1000, nothing, NULL); // no turn of the loop waits for long
	ck_assert_msg(server_start(server_dir, &e) == 0, "%s", e.text);
}

void server_teardown(void)
{
	server_stop();
	timer_stop(tick);
	methods_fini();
	loop_fini();
	ck_assert_int_eq(access(server_path, F_OK), -1);
	unlink(server_path);
	rmdir(server_dir);
}

int dial(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", server_path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

void say(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		} else {
			ck_assert_int_eq(errno, EAGAIN);
			loop_turn();
		}
	}
}

// The next line and no byte behind it; "" = the server has closed.
const char *hear(int fd)
{
	static char line[1 << 16];
	size_t len = 0;

	for (;;) {
		ssize_t n = recv(fd, line + len, sizeof(line) - len, MSG_PEEK);
		if (n < 0 && errno == EAGAIN) {
			loop_turn();
			continue;
		}
		if (n <= 0)
			return "";
		char *end = memchr(line + len, '\n', (size_t)n);
		if (end)
			n = end + 1 - (line + len);
		ck_assert_int_eq(recv(fd, line + len, (size_t)n, 0), n);
		len += (size_t)n;
		ck_assert_uint_lt(len, sizeof(line));
		if (end) {
			*end = '\0';
			return line;
		}
	}
}

const char *ask(int fd, const char *text)
{
	say(fd, text);
	return hear(fd);
}

void expect_error(const char *line, int code, const char *part)
{
	char want[32];

	snprintf(want, sizeof(want), "\"code\":%d,", code);
	ck_assert_msg(strstr(line, want) && strstr(line, part), "%s", line);
}

struct client *the_client(void)
{
	ck_assert_uint_eq(n_clients, 1);
	return client_list;
}

void turn_until_clients(unsigned n)
{
	while (n_clients != n)
		loop_turn();
}
