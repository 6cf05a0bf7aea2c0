// Clients of the control server that are slow, gone, many or watching: what a long answer or an event
// does then.
#include <check.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctrl/client.h"
#include "ctrl/event.h"
#include "ctrl/loop.h"
#include "ctrl/request.h"
#include "server_rig.h"

static size_t unread(const struct client *c)
{
	return evbuffer_get_length(c->out);
}

START_TEST(long_tables_are_streamed_to_a_slow_reader)
{
	int slow = dial(), other = dial();
	size_t most = 0;
	json_t *answer;
	char *text = calloc(1, 8 << 20);
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

int main(void)
{
	Suite *s = suite_create("server clients");
	TCase *t = tcase_create("server clients");

	tcase_add_checked_fixture(t, server_setup, server_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, long_tables_are_streamed_to_a_slow_reader);
	tcase_add_test(t, long_answers_that_fail);
	tcase_add_test(t, a_client_that_goes_in_the_middle_of_a_table_releases_it);
	tcase_add_test(t, a_client_that_does_not_read_for_a_minute_is_closed);
	tcase_add_test(t, a_request_outlives_its_client);
	tcase_add_test(t, events_reach_those_who_watch_them);
	tcase_add_test(t, a_slow_watcher_is_told_how_many_it_lost);
	tcase_add_test(t, events_never_stand_inside_an_answer);
	tcase_add_test(t, idle_clients_and_half_messages_disturb_nobody);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
