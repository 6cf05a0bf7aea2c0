// config.show, config.check and config.apply as a client of the socket sees them.
#include "ctrl/config.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctrl/conf.h"
#include "ctrl/engine.h"
#include "ctrl/loop.h"
#include "ctrl/methods.h"
#include "ctrl/server.h"
#include "ctrl/store.h"

static char dir[64], path[128];
static int client;
static int n_opened;

static int thing_open(struct change *ch, const char *name, const json_t *old, const json_t *now,
		      struct err *e)
{
	(void)ch;
	(void)name;
	(void)old;
	(void)now;
	(void)e;
	n_opened++;
	return 0;
}

static const struct param params[] = {
    {.name = "mtu", .type = PARAM_INT, .def = "1500", .min = 68, .max = 9216}, {0}};
static const struct conf_kind kinds[] = {{.name = "thing", .params = params, .open = thing_open}, {0}};
static const struct module module = {.name = "test", .kinds = kinds};
static const struct module *const mods[] = {&module, &config_module, NULL};

static void setup(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct err e = {0};

	strcpy(dir, "/tmp/evs-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/state.db", dir);
	ck_assert_int_eq(loop_init(&e), 0);
	conf_init(mods);
	ck_assert_msg(methods_init(mods, &e) == 0 && store_open(path, &e) == 0 && change_restore(&e) == 0,
		      "%s", e.text);
	server_write_hook_set(engine_hook);
	ck_assert_msg(server_start(dir, &e) == 0, "%s", e.text);
	snprintf(to.sun_path, sizeof(to.sun_path), "%s/control.sock", dir);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&to, sizeof(to)), 0);
	fcntl(client, F_SETFL, O_NONBLOCK);
}

static void teardown(void)
{
	char cmd[192];

	close(client);
	server_stop();
	while (!engine_is_idle())
		loop_turn();
	store_close();
	loop_fini();
	methods_fini();
	conf_fini();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

// Sends a line, with a descriptor unless fd is -1.
static void tell(const char *line, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {(void *)line, strlen(line)};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *c;

		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	ck_assert_int_eq(sendmsg(client, &m, 0), (ssize_t)strlen(line));
}

// The answer: a new reference. Notifications before it are counted in *n_told.
static json_t *answer(int *n_told)
{
	static char text[1 << 16];
	size_t n = 0;
	char *line = text, *end;

	*n_told = 0;
	for (;;) {
		ssize_t got = recv(client, text + n, sizeof(text) - 1 - n, 0);

		ck_assert_int_ne(got, 0);
		n += got > 0 ? (size_t)got : 0;
		text[n] = '\0';
		while ((end = strchr(line, '\n'))) {
			json_t *v = json_loadb(line, (size_t)(end - line), 0, NULL);

			ck_assert_msg(v != NULL, "%s", line);
			line = end + 1;
			if (json_object_get(v, "id"))
				return v;
			++*n_told;
			json_decref(v);
		}
		loop_turn();
	}
}

// The result, or the error's sentence as a string: a new reference.
static json_t *ask(const char *line, int fd)
{
	json_t *v, *result;
	int n_told;

	tell(line, fd);
	v = answer(&n_told);
	result = json_object_get(v, "result");
	if (!result)
		result = json_object_get(json_object_get(v, "error"), "message");
	json_incref(result);
	json_decref(v);
	return result;
}

// The result as text, keys sorted.
static const char *ask_text(const char *line, int fd)
{
	static char text[4096];
	json_t *v = ask(line, fd);
	char *dump = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);

	snprintf(text, sizeof(text), "%s", dump);
	free(dump);
	json_decref(v);
	return text;
}

#define CALL(method, rest) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"config." method "\"" rest "}\n"
#define DOC(rows)          "{\"evswitch\":1,\"thing\":[" rows "]}"
#define WITH(doc)          ",\"params\":{\"document\":" doc "}"
#define FILE_0             ",\"params\":{\"file\":{\"fd\":0}}"

static int file_of(const char *text)
{
	char name[192];
	int fd;

	snprintf(name, sizeof(name), "%s/document", dir);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	lseek(fd, 0, SEEK_SET);
	return fd;
}

START_TEST(apply_moves_to_a_document_and_show_prints_it)
{
	ck_assert_str_eq(
	    ask_text(CALL("apply", WITH(DOC("{\"name\":\"b\",\"mtu\":\"9000\"},{\"name\":\"a\"}"))), -1),
	    "true");
	ck_assert_str_eq(ask_text(CALL("show", ""), -1),
			 DOC("{\"mtu\":1500,\"name\":\"a\"},{\"mtu\":9000,\"name\":\"b\"}"));
	ck_assert_int_eq(n_opened, 2);
	ck_assert_str_eq(
	    ask_text(CALL("apply", WITH(DOC("{\"name\":\"b\",\"mtu\":9000},{\"name\":\"c\"}"))), -1), "true");
	ck_assert_int_eq(n_opened, 4); // a is gone, c is new, b was left alone
}
END_TEST

START_TEST(check_says_what_apply_would_do)
{
	ask_text(CALL("apply", WITH(DOC("{\"name\":\"a\"},{\"name\":\"b\"}"))), -1);
	ck_assert_str_eq(
	    ask_text(CALL("check", WITH(DOC("{\"name\":\"b\",\"mtu\":68},{\"name\":\"c\"}"))), -1),
	    "[{\"action\":\"delete\",\"detail\":\"\",\"kind\":\"thing\",\"name\":\"a\"},"
	    "{\"action\":\"change\",\"detail\":\"mtu 1500 -> 68\",\"kind\":\"thing\",\"name\":\"b\"},"
	    "{\"action\":\"add\",\"detail\":\"\",\"kind\":\"thing\",\"name\":\"c\"}]");
	ck_assert_int_eq(n_opened, 2);
	ck_assert_str_eq(ask_text(CALL("check", WITH(DOC("{\"name\":\"a\"},{\"name\":\"b\"}"))), -1), "[]");
}
END_TEST

START_TEST(a_refused_document_changes_nothing)
{
	const char *text =
	    ask_text(CALL("apply", WITH(DOC("{\"name\":\"a\"},{\"name\":\"b\",\"mtu\":1}"))), -1);

	ck_assert_msg(strstr(text, "thing b") && strstr(text, "mtu"), "%s", text);
	ck_assert_str_eq(ask_text(CALL("show", ""), -1), DOC(""));
	text = ask_text(CALL("apply", ""), -1);
	ck_assert_msg(strstr(text, "give either file FILE or document JSON"), "%s", text);
}
END_TEST

START_TEST(a_document_comes_from_a_file)
{
	int fd = file_of(DOC("{\"name\":\"a\"}"));

	ck_assert_str_eq(ask_text(CALL("apply", FILE_0), fd), "true");
	ck_assert_ptr_nonnull(conf_get(NULL, "thing", "a"));
	close(fd);
	fd = open(dir, O_RDONLY);
	ck_assert_ptr_nonnull(strstr(ask_text(CALL("apply", FILE_0), fd), "is a directory"));
	close(fd);
}
END_TEST

START_TEST(a_file_that_is_too_large_is_refused)
{
	int fd = file_of("");

	ck_assert_int_eq(ftruncate(fd, (16 << 20) + 1), 0);
	ck_assert_ptr_nonnull(strstr(ask_text(CALL("check", FILE_0), fd), "larger than 16 MiB"));
	close(fd);
}
END_TEST

START_TEST(a_device_is_refused)
{
	int fd = open("/dev/null", O_RDONLY);

	ck_assert_ptr_nonnull(strstr(ask_text(CALL("check", FILE_0), fd), "is no regular file"));
	close(fd);
}
END_TEST

START_TEST(a_document_comes_from_a_pipe_in_pieces)
{
	int fds[2], n_told;
	json_t *v;

	ck_assert_int_eq(pipe(fds), 0);
	tell(CALL("apply", FILE_0), fds[0]);
	ck_assert_int_eq(write(fds[1], "{\"evswitch\":1,\"thing\":", 22), 22);
	// others do not wait for it
	tell("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"system.nothing\"}\n", -1);
	loop_turn();
	ck_assert_int_eq(write(fds[1], "[{\"name\":\"a\"}]}", 15), 15);
	close(fds[1]);
	do {
		v = answer(&n_told);
		ck_assert(json_integer_value(json_object_get(v, "id")) != 1 ||
			  json_is_true(json_object_get(v, "result")));
		n_told = (int)json_integer_value(json_object_get(v, "id"));
		json_decref(v);
	} while (n_told != 1 && !conf_get(NULL, "thing", "a"));
	ck_assert_ptr_nonnull(conf_get(NULL, "thing", "a"));
	close(fds[0]);
}
END_TEST

START_TEST(a_client_that_goes_leaves_its_pipe_behind)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	tell(CALL("apply", FILE_0), fds[0]);
	close(fds[0]);
	loop_turn();
	loop_turn();
	close(client);
	// all readers of the pipe are closed once the daemon has let go of it
	while (write(fds[1], " ", 1) == 1)
		loop_turn();
	close(fds[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *c = tcase_create("config");
	SRunner *r;
	int failed;

	signal(SIGPIPE, SIG_IGN);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 30);
	tcase_add_test(c, apply_moves_to_a_document_and_show_prints_it);
	tcase_add_test(c, check_says_what_apply_would_do);
	tcase_add_test(c, a_refused_document_changes_nothing);
	tcase_add_test(c, a_document_comes_from_a_file);
	tcase_add_test(c, a_file_that_is_too_large_is_refused);
	tcase_add_test(c, a_device_is_refused);
	tcase_add_test(c, a_document_comes_from_a_pipe_in_pieces);
	tcase_add_test(c, a_client_that_goes_leaves_its_pipe_behind);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
