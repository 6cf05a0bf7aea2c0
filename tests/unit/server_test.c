// Requests to the control server: their form, order, descriptors and rights; the socket; the methods.
#include <check.h>
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctrl/client.h"
#include "ctrl/loop.h"
#include "ctrl/methods.h"
#include "ctrl/peer.h"
#include "ctrl/request.h"
#include "ctrl/server.h"
#include "server_rig.h"

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
	ck_assert_uint_eq(evbuffer_get_length(the_client()->out), 0);
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

static unsigned n_open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

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

static struct request *hooked;

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

	ck_assert_int_eq(stat(server_path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07, 0);

	server_stop();
	ck_assert_int_eq(access(server_path, F_OK), -1);
	ck_assert_int_eq(server_start("/nonexistent", &e), -ENOENT);
	ck_assert_msg(strstr(e.text, "/nonexistent/control.sock: cannot make it: no such file"), "%s",
		      e.text);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(server_start(longest, &e), -ENAMETOOLONG);

	close(open(server_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	ck_assert_int_eq(server_start(server_dir, &e), -EEXIST);
	unlink(server_path);

	// what a killed daemon leaves behind
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", server_path);
	int old = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(old, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(old, 1), 0);
	ck_assert_int_eq(server_start(server_dir, &e), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(e.text, "another evswitchd answers"));
	ck_assert_int_eq(access(server_path, F_OK), 0);
	close(old);
	ck_assert_int_eq(server_start(server_dir, &e), 0);
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

int main(void)
{
	Suite *s = suite_create("server");
	TCase *t = tcase_create("server");

	tcase_add_checked_fixture(t, server_setup, server_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, answers_with_canonical_parameters);
	tcase_add_test(t, bad_requests_get_a_sentence_and_change_nothing);
	tcase_add_test(t, a_request_may_come_byte_by_byte);
	tcase_add_test(t, requests_are_answered_in_order);
	tcase_add_test(t, requests_longer_than_a_mebibyte_are_refused);
	tcase_add_test(t, a_client_that_only_ends_its_sending_half_is_answered);
	tcase_add_test(t, descriptors_come_with_their_request);
	tcase_add_test(t, changes_go_to_the_hook_and_survive_their_client);
	tcase_add_test(t, readers_cannot_change_anything);
	tcase_add_test(t, roles_follow_credentials);
	tcase_add_test(t, a_socket_that_cannot_be_made_is_refused);
	tcase_add_test(t, methods_are_described);
	tcase_add_test(t, tables_that_cannot_work_are_refused);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
