// The path of a change: the order of its steps, what a refusal takes back, batches, and the restart.
//
// A real loop, a real store, and kinds of objects that write down what is done with them.
#include "ctrl/change.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/conf.h"
#include "ctrl/engine.h"
#include "ctrl/loop.h"
#include "ctrl/store.h"
#include "fault_vfs.h"

static char dir[64], path[96];
static char done[4096]; // what was done, in words
static pthread_t control;
static int grace_rounds; // polls until the workers have passed
static bool build_fails;

static void note(const char *what, const char *name)
{
	size_t n = strlen(done);

	ck_assert(pthread_equal(pthread_self(), control));
	snprintf(done + n, sizeof(done) - n, "%s%s%s ", what, *name ? ":" : "", name);
}

// What was done since the last call.
static const char *history(void)
{
	static char copy[sizeof(done)];

	strcpy(copy, done);
	done[0] = '\0';
	return copy;
}

static void thing_undo(void *arg)
{
	note("undo", arg);
	free(arg);
}

static void thing_publish(void *arg)
{
	note("publish", arg);
}

static void thing_close(void *arg)
{
	note("close", arg);
	free(arg);
}

static int thing_work(void *arg, struct err *e)
{
	ck_assert(!pthread_equal(pthread_self(), control));
	if (strcmp(arg, "broken") == 0)
		return err_set(e, -ENODEV, "thing broken: no such device");
	return 0;
}

// mtu 13 fails to open, job = yes gives work to the jobs thread.
static int thing_open(struct change *ch, const char *name, const json_t *old, const json_t *now,
		      struct err *e)
{
	char *copy = strdup(name);

	note(!old ? "add" : !now ? "del" : "set", name);
	change_undo(ch, thing_undo, copy);
	if (json_integer_value(json_object_get(now, "mtu")) == 13)
		return err_set(e, -EIO, "thing %s: cannot open", name);
	if (json_is_true(json_object_get(now, "job")))
		change_job(ch, thing_work, copy);
	change_publish(ch, thing_publish, copy);
	change_close(ch, thing_close, copy);
	return 0;
}

static int thing_validate(const struct conf_view *v, const char *name, const json_t *conf, struct err *e)
{
	(void)v;
	if (json_integer_value(json_object_get(conf, "mtu")) == 7)
		return err_add(e, -EINVAL, "thing %s: mtu 7 is no mtu", name);
	return 0;
}

static const struct param thing_params[] = {
    {.name = "mtu", .type = PARAM_INT, .def = "1500", .min = 0, .max = 9216},
    {.name = "mac", .type = PARAM_MAC},
    {.name = "job", .type = PARAM_BOOL},
    {0},
};
static const struct conf_ref tail_refs[] = {{CONF_OWNER, "thing", NULL}, {0}};
static const struct param tail_params[] = {{.name = "mtu", .type = PARAM_INT, .max = 9999}, {0}};
static const struct conf_kind kinds[] = {
    {.name = "thing", .params = thing_params, .validate = thing_validate, .open = thing_open},
    {.name = "tail", .params = tail_params, .refs = tail_refs, .open = thing_open},
    {0},
};
static const struct module module = {.name = "test", .kinds = kinds};
static const struct module *const mods[] = {&module, NULL};

static int disk_count(const char *kind, const char *name, const char *conf, void *arg, struct err *e)
{
	(void)kind;
	(void)name;
	(void)conf;
	(void)e;
	++*(int *)arg;
	return 0;
}

// Rows on disk.
static int disk_rows(void)
{
	struct err e = {0};
	int n = 0;

	ck_assert_msg(store_load(disk_count, &n, &e) == 0, "%s", e.text);
	return n;
}

static int target_build(struct err *e)
{
	char rows[8];

	snprintf(rows, sizeof(rows), "%d", disk_rows());
	note("build", rows);
	return build_fails ? err_set(e, -ENOMEM, "no memory for the snapshot") : 0;
}

static void target_discard(void)
{
	note("discard", "");
}

static void target_publish(void)
{
	char rows[8];

	snprintf(rows, sizeof(rows), "%d", disk_rows());
	note("snapshot", rows);
}

static bool target_grace_over(void)
{
	note(grace_rounds > 0 ? "grace" : "over", "");
	return grace_rounds == 0 || grace_rounds-- == 0;
}

static const struct change_target target = {target_build, target_discard, target_publish, target_grace_over};

static void start(void)
{
	struct err e = {0};

	conf_init(mods);
	ck_assert_msg(store_open(path, &e) == 0, "%s", e.text);
}

static void stop(void)
{
	store_close();
	conf_fini();
}

static void idle(void)
{
	while (!engine_is_idle())
		loop_turn();
}

static void setup(void)
{
	struct err e = {0};

	strcpy(dir, "/tmp/evs-change-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/state.db", dir);
	control = pthread_self();
	ck_assert_int_eq(loop_init(&e), 0);
	fault_vfs_install();
	change_target_set(&target);
	start();
}

static void teardown(void)
{
	char cmd[192];

	stop();
	loop_fini();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

// A request as a client would make it.
struct ask {
	const char *verb; // add, set, del, or two (adds name and name2)
	const char *kind, *name, *conf;
	struct err e; // its answer
	const char *answer;
};

#define ASK(v, k, n, c)                                            \
	{                                                          \
		.verb = (v), .kind = (k), .name = (n), .conf = (c) \
	}

static void answered(const struct err *e, void *arg)
{
	struct ask *a = arg;

	a->answer = e && e->code ? "refused" : "ok";
	if (e)
		a->e = *e;
	note(a->answer, a->name);
}

static json_t *conf(const char *text)
{
	char copy[256];
	json_t *v;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	v = json_loads(copy, 0, NULL);
	ck_assert_msg(v != NULL, "%s", copy);
	return v;
}

static void ask_turn(void *arg)
{
	struct ask *a = arg;
	struct change *ch = change_new_quiet(answered, a);

	if (strcmp(a->verb, "del") == 0)
		change_del(ch, a->kind, a->name);
	else
		change_put(ch, a->kind, a->name, conf(a->conf));
	if (strcmp(a->verb, "two") == 0)
		change_put(ch, a->kind, "second", conf("{'mtu': 13}"));
	if (change_submit(ch, &a->e) < 0)
		answered(&a->e, a);
}

static void ask(struct ask *a)
{
	engine_queue(ask_turn, a);
}

static void ask_now(const char *verb, const char *kind, const char *name, const char *text)
{
	struct ask a = {.verb = verb, .kind = kind, .name = name, .conf = text};

	ask(&a);
	idle();
	ck_assert_msg(a.e.code == 0, "%s", a.e.text);
	history();
}

START_TEST(steps_come_in_order)
{
	struct ask a = ASK("add", "thing", "a", "{}");

	grace_rounds = 2;
	ask(&a);
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
	ask(&del);
	idle();
	ck_assert_str_eq(history(),
			 "del:a del:a build:2 publish:a publish:a snapshot:0 over ok:a close:a close:a ");
	ck_assert_ptr_null(conf_get(NULL, "tail", "a"));
}
END_TEST

START_TEST(a_refused_open_is_undone_in_reverse)
{
	struct ask a = ASK("two", "thing", "first", "{}");

	ask(&a);
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

	ask(&a);
	ask(&b);
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

	ask(&a);
	ask(&b);
	ask(&c);
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
	ask(&a);
	ask(&b);
	idle();
	ck_assert_str_eq(history(), "add:a add:b build:0 undo:b undo:a refused:a refused:b ");
	ck_assert_str_eq(a.e.text, "no memory for the snapshot");
	ck_assert_ptr_null(conf_get(NULL, "thing", "a"));
}
END_TEST

START_TEST(a_failed_commit_takes_back_the_batch_and_the_next_works)
{
	struct ask a = ASK("set", "thing", "a", "{'mtu': 9000}"), b = ASK("add", "thing", "b", "{}"),
		   c = ASK("add", "thing", "c", "{}");
	json_t *before, *after;

	ask_now("add", "thing", "a", "{}");
	before = json_deep_copy(conf_rows());
	fault_at(_i + 1, SQLITE_IOERR, false);
	ask(&a);
	ask(&b);
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
	ask(&c);
	idle();
	ck_assert_str_eq(c.answer, "ok");
	after = json_deep_copy(conf_rows());
	stop();
	start();
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
		ask(&a);
		idle();
		ck_assert_int_eq(conf_get(NULL, "thing", "a") != NULL, strcmp(a.answer, "ok") == 0);
	}
	fault_at(0, 0, false);
	ask_now("del", "thing", "a", NULL);
	ask(&b);
	idle();
	stop();
	start();
	ck_assert_int_eq(change_restore(&e), 0);
	ck_assert_ptr_null(conf_get(NULL, "thing", "a"));
	ck_assert_ptr_nonnull(conf_get(NULL, "thing", "b"));
}
END_TEST

START_TEST(jobs_run_before_the_build_and_end_their_batch)
{
	struct ask a = ASK("add", "thing", "a", "{}"), b = ASK("add", "thing", "b", "{'job': true}"),
		   c = ASK("add", "thing", "c", "{}");

	ask(&a);
	ask(&b);
	ask(&c);
	idle();
	ck_assert_str_eq(history(),
			 "add:a add:b build:0 publish:a publish:b snapshot:2 over ok:a ok:b close:a close:b "
			 "add:c build:2 publish:c snapshot:3 over ok:c close:c ");
}
END_TEST

START_TEST(a_failed_job_takes_back_its_change_alone)
{
	struct ask a = ASK("add", "thing", "a", "{}"), b = ASK("add", "thing", "broken", "{'job': true}");

	ask(&a);
	ask(&b);
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
	ask(&a);
	idle();
	ck_assert_str_eq(history(), "ok:a ");
	// what it asks for may be another's that is not yet durable: it waits for that one
	a = (struct ask)ASK("set", "thing", "b", "{'mtu': '1500'}");
	ask(&b);
	ask(&a);
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
	conf_add(NULL, "thing", "a", conf("{'mtu': 9000, 'mac': '02:00:00:00:00:01'}"), &short_e);
}

static void set_mtu(void)
{
	conf_set(NULL, "thing", "a", conf("{'mtu': '1400'}"), &short_e);
}

static void clear_both(void)
{
	conf_set(NULL, "thing", "a", conf("{'mtu': null, 'mac': null}"), &short_e);
}

static void del_a(void)
{
	conf_del(NULL, "thing", "a", &short_e);
}

static void check_a(const char *want)
{
	json_t *w = conf(want);

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

START_TEST(a_restart_brings_back_the_same_state)
{
	json_t *before;
	struct err e = {0};

	ask_now("add", "thing", "a", "{'mtu': 9000, 'mac': '02:00:00:00:00:0A'}");
	ask_now("add", "thing", "b", "{'job': true}");
	ask_now("add", "tail", "a", "{'mtu': 1}");
	before = json_deep_copy(conf_rows());
	stop();
	start();
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

	store_commit(&d, 1, answered, &a);
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
	stop();
	start();
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
	stop();
	start();
	ck_assert_msg(change_restore(&e) == 0, "%s", e.text);
	idle();
	ck_assert_str_eq(history(), "add:broken build:1 publish:broken snapshot:1 over close:broken ");
}
END_TEST

static Suite *change_suite(void)
{
	Suite *s = suite_create("change");
	TCase *c = tcase_create("change");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 30);
	tcase_add_test(c, steps_come_in_order);
	tcase_add_test(c, owned_rows_are_closed_before_their_owner);
	tcase_add_test(c, a_refused_open_is_undone_in_reverse);
	tcase_add_test(c, an_invalid_row_is_not_opened);
	tcase_add_test(c, requests_that_wait_share_a_batch_and_one_refusal_hurts_no_other);
	tcase_add_test(c, requests_that_come_meanwhile_are_the_next_batch);
	tcase_add_test(c, a_failed_build_takes_back_the_batch);
	tcase_add_loop_test(c, a_failed_commit_takes_back_the_batch_and_the_next_works, 0, 20);
	tcase_add_test(c, a_disk_that_stays_broken_is_made_good_later);
	tcase_add_test(c, jobs_run_before_the_build_and_end_their_batch);
	tcase_add_test(c, a_failed_job_takes_back_its_change_alone);
	tcase_add_test(c, a_change_that_changes_nothing_is_answered_at_once);
	tcase_add_test(c, short_forms_add_merge_and_delete);
	tcase_add_test(c, a_restart_brings_back_the_same_state);
	tcase_add_loop_test(c, a_row_that_cannot_be_restored_refuses_the_start, 0,
			    sizeof(unknown) / sizeof(unknown[0]));
	tcase_add_test(c, a_job_that_fails_at_restore_is_only_logged);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(change_suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
