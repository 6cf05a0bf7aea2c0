// The control thread's loop: jobs, posts and timers.
#include "ctrl/loop.h"

#include <check.h>
#include <stdlib.h>

static struct timer *tick;

static void nothing(void *arg)
{
	(void)arg;
}

static void setup(void)
{
	struct err e = {0};

	ck_assert_msg(loop_init(&e) == 0, "%s", e.text);
	tick = timer_start("tick", 1000, 1000, nothing, NULL); // no turn of the loop waits for long
}

static void teardown(void)
{
	timer_stop(tick);
	loop_fini();
}

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
	Suite *s = suite_create("loop");
	TCase *t = tcase_create("loop");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, jobs_and_posts_come_back_in_order);
	tcase_add_test(t, timers_may_stop_themselves);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
