// The control server on a real socket, in one thread: the test plays the clients between turns of
// the loop.
#include <check.h>
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctrl/client.h"
#include "ctrl/event.h"
#include "ctrl/loop.h"
#include "ctrl/methods.h"
#include "ctrl/peer.h"
#include "ctrl/request.h"
#include "ctrl/server.h"

// The methods of this test

static struct request *held, *hooked; // by t.later, by the write hook
static unsigned n_writes, n_gone, n_released, n_steps;

static int echo_call(struct request *rq, struct err *e)
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
static const struct module test_module = {.name = "test", .methods = test_methods};
static const struct module *const test_modules[] = {&test_module, &event_module, &methods_module, NULL};

// The server and its clients

static char dir[64], path[96];
static struct timer *tick;

static void nothing(void *arg)
{
	(void)arg;
}

static void setup(void)
{
	struct err e = {0};

	strcpy(dir, "/tmp/evs-server-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/control.sock", dir);
	ck_assert_msg(loop_init(&e) == 0 && methods_init(test_modules, &e) == 0, "%s", e.text);
	tick = timer_start("tick", 1000, 1000, nothing, NULL); // no turn of the loop waits for long
	ck_assert_msg(server_start(dir, &e) == 0, "%s", e.text);
}

static void teardown(void)
{
	server_stop();
	timer_stop(tick);
	methods_fini();
	loop_fini();
	ck_assert_int_eq(access(path, F_OK), -1);
	unlink(path);
	rmdir(dir);
}

static int dial(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void say(int fd, const char *text)
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

static void say_with_fds(int fd, const char *text, const int *fds, size_t n)
{
	char control[CMSG_SPACE(16 * sizeof(int))] = {0};
	struct iovec v = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(h), fds, n * sizeof(int));
	ck_assert_int_eq(sendmsg(fd, &m, 0), (ssize_t)v.iov_len);
}

// The next line and no byte behind it; "" = the server has closed.
static const char *hear(int fd)
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

static const char *ask(int fd, const char *text)
{
	say(fd, text);
	return hear(fd);
}

#define CALL(method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":" params "}\n"
#define OK(result) "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":" result "}"

static void expect_error(const char *line, int code, const char *part)
{
	char want[32];

	snprintf(want, sizeof(want), "\"code\":%d,", code);
	ck_assert_msg(strstr(line, want) && strstr(line, part), "%s", line);
}

static struct client *the_client(void)
{
	ck_assert_uint_eq(n_clients, 1);
	return client_list;
}

static size_t unread(const struct client *c)
{
	return evbuffer_get_length(c->out);
}

static void turn_until_clients(unsigned n)
{
	while (n_clients != n)
		loop_turn();
}

static unsigned n_open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(answers_with_canonical_parameters)
{
	int fd = dial();

	ck_assert_str_eq(ask(fd, CALL("t.echo", "{\"rate\":\"2.5G\",\"text\":\"x\"}")),
			 OK("{\"text\":\"x\",\"rate\":2500000000}"));
	ck_assert_str_eq(ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"t.echo\"}\n"),
			 "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":{}}");
	ck_assert_str_eq(ask(fd, CALL("t.write", "{\"name\":\"vm1\"}")), OK("true"));
	ck_assert_ptr_nonnull(strstr(ask(fd, CALL("t.many", "{\"n\":0}")), "progress"));
	ck_assert_str_eq(hear(fd), OK("[]"));
	close(fd);
}
END_TEST

START_TEST(bad_requests_get_a_sentence_and_change_nothing)
{
	static const struct {
		const char *line;
		int code;
		const char *part;
	} cases[] = {
	    {"garbage\n", -32700, "not a JSON request"},
	    {"{\"a\":1,\"a\":2}\n", -32700, "duplicate"},
	    {"\xff\xfe\n", -32700, "not a JSON request"},
	    {"[" CALL("t.write", "{\"name\":\"a\"}"), -32700, "not a JSON request"},
	    {"[]\n", -32600, "one request per line"},
	    {"{}\n", -32600, "jsonrpc"},
	    {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"t.write\"}\n", -32600, "jsonrpc"},
	    {"{\"jsonrpc\":\"2.0\",\"method\":\"t.write\",\"params\":{\"name\":\"a\"}}\n", -32600,
	     "\\\"id\\\""},
	    {"{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"t.write\"}\n", -32600, "\\\"id\\\""},
	    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}\n", -32600, "\\\"method\\\""},
	    {CALL("t.wirte", "{}"), -32601, "did you mean t.write"},
	    {CALL("nothing.like.it", "{}"), -32601, "unknown method nothing.like.it"},
	    {CALL("t.write", "{}"), -32602, "t write: name is missing"},
	    {CALL("t.write", "{\"name\":1}"), -32602, "name must be a string"},
	    {CALL("t.write", "{\"name\":\"a\",\"nam\":1}"), -32602, "unknown parameter nam "},
	    {CALL("t.write", "[\"a\"]"), -32602, "must be a JSON object"},
	    {CALL("t.echo", "{\"rate\":\"2T\"}"), -32602, "rate 2T is outside 0 to 1T"},
	    {CALL("t.refuse", "{}"), -32000, "port vm1: is \\\"busy\\\"?"},
	};
	int fd = dial();

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_error(ask(fd, cases[i].line), cases[i].code, cases[i].part);
	ck_assert_uint_eq(n_writes, 0);
	ck_assert_str_eq(ask(fd, "\n \r\n" CALL("t.write", "{\"name\":\"a\"}")), OK("true"));
	ck_assert_uint_eq(n_writes, 1);
	close(fd);
}
END_TEST

START_TEST(a_request_may_come_byte_by_byte)
{
	const char *text = CALL("t.echo", "{\"text\":\"x\"}");
	int fd = dial();

	for (size_t i = 0; i < strlen(text); i++) {
		ck_assert_int_eq(send(fd, text + i, 1, 0), 1);
		loop_turn();
	}
	ck_assert_str_eq(hear(fd), OK("{\"text\":\"x\"}"));
	close(fd);
}
END_TEST

START_TEST(requests_are_answered_in_order)
{
	int fd = dial();

	say(fd, CALL("t.later", "{}") "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"t.echo\"}\n");
	while (!held)
		loop_turn();
	for (int i = 0; i < 5; i++)
		loop_turn();
	ck_assert_uint_eq(unread(the_client()), 0);
	rq_result(held, json_string("done"));
	rq_done(held, NULL);
	ck_assert_str_eq(hear(fd), OK("\"done\""));
	ck_assert_str_eq(hear(fd), "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}");
	close(fd);
}
END_TEST

START_TEST(requests_longer_than_a_mebibyte_are_refused)
{
	char *text = malloc(CLIENT_MAX_REQUEST + 2);
	int fd = dial();

	// the longest that is taken, then one byte more
	memset(text, ' ', CLIENT_MAX_REQUEST);
	memcpy(text + CLIENT_MAX_REQUEST - strlen(CALL("t.echo", "{}")), CALL("t.echo", "{}"),
	       strlen(CALL("t.echo", "{}")) + 1);
	ck_assert_str_eq(ask(fd, text), OK("{}"));
	memset(text, 'x', CLIENT_MAX_REQUEST + 1);
	text[CLIENT_MAX_REQUEST + 1] = '\0';
	expect_error(ask(fd, text), -32600, "longer than 1 MiB");
	ck_assert_str_eq(hear(fd), "");
	turn_until_clients(0);
	free(text);
	close(fd);
}
END_TEST

START_TEST(a_client_that_only_ends_its_sending_half_is_answered)
{
	int fd = dial();

	say(fd, CALL("t.later", "{}"));
	shutdown(fd, SHUT_WR);
	while (!held)
		loop_turn();
	for (int i = 0; i < 5; i++)
		loop_turn();
	rq_done(held, NULL);
	ck_assert_str_eq(hear(fd), OK("true"));
	ck_assert_str_eq(hear(fd), "");
	close(fd);
}
END_TEST

START_TEST(descriptors_come_with_their_request)
{
	int fd = dial(), a[2], b[2];
	char buf[8];

	ck_assert_int_eq(pipe2(a, O_CLOEXEC) | pipe2(b, O_CLOEXEC), 0);
	ck_assert_int_eq(write(a[1], "hello", 5), 5);
	ck_assert_str_eq(ask(fd, CALL("t.echo", "{}")), OK("{}"));
	unsigned before = n_open_fds();

	// the request before it is still unread and carries none; one descriptor is too many
	say(fd, CALL("t.echo", "{}"));
	say_with_fds(fd, CALL("t.copy", "{\"in\":{\"fd\":1},\"out\":{\"fd\":0}}"), (int[]){b[1], a[0], a[1]},
		     3);
	ck_assert_str_eq(hear(fd), OK("{}"));
	ck_assert_str_eq(hear(fd), OK("5"));
	ck_assert_int_eq(read(b[0], buf, sizeof(buf)), 5);
	ck_assert_mem_eq(buf, "hello", 5);
	ck_assert_uint_eq(n_open_fds(), before);

	// none of these may keep a descriptor either
	say_with_fds(fd, CALL("t.copy", "{\"in\":{\"fd\":0},\"out\":{\"fd\":2}}"), (int[]){a[0], b[1]}, 2);
	expect_error(hear(fd), -32602, "out names descriptor 2, but 2 came");
	say_with_fds(fd, CALL("t.copy", "{\"in\":{\"fd\":1},\"out\":{\"fd\":0}}"), (int[]){a[0], b[1]}, 2);
	expect_error(hear(fd), -32602, "in is not open for reading");
	say_with_fds(fd, CALL("t.echo", "{}"),
		     (int[]){a[0], a[0], a[0], a[0], a[0], a[0], a[0], a[0], a[0], a[0]}, 10);
	expect_error(hear(fd), -32602, "at most 8 descriptors");
	say_with_fds(fd, "garbage\n", a, 2);
	expect_error(hear(fd), -32700, "");
	say_with_fds(fd, "\n", a, 2);
	ck_assert_str_eq(ask(fd, CALL("t.echo", "{}")), OK("{}"));
	ck_assert_uint_eq(n_open_fds(), before);
	say_with_fds(fd, "half a mess", a, 2);
	while (the_client()->n_in_fds < 2)
		loop_turn();
	close(fd);
	turn_until_clients(0);
	ck_assert_uint_eq(n_open_fds(), before - 2);
	close(a[0]), close(a[1]), close(b[0]), close(b[1]);
}
END_TEST

START_TEST(long_tables_are_streamed_to_a_slow_reader)
{
	int slow = dial(), other = dial();
	size_t most = 0;
	json_t *answer;
	char *text = malloc(8 << 20);
	size_t len = 0;

	say(slow, CALL("t.many", "{\"n\":65536}"));
	for (int i = 0; i < 300; i++) {
		loop_turn();
		for (struct client *c = client_list; c; c = c->next)
			most = unread(c) > most ? unread(c) : most;
	}
	ck_assert_uint_ge(most, CLIENT_FULL_BYTES);
	ck_assert_uint_lt(most, CLIENT_FULL_BYTES + 100000);
	unsigned n_stalled = n_steps;
	ck_assert_str_eq(ask(other, CALL("t.echo", "{}")), OK("{}"));
	ck_assert_uint_eq(n_steps, n_stalled);

	while (len < 3 || memcmp(text + len - 3, "]}\n", 3) != 0) {
		ssize_t n = recv(slow, text + len, 4096, 0);
		if (n > 0)
			len += (size_t)n;
		else
			loop_turn();
	}
	// progress may only stand before the answer, never inside its line
	for (char *line = text, *end; line < text + len; line = end + 1) {
		end = strchr(line, '\n');
		answer = json_loadb(line, (size_t)(end - line), 0, NULL);
		ck_assert_ptr_nonnull(answer);
		if (end == text + len - 1)
			ck_assert_uint_eq(json_array_size(json_object_get(answer, "result")), 65536);
		else
			ck_assert_str_eq(json_string_value(json_object_get(answer, "method")), "progress");
		json_decref(answer);
	}
	ck_assert_uint_eq(n_released, 1);
	free(text);
	close(slow), close(other);
}
END_TEST

START_TEST(long_answers_that_fail)
{
	int fd = dial();

	// before the first row it is an error like any other
	ck_assert_ptr_nonnull(strstr(ask(fd, CALL("t.many", "{\"fail\":0}")), "progress"));
	expect_error(hear(fd), -32000, "row 0 cannot be read");
	ck_assert_ptr_nonnull(strstr(ask(fd, CALL("t.many", "{\"fail\":50}")), "progress"));
	expect_error(hear(fd), -32000, "row 50 cannot be read");
	// behind it only the connection can tell
	ck_assert_ptr_nonnull(strstr(ask(fd, CALL("t.many", "{\"fail\":500}")), "progress"));
	ck_assert_str_eq(hear(fd), "");
	turn_until_clients(0);
	ck_assert_uint_eq(n_released, 3);
	close(fd);
}
END_TEST

START_TEST(a_client_that_goes_in_the_middle_of_a_table_releases_it)
{
	int fd = dial();

	say(fd, CALL("t.many", "{\"n\":65536}"));
	while (n_steps < 3)
		loop_turn();
	close(fd);
	turn_until_clients(0);
	ck_assert_uint_eq(n_released, 1);
}
END_TEST

START_TEST(a_client_that_does_not_read_for_a_minute_is_closed)
{
	int fd = dial();

	say(fd, CALL("t.many", "{\"n\":65536}"));
	while (!n_clients || client_has_room(client_list))
		loop_turn();
	client_check_stall(client_list, 1000);
	client_check_stall(client_list, 1000 + CLIENT_STALL_NS);
	ck_assert_uint_eq(n_clients, 1);
	client_check_stall(client_list, 1001 + CLIENT_STALL_NS);
	ck_assert_uint_eq(n_clients, 0);
	ck_assert_uint_eq(n_released, 1);
	close(fd);
}
END_TEST

START_TEST(a_request_outlives_its_client)
{
	int fd = dial();

	say(fd, CALL("t.later", "{}"));
	while (!held)
		loop_turn();
	ck_assert_uint_eq(n_gone, 0);
	close(fd);
	turn_until_clients(0);
	ck_assert_uint_eq(n_gone, 1);
	rq_row(held, json_object());
	rq_done(held, NULL);
}
END_TEST

static void hook(struct request *rq)
{
	hooked = rq;
}

START_TEST(changes_go_to_the_hook_and_survive_their_client)
{
	int fd = dial();

	server_write_hook_set(hook);
	say(fd, CALL("t.write", "{\"name\":\"vm1\"}"));
	while (!hooked)
		loop_turn();
	ck_assert_uint_eq(n_writes, 0);
	ck_assert_str_eq(rq_str(hooked, "name"), "vm1");
	close(fd);
	turn_until_clients(0);
	ck_assert(request_run(hooked));
	ck_assert_uint_eq(n_writes, 1);
	server_write_hook_set(NULL);
}
END_TEST

START_TEST(events_reach_those_who_watch_them)
{
	int all = dial(), one = dial();

	ck_assert_str_eq(ask(all, CALL("event.watch", "{}")), OK("true"));
	ck_assert_str_eq(ask(one, CALL("event.watch", "{\"kind\":\"port-up\",\"object\":\"vm2\"}")),
			 OK("true"));
	event_emit("port-up", "vm1", "link is %s", "up");
	event_emit("port-up", "vm2", "link is up");
	event_emit("quiet", NULL, "no object");
	ck_assert_ptr_nonnull(
	    strstr(hear(all), "\"kind\":\"port-up\",\"object\":\"vm1\",\"text\":\"link is up\""));
	ck_assert_ptr_nonnull(strstr(hear(all), "vm2"));
	ck_assert_ptr_nonnull(strstr(hear(all), "\"kind\":\"quiet\",\"text\":\"no object\""));
	ck_assert_ptr_nonnull(strstr(hear(one), "vm2"));
	// a connection that watches still takes requests
	ck_assert_str_eq(ask(one, CALL("t.echo", "{}")), OK("{}"));
	close(one);
	turn_until_clients(1);
	event_emit("port-up", "vm2", "again");
	ck_assert_ptr_nonnull(strstr(hear(all), "again"));
	for (int i = 1; i < CLIENT_MAX_STREAMS; i++)
		ck_assert_str_eq(ask(all, CALL("event.watch", "{}")), OK("true"));
	expect_error(ask(all, CALL("event.watch", "{}")), -32000, "16 streams");
	close(all);
}
END_TEST

START_TEST(a_slow_watcher_is_told_how_many_it_lost)
{
	enum { N = 6000 };
	int slow = dial(), quick = dial();
	unsigned n_heard = 0, n_lost = 0;

	ck_assert_str_eq(ask(slow, CALL("event.watch", "{}")), OK("true"));
	ck_assert_str_eq(ask(quick, CALL("event.watch", "{}")), OK("true"));
	for (int i = 0; i < N; i++) {
		event_emit("flood", "vm1", "number %d", i);
		ck_assert_ptr_nonnull(strstr(hear(quick), "flood"));
	}
	while (n_heard + n_lost < N) {
		json_t *m = json_loads(hear(slow), 0, NULL);
		json_t *p = json_object_get(m, "params");
		if (strcmp(json_string_value(json_object_get(p, "kind")), "lost") == 0) {
			ck_assert_uint_eq(n_lost, 0);
			n_lost = (unsigned)json_integer_value(json_object_get(p, "count"));
		} else {
			n_heard++;
		}
		json_decref(m);
	}
	ck_assert_uint_gt(n_lost, 0);
	ck_assert_uint_eq(n_heard + n_lost, N);
	close(slow), close(quick);
}
END_TEST

START_TEST(events_never_stand_inside_an_answer)
{
	int fd = dial();

	ck_assert_str_eq(ask(fd, CALL("event.watch", "{}")), OK("true"));
	say(fd, CALL("t.many", "{\"n\":1000}"));
	while (n_steps < 3)
		loop_turn();
	ck_assert(the_client()->mid_answer);
	event_emit("between", NULL, "rows");
	ck_assert_ptr_nonnull(strstr(hear(fd), "progress"));
	const char *line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "\"n\":999"));
	ck_assert_ptr_null(strstr(line, "between"));
	ck_assert_ptr_nonnull(strstr(hear(fd), "between"));
	close(fd);
}
END_TEST

START_TEST(idle_clients_and_half_messages_disturb_nobody)
{
	enum { N = 1024 };
	static int fds[N];
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 2 * N + 64) {
		printf("skipped: this test needs %d descriptors (ulimit -n)\n", 2 * N + 64);
		return;
	}
	for (unsigned i = 0; i < N; i++) {
		fds[i] = dial();
		if (i % 2)
			say(fds[i], "{\"jsonrpc\":");
		turn_until_clients(i + 1);
	}
	int extra = dial();
	expect_error(hear(extra), -32000, "1024 clients");
	ck_assert_str_eq(hear(extra), "");
	ck_assert_str_eq(ask(fds[500], CALL("t.echo", "{}")), OK("{}"));
	close(fds[0]);
	turn_until_clients(N - 1);
	int again = dial();
	ck_assert_str_eq(ask(again, CALL("t.echo", "{}")), OK("{}"));
	for (unsigned i = 1; i < N; i++)
		close(fds[i]);
	close(extra), close(again);
}
END_TEST

START_TEST(readers_cannot_change_anything)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	ck_assert_ptr_nonnull(client_create(pair[0], 1000, 1, false));
	expect_error(ask(pair[1], CALL("t.write", "{\"name\":\"a\"}")), -32001, "user 1000 may only read");
	ck_assert_str_eq(ask(pair[1], CALL("t.echo", "{}")), OK("{}"));
	ck_assert_uint_eq(n_writes, 0);
	close(pair[1]);
}
END_TEST

START_TEST(roles_follow_credentials)
{
	enum { OWN = 500, WRITE = 10, READ = 20 };
	static const gid_t both[] = {READ, WRITE}, read_only[] = {7, READ};
	const struct peer root = {.uid = 0}, own = {.uid = OWN, .gid = 1}, other = {.uid = 1, .gid = 1},
			  primary = {.uid = 1, .gid = WRITE}, none = {.uid = 1, .gid = PEER_NO_GROUP},
			  member = {.uid = 1, .gid = 1, .groups = both, .n_groups = 2},
			  reader = {.uid = 1, .gid = 1, .groups = read_only, .n_groups = 2};

	ck_assert_int_eq(peer_role(&root, OWN, PEER_NO_GROUP, PEER_NO_GROUP), PEER_WRITER);
	ck_assert_int_eq(peer_role(&own, OWN, WRITE, READ), PEER_WRITER);
	ck_assert_int_eq(peer_role(&primary, OWN, WRITE, READ), PEER_WRITER);
	ck_assert_int_eq(peer_role(&member, OWN, WRITE, READ), PEER_WRITER);
	ck_assert_int_eq(peer_role(&reader, OWN, WRITE, READ), PEER_READER);
	ck_assert_int_eq(peer_role(&other, OWN, WRITE, READ), PEER_STRANGER);
	ck_assert_int_eq(peer_role(&none, OWN, PEER_NO_GROUP, PEER_NO_GROUP), PEER_STRANGER);
}
END_TEST

START_TEST(a_socket_that_cannot_be_made_is_refused)
{
	struct err e = {0};
	char longest[200];
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07, 0);

	server_stop();
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(server_start("/nonexistent", &e), -ENOENT);
	ck_assert_msg(strstr(e.text, "/nonexistent/control.sock: cannot make it: no such file"), "%s",
		      e.text);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(server_start(longest, &e), -ENAMETOOLONG);

	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	ck_assert_int_eq(server_start(dir, &e), -EEXIST);
	unlink(path);

	// what a killed daemon leaves behind
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	int old = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(old, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(old, 1), 0);
	ck_assert_int_eq(server_start(dir, &e), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(e.text, "another evswitchd answers"));
	ck_assert_int_eq(access(path, F_OK), 0);
	close(old);
	ck_assert_int_eq(server_start(dir, &e), 0);
	int fd = dial();
	ck_assert_str_eq(ask(fd, CALL("t.echo", "{}")), OK("{}"));
	close(fd);
}
END_TEST

START_TEST(methods_are_described)
{
	int fd = dial();
	json_t *m = json_loads(ask(fd, CALL("system.methods", "{\"object\":\"t\"}")), 0, NULL);
	json_t *list = json_object_get(json_object_get(m, "result"), "methods");
	json_t *many = json_array_get(list, 3), *n = json_array_get(json_object_get(many, "params"), 0);
	json_t *want = json_pack("{ss ss ss sb sb sb sb ss}", "name", "n", "type", "int", "help", "rows",
				 "required", 0, "positional", 0, "flag", 0, "clears", 0, "default", "1000");

	ck_assert_uint_eq(json_array_size(list), 6);
	ck_assert_str_eq(json_string_value(json_object_get(many, "name")), "t.many");
	ck_assert(json_is_false(json_object_get(many, "write")));
	ck_assert_str_eq(
	    json_string_value(json_object_get(json_array_get(json_object_get(many, "columns"), 0), "name")),
	    "n");
	ck_assert(json_equal(n, want));
	json_decref(want);
	json_decref(m);
	close(fd);
}
END_TEST

static const struct method twice[] = {{.name = "t.echo", .help = "h", .call = echo_call}, {0}};
static const struct param wrong_param[] = {{.name = "n", .type = PARAM_INT, .def = "ten"}, {0}};
static const struct method wrong[] = {
    {.name = "t.wrong", .help = "h", .params = wrong_param, .call = echo_call}, {0}};

START_TEST(tables_that_cannot_work_are_refused)
{
	const struct module a = {.name = "a", .methods = twice}, b = {.name = "b", .methods = wrong};
	struct err e = {0};

	methods_fini();
	ck_assert_int_eq(methods_init((const struct module *const[]){&a, &test_module, NULL}, &e), -EEXIST);
	ck_assert_str_eq(e.text, "method t.echo: is there twice");
	ck_assert_int_eq(methods_init((const struct module *const[]){&b, NULL}, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.text, "method t.wrong: its own default: n \"ten\" is not"));
}
END_TEST

// The loop itself

static int order[4];
static unsigned n_order;

static void note(void *arg)
{
	order[n_order++] = (int)(intptr_t)arg;
}

static void work(void *arg)
{
	(void)arg;
	control_post("note", note, (void *)1);
}

START_TEST(jobs_and_posts_come_back_in_order)
{
	job_run("work", work, note, (void *)2);
	job_run("work", work, note, (void *)3);
	while (n_order < 4)
		loop_turn();
	ck_assert_int_eq(order[0], 1);
	ck_assert_int_eq(order[1], 2);
	ck_assert_int_eq(order[2], 1);
	ck_assert_int_eq(order[3], 3);
}
END_TEST

static struct timer *self_stopping;
static unsigned n_fired;

static void fire(void *arg)
{
	(void)arg;
	if (++n_fired == 3)
		timer_stop(self_stopping);
}

START_TEST(timers_may_stop_themselves)
{
	self_stopping = timer_start("fire", 0, 100, fire, NULL);
	while (n_fired < 3)
		loop_turn();
	for (int i = 0; i < 5; i++)
		loop_turn();
	ck_assert_uint_eq(n_fired, 3);
	self_stopping = timer_start("fire", 0, 0, fire, NULL); // once; frees itself
	while (n_fired < 4)
		loop_turn();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("server");
	TCase *t = tcase_create("server");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, answers_with_canonical_parameters);
	tcase_add_test(t, bad_requests_get_a_sentence_and_change_nothing);
	tcase_add_test(t, a_request_may_come_byte_by_byte);
	tcase_add_test(t, requests_are_answered_in_order);
	tcase_add_test(t, requests_longer_than_a_mebibyte_are_refused);
	tcase_add_test(t, a_client_that_only_ends_its_sending_half_is_answered);
	tcase_add_test(t, descriptors_come_with_their_request);
	tcase_add_test(t, long_tables_are_streamed_to_a_slow_reader);
	tcase_add_test(t, long_answers_that_fail);
	tcase_add_test(t, a_client_that_goes_in_the_middle_of_a_table_releases_it);
	tcase_add_test(t, a_client_that_does_not_read_for_a_minute_is_closed);
	tcase_add_test(t, a_request_outlives_its_client);
	tcase_add_test(t, changes_go_to_the_hook_and_survive_their_client);
	tcase_add_test(t, events_reach_those_who_watch_them);
	tcase_add_test(t, a_slow_watcher_is_told_how_many_it_lost);
	tcase_add_test(t, events_never_stand_inside_an_answer);
	tcase_add_test(t, idle_clients_and_half_messages_disturb_nobody);
	tcase_add_test(t, readers_cannot_change_anything);
	tcase_add_test(t, roles_follow_credentials);
	tcase_add_test(t, a_socket_that_cannot_be_made_is_refused);
	tcase_add_test(t, methods_are_described);
	tcase_add_test(t, tables_that_cannot_work_are_refused);
	tcase_add_test(t, jobs_and_posts_come_back_in_order);
	tcase_add_test(t, timers_may_stop_themselves);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
