// What passes between a switch process, its successor and the supervisor.
#include "ctrl/handover.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/loop.h"
#include "ctrl/role.h"

static struct handover *ends[2];
static struct timer *tick;
static json_t *got; // words, in order
static unsigned n_fds_got;
static bool is_gone;

static void nothing(void *arg)
{
	(void)arg;
}

static void heard(const json_t *m, const int *fds, unsigned n_fds, void *arg)
{
	(void)arg;
	if (m)
		json_array_append(got, json_object_get(m, "word"));
	else
		is_gone = true;
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	n_fds_got += n_fds;
}

static void setup(void)
{
	struct err e = {0};
	int fds[2];

	ck_assert_msg(loop_init(&e) == 0, "%s", e.text);
	tick = timer_start("tick", 1000, 1000, nothing, NULL); // no turn of the loop waits for long
	ck_assert_int_eq(role_channel(fds), 0);
	got = json_array();
	n_fds_got = 0;
	is_gone = false;
	for (int i = 0; i < 2; i++)
		ends[i] = handover_open(fds[i], heard, NULL);
}

static void teardown(void)
{
	for (int i = 0; i < 2; i++)
		handover_close(ends[i]);
	timer_stop(tick);
	json_decref(got);
	loop_fini();
}

START_TEST(more_than_the_socket_takes_comes_in_order)
{
	char word[16];

	for (int i = 0; i < 5000; i++) {
		snprintf(word, sizeof(word), "w%d", i);
		handover_word(ends[0], word);
	}
	ck_assert(handover_is_busy(ends[0]));
	while (json_array_size(got) < 5000)
		loop_turn();
	ck_assert(!handover_is_busy(ends[0]));
	ck_assert_str_eq(json_string_value(json_array_get(got, 0)), "w0");
	ck_assert_str_eq(json_string_value(json_array_get(got, 4999)), "w4999");
}
END_TEST

START_TEST(descriptors_go_along_and_stay_the_callers)
{
	int fds[HANDOVER_FDS];

	for (unsigned i = 0; i < HANDOVER_FDS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	handover_say(ends[1], json_pack("{s:s}", "word", "go"), fds, HANDOVER_FDS);
	for (unsigned i = 0; i < HANDOVER_FDS; i++)
		ck_assert_int_eq(close(fds[i]), 0);
	while (n_fds_got < HANDOVER_FDS)
		loop_turn();
	ck_assert_uint_eq(n_fds_got, HANDOVER_FDS);
}
END_TEST

START_TEST(the_end_is_heard)
{
	handover_close(ends[0]);
	ends[0] = NULL;
	while (!is_gone)
		loop_turn();
}
END_TEST

START_TEST(nobody_answers)
{
	struct err e = {0};
	int fds[2];

	ck_assert_int_eq(role_channel(fds), 0);
	ck_assert_ptr_null(handover_wait(fds[0], json_pack("{s:s}", "word", "hello"), 1, &e));
	ck_assert_int_eq(e.code, -ETIMEDOUT);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(supervisor_and_switch_process_understand_each_other)
{
	struct role_message m;
	int fds[2], with[ROLE_FDS] = {eventfd(0, 0), eventfd(0, 0)}, came[ROLE_FDS];

	ck_assert_int_eq(role_channel(fds), 0);
	ck_assert_int_eq(role_receive(fds[0], &m, came), -EAGAIN);
	ck_assert_int_eq(role_send(fds[1], ROLE_START, 7, with), 0);
	ck_assert_int_eq(role_send(fds[1], ROLE_READY, 0, NULL), 0);
	close(fds[1]);
	ck_assert_int_eq(role_receive(fds[0], &m, came), 1);
	ck_assert(m.word == ROLE_START && m.value == 7 && came[0] >= 0 && came[1] >= 0);
	ck_assert_int_eq(fcntl(came[0], F_GETFD), FD_CLOEXEC);
	for (int i = 0; i < ROLE_FDS; i++) {
		close(came[i]);
		close(with[i]);
	}
	ck_assert_int_eq(role_receive(fds[0], &m, came), 1);
	ck_assert(m.word == ROLE_READY && came[0] == -1 && came[1] == -1);
	ck_assert_int_eq(role_receive(fds[0], &m, came), 0);
	close(fds[0]);
}
END_TEST

START_TEST(a_role_is_taken_once_and_by_the_child_only)
{
	struct role r = {
	    .channel = 100, .predecessor = -1, .generation = 3, .lock_fd = 101, .supervisor = getpid()};
	struct role got_role;

	role_give(&r);
	pid_t child = fork();

	if (child == 0)
		_exit(role_take(&got_role) && got_role.generation == 3 && got_role.predecessor == -1 &&
		      !role_take(&got_role));
	int status;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(WEXITSTATUS(status), 1);
	ck_assert(!role_take(&got_role)); // not our parent's
	unsetenv("EVSWITCHD_SWITCH");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("handover");
	TCase *talk = tcase_create("talk"), *role = tcase_create("role");

	tcase_add_checked_fixture(talk, setup, teardown);
	tcase_add_test(talk, more_than_the_socket_takes_comes_in_order);
	tcase_add_test(talk, descriptors_go_along_and_stay_the_callers);
	tcase_add_test(talk, the_end_is_heard);
	suite_add_tcase(s, talk);
	tcase_add_test(role, nobody_answers);
	tcase_add_test(role, supervisor_and_switch_process_understand_each_other);
	tcase_add_test(role, a_role_is_taken_once_and_by_the_child_only);
	suite_add_tcase(s, role);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int n_failed = srunner_ntests_failed(r);

	srunner_free(r);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
