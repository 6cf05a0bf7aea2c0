// A conversation that is passed on: bytes, descriptors, its end, and sides that do not read.
#include "hv/relay.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctrl/loop.h"

#define MUCH (1 << 20)

static struct relay *relay;
static int front, back; // the far ends
static struct timer *tick;

static void nothing(void *arg)
{
	(void)arg;
}

static void setup(void)
{
	struct err e = {0};
	int a[2], b[2];

	ck_assert_msg(loop_init(&e) == 0, "%s", e.text);
	tick = timer_start("tick", 1000, 1000, nothing, NULL); // no turn of the loop waits for long
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
	front = a[0];
	back = b[0];
	relay = relay_start(a[1], b[1]);
	ck_assert_ptr_nonnull(relay);
}

static void teardown(void)
{
	relay_pause(relay);
	relay_free(relay);
	close(front);
	close(back);
	timer_stop(tick);
	loop_fini();
}

static void bytes_pass(int from, int to)
{
	static uint8_t sent[MUCH], got[MUCH];
	size_t n_sent = 0, n_got = 0;

	for (size_t i = 0; i < MUCH; i++)
		sent[i] = i * 31 + (i >> 12);
	while (n_got < MUCH) {
		ssize_t n = n_sent < MUCH ? write(from, sent + n_sent, MUCH - n_sent) : 0;

		n_sent += n > 0 ? n : 0;
		loop_turn();
		n = read(to, got + n_got, MUCH - n_got);
		n_got += n > 0 ? n : 0;
	}
	ck_assert_mem_eq(got, sent, MUCH);
}

START_TEST(bytes_pass_both_ways_in_order)
{
	bytes_pass(front, back);
	bytes_pass(back, front);
}
END_TEST

START_TEST(descriptors_pass_with_their_bytes)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {"message", 7};
	struct msghdr m = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int event = eventfd(0, EFD_NONBLOCK), came;
	char text[8] = "";
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &event, sizeof(int));
	ck_assert_int_eq(sendmsg(front, &m, 0), 7);
	v.iov_base = text;
	m.msg_controllen = sizeof(control);
	while (recvmsg(back, &m, 0) != 7)
		loop_turn();
	ck_assert_str_eq(text, "message");
	c = CMSG_FIRSTHDR(&m);
	ck_assert_ptr_nonnull(c);
	memcpy(&came, CMSG_DATA(c), sizeof(int));
	ck_assert_int_eq(eventfd_write(came, 5), 0);
	eventfd_t value;

	ck_assert_int_eq(eventfd_read(event, &value), 0);
	ck_assert_uint_eq(value, 5);
	close(came);
	close(event);
}
END_TEST

static void hangs_up(int *who, int other)
{
	char c;

	close(*who);
	*who = -1;
	while (read(other, &c, 1) != 0)
		loop_turn();
	ck_assert_int_eq(relay_front(relay), -1);
	ck_assert(!relay_is_quiet(relay));
}

START_TEST(the_end_passes_too)
{
	hangs_up(&front, back);
}
END_TEST

START_TEST(the_library_may_hang_up)
{
	hangs_up(&back, front);
}
END_TEST

START_TEST(quiet_when_all_was_read)
{
	char c;

	ck_assert(relay_is_quiet(relay));
	ck_assert_int_eq(write(front, "x", 1), 1);
	for (int i = 0; i < 10; i++)
		loop_turn();
	relay_pause(relay);
	ck_assert(!relay_is_quiet(relay)); // the library has not read it
	ck_assert_int_eq(read(back, &c, 1), 1);
	ck_assert_int_eq(write(back, "y", 1), 1); // its answer is not left behind
	ck_assert(relay_is_quiet(relay));
	ck_assert_int_eq(read(front, &c, 1), 1);
	ck_assert_int_eq(c, 'y');
	ck_assert_int_ge(relay_front(relay), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("relay");
	TCase *t = tcase_create("relay");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, bytes_pass_both_ways_in_order);
	tcase_add_test(t, descriptors_pass_with_their_bytes);
	tcase_add_test(t, the_end_passes_too);
	tcase_add_test(t, the_library_may_hang_up);
	tcase_add_test(t, quiet_when_all_was_read);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int n_failed = srunner_ntests_failed(r);

	srunner_free(r);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
