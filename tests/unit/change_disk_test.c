// Changes and the disk: commits that fail, and what a restart makes of the rows.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "change_rig.h"
#include "ctrl/change.h"
#include "ctrl/conf.h"
#include "ctrl/engine.h"
#include "ctrl/loop.h"
#include "ctrl/store.h"
#include "fault_vfs.h"

static void setup(void)
{
	fault_vfs_install();
	change_setup();
}

START_TEST(a_failed_commit_takes_back_the_batch_and_the_next_works)
{
	struct ask a = ASK("set", "thing", "a", "{'mtu': 9000}"), b = ASK("add", "thing", "b", "{}"),
		   c = ASK("add", "thing", "c", "{}");
	json_t *before, *after;

	ask_now("add", "thing", "a", "{}");
	before = json_deep_copy(conf_rows());
	fault_at(_i + 1, SQLITE_IOERR, false);
	ask_queue(&a);
	ask_queue(&b);
	idle();
	if (strcmp(a.answer, "ok") == 0) { // this commit has fewer operations
		ck_assert_int_gt(_i, 7);
		json_decref(before);
		return;
	}
	ck_assert_str_eq(history(), "set:a add:b build:1 discard undo:b undo:a refused:a refused:b ");
	ck_assert_msg(strstr(a.e.text, "state.db: cannot write"), "%s", a.e.text);
	ck_assert(json_equal(before, conf_rows()));
	fault_at(0, 0, false);
	ask_queue(&c);
	idle();
	ck_assert_str_eq(c.answer, "ok");
	after = json_deep_copy(conf_rows());
	store_stop();
	store_start();
	ck_assert_int_eq(change_restore(&c.e), 0);
	ck_assert(json_equal(after, conf_rows()));
	json_decref(before);
	json_decref(after);
}
END_TEST

START_TEST(a_disk_that_stays_broken_is_made_good_later)
{
	struct ask a = ASK("add", "thing", "a", "{}"), b = ASK("add", "thing", "b", "{}");
	struct err e = {0};

	// at the last operation of a commit: it is refused, and yet on disk
	for (int n = 1; !a.answer || strcmp(a.answer, "ok") != 0; n++) {
		fault_at(n, SQLITE_IOERR, true);
		ask_queue(&a);
		idle();
		ck_assert_int_eq(conf_get(NULL, "thing", "a") != NULL, strcmp(a.answer, "ok") == 0);
	}
	fault_at(0, 0, false);
	ask_now("del", "thing", "a", NULL);
	ask_queue(&b);
	idle();
	store_stop();
	store_start();
	ck_assert_int_eq(change_restore(&e), 0);
	ck_assert_ptr_null(conf_get(NULL, "thing", "a"));
	ck_assert_ptr_nonnull(conf_get(NULL, "thing", "b"));
}
END_TEST

START_TEST(a_restart_brings_back_the_same_state)
{
	json_t *before;
	struct err e = {0};

	ask_now("add", "thing", "a", "{'mtu': 9000, 'mac': '02:00:00:00:00:0A'}");
	ask_now("add", "thing", "b", "{'job': true}");
	ask_now("add", "tail", "a", "{'mtu': 1}");
	before = json_deep_copy(conf_rows());
	store_stop();
	store_start();
	ck_assert_msg(change_restore(&e) == 0, "%s", e.text);
	idle();
	ck_assert(json_equal(before, conf_rows()));
	ck_assert_str_eq(history(), "add:a add:b add:a build:3 publish:a publish:b publish:a snapshot:3 over "
				    "close:a close:b close:a ");
	json_decref(before);
}
END_TEST

// Writes a row past all checks, as another version might have.
static void row_write(const char *kind, const char *name, const char *text)
{
	struct store_edit d = {(char *)kind, (char *)name, (char *)text};
	struct ask a = {.name = ""};

	store_commit(&d, 1, ask_answered, &a);
	while (!a.answer)
		loop_turn();
	history();
}

static const struct {
	const char *kind, *conf, *sentence;
} unknown[] = {
    {"thing", "{\"hue\": 7}", "state: thing x"},
    {"thing", "{\"mtu\": 7}", "thing x: mtu 7 is no mtu"},
    {"thing", "{\"mtu\": 13}", "thing x: cannot open"},
    {"thing", "{", "state: thing x: is not valid JSON"},
    {"thing", "[]", "state: thing x: must be an object"},
    {"tail", "{}", "tail x: no such thing x"},
    {"hat", "{}", "state: hat x: this evswitch knows no hat"},
};

START_TEST(a_row_that_cannot_be_restored_refuses_the_start)
{
	struct err e = {0};

	ask_now("add", "thing", "a", "{}");
	row_write(unknown[_i].kind, "x", unknown[_i].conf);
	store_stop();
	store_start();
	ck_assert_int_lt(change_restore(&e), 0);
	ck_assert_msg(strncmp(e.text, unknown[_i].sentence, strlen(unknown[_i].sentence)) == 0, "%s", e.text);
	ck_assert(!strstr(history(), "snapshot"));
	ck_assert_int_eq(disk_rows(), 2);
}
END_TEST

START_TEST(a_job_that_fails_at_restore_is_only_logged)
{
	struct err e = {0};

	row_write("thing", "broken", "{\"job\": true}");
	store_stop();
	store_start();
	ck_assert_msg(change_restore(&e) == 0, "%s", e.text);
	idle();
	ck_assert_str_eq(history(), "add:broken build:1 publish:broken snapshot:1 over close:broken ");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("change and disk");
	TCase *c = tcase_create("change and disk");
	int failed;

	tcase_add_checked_fixture(c, setup, change_teardown);
	tcase_set_timeout(c, 30);
	tcase_add_loop_test(c, a_failed_commit_takes_back_the_batch_and_the_next_works, 0, 20);
	tcase_add_test(c, a_disk_that_stays_broken_is_made_good_later);
	tcase_add_test(c, a_restart_brings_back_the_same_state);
	tcase_add_loop_test(c, a_row_that_cannot_be_restored_refuses_the_start, 0,
			    sizeof(unknown) / sizeof(unknown[0]));
	tcase_add_test(c, a_job_that_fails_at_restore_is_only_logged);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
