// The path of a change: the order of its steps, what a refusal takes back, batches, jobs, short forms.
#include "ctrl/change.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "change_rig.h"
#include "ctrl/conf.h"
#include "ctrl/engine.h"

START_TEST(steps_come_in_order)
{
	struct ask a = ASK("add", "thing", "a", "{}");

	grace_rounds = 2;
	ask_queue(&a);
	ck_assert_str_eq(history(), "");
	idle();
	ck_assert_str_eq(history(), "add:a build:0 publish:a snapshot:1 grace grace over ok:a close:a ");
	ck_assert_ptr_nonnull(conf_get(NULL, "thing", "a"));
}
END_TEST

START_TEST(owned_rows_are_closed_before_their_owner)
{
	struct ask del = ASK("del", "thing", "a", NULL);

	ask_now("add", "thing", "a", "{}");
	ask_now("add", "tail", "a", "{}");
	ask_queue(&del);
	idle();
	ck_assert_str_eq(history(),
			 "del:a del:a build:2 publish:a publish:a snapshot:0 over ok:a close:a close:a ");
	ck_assert_ptr_null(conf_get(NULL, "tail", "a"));
}
END_TEST

START_TEST(a_refused_open_is_undone_in_reverse)
{
	struct ask a = ASK("two", "thing", "first", "{}");

	ask_queue(&a);
	idle();
	ck_assert_str_eq(history(), "add:first add:second undo:second undo:first refused:first ");
	ck_assert_str_eq(a.e.text, "thing second: cannot open");
	ck_assert_ptr_null(conf_get(NULL, "thing", "first"));
	ck_assert_int_eq(disk_rows(), 0);
}
END_TEST

START_TEST(an_invalid_row_is_not_opened)
{
	struct ask a = ASK("add", "thing", "a", "{'mtu': 7}"), b = ASK("add", "thing", "b", "{'hue': 7}");

	ask_queue(&a);
	ask_queue(&b);
	idle();
	ck_assert_str_eq(history(), "refused:a refused:b ");
	ck_assert_str_eq(a.e.text, "thing a: mtu 7 is no mtu");
	ck_assert_msg(strstr(b.e.text, "thing b") && strstr(b.e.text, "hue"), "%s", b.e.text);
}
END_TEST

START_TEST(requests_that_wait_share_a_batch_and_one_refusal_hurts_no_other)
{
	struct ask a = ASK("add", "thing", "a", "{}"), b = ASK("add", "thing", "b", "{'mtu': 13}"),
		   c = ASK("add", "tail", "a", "{}"); // sees the first one's row

	ask_queue(&a);
	ask_queue(&b);
	ask_queue(&c);
	idle();
	ck_assert_str_eq(history(),
			 "add:a add:b undo:b refused:b add:a build:0 publish:a publish:a snapshot:2 over "
			 "ok:a ok:a close:a close:a ");
}
END_TEST

static struct ask late = ASK("add", "thing", "late", "{}");

static void ask_late(void *arg)
{
	ask_turn(arg);
	engine_queue(ask_turn, &late); // comes while the batch is on its way
}

START_TEST(requests_that_come_meanwhile_are_the_next_batch)
{
	struct ask a = ASK("add", "thing", "a", "{'job': true}");

	engine_queue(ask_late, &a);
	idle();
	ck_assert_str_eq(history(), "add:a build:0 publish:a snapshot:1 over ok:a close:a "
				    "add:late build:1 publish:late snapshot:2 over ok:late close:late ");
}
END_TEST

START_TEST(a_failed_build_takes_back_the_batch)
{
	struct ask a = ASK("add", "thing", "a", "{}"), b = ASK("add", "thing", "b", "{}");

	build_fails = true;
	ask_queue(&a);
	ask_queue(&b);
	idle();
	ck_assert_str_eq(history(), "add:a add:b build:0 undo:b undo:a refused:a refused:b ");
	ck_assert_str_eq(a.e.text, "no memory for the snapshot");
	ck_assert_ptr_null(conf_get(NULL, "thing", "a"));
}
END_TEST

START_TEST(jobs_run_before_the_build_and_end_their_batch)
{
	struct ask a = ASK("add", "thing", "a", "{}"), b = ASK("add", "thing", "b", "{'job': true}"),
		   c = ASK("add", "thing", "c", "{}");

	ask_queue(&a);
	ask_queue(&b);
	ask_queue(&c);
	idle();
	ck_assert_str_eq(history(),
			 "add:a add:b build:0 publish:a publish:b snapshot:2 over ok:a ok:b close:a close:b "
			 "add:c build:2 publish:c snapshot:3 over ok:c close:c ");
}
END_TEST

START_TEST(a_failed_job_takes_back_its_change_alone)
{
	struct ask a = ASK("add", "thing", "a", "{}"), b = ASK("add", "thing", "broken", "{'job': true}");

	ask_queue(&a);
	ask_queue(&b);
	idle();
	ck_assert_str_eq(
	    history(),
	    "add:a add:broken undo:broken refused:broken build:0 publish:a snapshot:1 over ok:a close:a ");
	ck_assert_str_eq(b.e.text, "thing broken: no such device");
	ck_assert_ptr_null(conf_get(NULL, "thing", "broken"));
}
END_TEST

START_TEST(a_change_that_changes_nothing_is_answered_at_once)
{
	struct ask a = ASK("set", "thing", "a", "{'mtu': '1500'}"), b = ASK("add", "thing", "b", "{}");

	ask_now("add", "thing", "a", "{}");
	ask_queue(&a);
	idle();
	ck_assert_str_eq(history(), "ok:a ");
	// what it asks for may be another's that is not yet durable: it waits for that one
	a = (struct ask)ASK("set", "thing", "b", "{'mtu': '1500'}");
	ask_queue(&b);
	ask_queue(&a);
	idle();
	ck_assert_str_eq(history(), "add:b build:1 publish:b snapshot:2 over ok:b ok:b close:b ");
}
END_TEST

static struct err short_e;
static void (*short_call)(void);

static void short_turn(void *arg)
{
	(void)arg;
	short_e = (struct err){0};
	short_call();
}

static const char *short_form(void (*call)(void))
{
	short_call = call;
	engine_queue(short_turn, NULL);
	idle();
	history();
	return short_e.text;
}

static void add_a(void)
{
	conf_add(NULL, "thing", "a", conf_text("{'mtu': 9000, 'mac': '02:00:00:00:00:01'}"), &short_e);
}

static void set_mtu(void)
{
	conf_set(NULL, "thing", "a", conf_text("{'mtu': '1400'}"), &short_e);
}

static void clear_both(void)
{
	conf_set(NULL, "thing", "a", conf_text("{'mtu': null, 'mac': null}"), &short_e);
}

static void del_a(void)
{
	conf_del(NULL, "thing", "a", &short_e);
}

static void check_a(const char *want)
{
	json_t *w = conf_text(want);

	ck_assert(json_equal(conf_get(NULL, "thing", "a"), w));
	json_decref(w);
}

START_TEST(short_forms_add_merge_and_delete)
{
	ck_assert_str_eq(short_form(set_mtu), "thing a: no such thing");
	ck_assert_str_eq(short_form(del_a), "thing a: no such thing");
	ck_assert_str_eq(short_form(add_a), "");
	check_a("{'mtu': 9000, 'mac': '02:00:00:00:00:01'}");
	ck_assert_str_eq(short_form(add_a), "thing a: already exists");
	ck_assert_str_eq(short_form(set_mtu), "");
	check_a("{'mtu': 1400, 'mac': '02:00:00:00:00:01'}");
	ck_assert_str_eq(short_form(clear_both), ""); // back to the default, and to absent
	check_a("{'mtu': 1500}");
	ck_assert_str_eq(short_form(del_a), "");
	ck_assert_ptr_null(conf_get(NULL, "thing", "a"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("change");
	TCase *c = tcase_create("change");
	int failed;

	tcase_add_checked_fixture(c, change_setup, change_teardown);
	tcase_set_timeout(c, 30);
	tcase_add_test(c, steps_come_in_order);
	tcase_add_test(c, owned_rows_are_closed_before_their_owner);
	tcase_add_test(c, a_refused_open_is_undone_in_reverse);
	tcase_add_test(c, an_invalid_row_is_not_opened);
	tcase_add_test(c, requests_that_wait_share_a_batch_and_one_refusal_hurts_no_other);
	tcase_add_test(c, requests_that_come_meanwhile_are_the_next_batch);
	tcase_add_test(c, a_failed_build_takes_back_the_batch);
	tcase_add_test(c, jobs_run_before_the_build_and_end_their_batch);
	tcase_add_test(c, a_failed_job_takes_back_its_change_alone);
	tcase_add_test(c, a_change_that_changes_nothing_is_answered_at_once);
	tcase_add_test(c, short_forms_add_merge_and_delete);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
