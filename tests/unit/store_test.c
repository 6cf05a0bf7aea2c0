// The state file: durable, guarded, and never taken for empty.
#include "ctrl/store.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/loop.h"
#include "fault_vfs.h"

static char dir[64], path[96];
static char rows[4096]; // "kind name conf\n"… of the last load

static void setup(void)
{
	struct err e = {0};

	strcpy(dir, "/tmp/evs-store-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/state.db", dir);
	ck_assert_int_eq(loop_init(&e), 0);
	fault_vfs_install();
}

static void teardown(void)
{
	char cmd[192];

	fault_at(0, 0, false);
	store_close();
	loop_fini();
	snprintf(cmd, sizeof(cmd), "chmod 700 %s; rm -rf %s", dir, dir);
	ck_assert_int_eq(system(cmd), 0);
}

static void must_open(void)
{
	struct err e = {0};

	ck_assert_msg(store_open(path, &e) == 0, "%s", e.text);
}

// The file is refused, with a sentence that begins with its name and has `part` in it.
static void must_refuse(const char *part)
{
	char begin[128];
	struct err e = {0};

	ck_assert_int_lt(store_open(path, &e), 0);
	ck_assert_int_lt(e.code, 0);
	snprintf(begin, sizeof(begin), "state %s", path);
	ck_assert_msg(strncmp(e.text, begin, strlen(begin)) == 0, "%s", e.text);
	ck_assert_msg(strstr(e.text, part), "%s", e.text);
}

static int row_note(const char *kind, const char *name, const char *conf, void *arg, struct err *e)
{
	size_t n = strlen(rows);

	(void)arg;
	(void)e;
	snprintf(rows + n, sizeof(rows) - n, "%s %s %s\n", kind, name, conf);
	return 0;
}

static const char *load(void)
{
	struct err e = {0};

	rows[0] = '\0';
	ck_assert_msg(store_load(row_note, NULL, &e) == 0, "%s", e.text);
	return rows;
}

struct ended {
	bool yes;
	struct err e;
};

static void commit_ended(const struct err *e, void *arg)
{
	struct ended *end = arg;

	end->e = *e;
	end->yes = true;
}

// Returns the code, the sentence in *e.
static int commit_many(const struct store_edit *edits, size_t n, struct err *e)
{
	struct ended end = {0};

	store_commit(edits, n, commit_ended, &end);
	while (!end.yes)
		loop_turn();
	*e = end.e;
	return end.e.code;
}

static int commit(const char *kind, const char *name, const char *conf)
{
	struct store_edit d = {(char *)kind, (char *)name, (char *)conf};
	struct err e;

	return commit_many(&d, 1, &e);
}

static void make_three(void)
{
	must_open();
	ck_assert_int_eq(commit("switch", "sw0", "{\"kind\":\"internal\"}"), 0);
	ck_assert_int_eq(commit("port", "vm1", "{\"switch\":\"sw0\"}"), 0);
	ck_assert_int_eq(commit("port", "vm2", "{\"switch\":\"sw0\"}"), 0);
	store_close();
}

static const char three[] = "port vm1 {\"switch\":\"sw0\"}\nport vm2 {\"switch\":\"sw0\"}\n"
			    "switch sw0 {\"kind\":\"internal\"}\n";

static void sqlite_do(const char *sql)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void file_write(const char *name, const void *data, size_t n)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, n), (ssize_t)n);
	close(fd);
}

static size_t file_read(uint8_t *data, size_t max)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, data, max);

	close(fd);
	ck_assert_int_gt(n, 0);
	return (size_t)n;
}

START_TEST(a_new_state_is_empty_and_private)
{
	struct stat st;

	must_open();
	ck_assert_str_eq(load(), "");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
}
END_TEST

START_TEST(rows_survive_a_restart)
{
	make_three();
	must_open();
	ck_assert_str_eq(load(), three);
}
END_TEST

START_TEST(edits_of_one_commit_replace_and_delete)
{
	struct store_edit d[] = {
	    {"port", "vm1", NULL}, {"port", "vm2", "{}"}, {"port", "vm3", "{}"}, {"port", "x", NULL}};
	struct err e;

	make_three();
	must_open();
	ck_assert_int_eq(commit_many(d, 4, &e), 0);
	store_close();
	must_open();
	ck_assert_str_eq(load(), "port vm2 {}\nport vm3 {}\nswitch sw0 {\"kind\":\"internal\"}\n");
}
END_TEST

START_TEST(an_empty_file_is_damage)
{
	file_write(path, "", 0);
	must_refuse("is damaged (it is empty");
	must_refuse("evsctl config apply");
}
END_TEST

START_TEST(no_file_is_a_new_start_even_beside_a_journal)
{
	char journal[128];

	snprintf(journal, sizeof(journal), "%s-journal", path);
	make_three();
	file_write(journal, "left behind", 11);
	unlink(path);
	must_open();
	ck_assert_str_eq(load(), "");
}
END_TEST

START_TEST(a_creation_that_was_cut_off_is_no_state)
{
	char new[128];

	snprintf(new, sizeof(new), "%s.new", path);
	file_write(new, "half", 4);
	must_open();
	ck_assert_str_eq(load(), "");
	ck_assert_int_eq(access(new, F_OK), -1);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	static uint8_t data[1 << 17];
	size_t n;

	make_three();
	n = file_read(data, sizeof(data));
	for (size_t cut = 0; cut < n; cut += cut < 128 ? 1 : 61) {
		struct err e = {0};

		file_write(path, data, cut);
		ck_assert_msg(store_open(path, &e) < 0 && e.text[0], "cut to %zu bytes", cut);
		ck_assert_int_eq(access(path, F_OK), 0);
	}
	file_write(path, data, n - 1);
	must_refuse("damaged");
}
END_TEST

START_TEST(a_flipped_bit_is_refused_or_harmless)
{
	static uint8_t data[1 << 17];
	size_t n, refused = 0;

	make_three();
	n = file_read(data, sizeof(data));
	for (size_t i = 0; i < n; i++) {
		struct err e = {0};

		if (i > 256 && data[i] == 0 && i % 101)
			continue;
		data[i] ^= (uint8_t)(1 << i % 8);
		file_write(path, data, n);
		if (store_open(path, &e) < 0) {
			ck_assert_msg(e.text[0], "byte %zu", i);
			refused++;
		} else {
			ck_assert_msg(strcmp(load(), three) == 0, "byte %zu: %s", i, rows);
			store_close();
		}
		data[i] ^= (uint8_t)(1 << i % 8);
	}
	ck_assert_uint_gt(refused, 500);
}
END_TEST

START_TEST(a_lost_row_is_noticed)
{
	make_three();
	sqlite_do("DELETE FROM rows WHERE name = 'vm1'");
	must_refuse("rows are lost");
}
END_TEST

START_TEST(a_changed_row_is_noticed)
{
	make_three();
	sqlite_do("UPDATE rows SET conf = '{}' WHERE name = 'vm1'");
	must_refuse("port vm1: its checksum is wrong");
}
END_TEST

START_TEST(a_row_of_an_older_time_is_noticed)
{
	make_three();
	sqlite_do("CREATE TABLE old AS SELECT * FROM rows WHERE name = 'vm1'");
	must_refuse("its tables are not those of evswitch");
	sqlite_do("DELETE FROM rows WHERE name = 'vm1'; UPDATE rows SET name = name; DROP TABLE old");
	must_refuse("rows are lost");
}
END_TEST

START_TEST(foreign_files_are_refused)
{
	static const char text[] = "port vm1 switch sw0\n";

	file_write(path, text, sizeof(text) - 1);
	must_refuse("damaged");
	unlink(path);
	sqlite_do("CREATE TABLE t (x); INSERT INTO t VALUES (1)");
	must_refuse("is not a state of evswitch");
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	must_refuse("is not a regular file");
	rmdir(path);
}
END_TEST

START_TEST(a_newer_format_is_refused)
{
	make_three();
	sqlite_do("PRAGMA user_version = 2");
	must_refuse("was written by a newer evswitch (format 2, this one knows 1)");
}
END_TEST

START_TEST(a_missing_directory_is_refused)
{
	snprintf(path, sizeof(path), "%s/none/state.db", dir);
	must_refuse("no such file or directory");
}
END_TEST

START_TEST(a_directory_without_rights_is_refused)
{
	make_three();
	ck_assert_int_eq(chmod(dir, 0555), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(path, 65534, 65534), 0);
		ck_assert_int_eq(seteuid(65534), 0);
	}
	must_refuse("cannot use directory");
	ck_assert_int_eq(seteuid(getuid()), 0);
}
END_TEST

START_TEST(a_file_without_rights_is_refused)
{
	make_three();
	ck_assert_int_eq(chmod(path, 0400), 0);
	ck_assert_int_eq(chmod(dir, 0777), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	must_refuse("permission denied");
	ck_assert_int_eq(seteuid(getuid()), 0);
}
END_TEST

START_TEST(a_second_daemon_is_refused)
{
	int up[2], down[2];
	char c = 0;
	pid_t pid;

	make_three();
	ck_assert_int_eq(pipe(up) | pipe(down), 0);
	pid = fork();
	if (pid == 0) {
		struct err e = {0};

		c = store_open(path, &e) == 0;
		_exit(write(up[1], &c, 1) == 1 && read(down[0], &c, 1) >= 0 ? 0 : 1);
	}
	ck_assert_int_eq(read(up[0], &c, 1), 1);
	ck_assert_int_eq(c, 1);
	must_refuse("is in use by another evswitchd");
	ck_assert_int_eq(write(down[1], "", 1), 1);
	waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(a_file_that_was_taken_away_takes_no_more_changes)
{
	struct store_edit d = {"port", "vm9", "{}"};
	struct err e;

	make_three();
	must_open();
	unlink(path);
	ck_assert_int_eq(commit_many(&d, 1, &e), -ESTALE);
	ck_assert_msg(strstr(e.text, "was removed or replaced"), "%s", e.text);
}
END_TEST

START_TEST(a_full_disk_refuses_and_the_next_commit_works)
{
	struct store_edit d = {"port", "vm9", "{}"};
	struct err e;

	make_three();
	must_open();
	fault_at(1, SQLITE_FULL, true);
	ck_assert_int_eq(commit_many(&d, 1, &e), -ENOSPC);
	ck_assert_msg(strstr(e.text, "no space left on device"), "%s", e.text);
	ck_assert_int_eq(commit_many(&d, 1, &e), -ENOSPC);
	fault_at(0, 0, false);
	ck_assert_str_eq(load(), three);
	ck_assert_int_eq(commit_many(&d, 1, &e), 0);
	store_close();
	must_open();
	ck_assert_ptr_nonnull(strstr(load(), "port vm9 {}\n"));
}
END_TEST

// Fails at the nth write, sync or truncation of one commit and looks what is there after a restart.
// Returns whether the commit reached that operation.
static bool fail_at(int n, int code, bool forever)
{
	struct store_edit b[] = {{"port", "vm2", NULL}, {"port", "b", "{}"}};
	const char *after_b =
	    "port b {}\nport vm1 {\"switch\":\"sw0\"}\nswitch sw0 {\"kind\":\"internal\"}\n";
	bool hit, refused;
	struct err e;

	make_three();
	must_open();
	fault_at(n, code, forever);
	refused = commit_many(b, 2, &e) < 0;
	hit = refused || !(atomic_load(&fault.left) > 0);
	ck_assert_msg(!refused || strstr(e.text, path), "%s", e.text);
	if (!forever && refused) {
		// the daemon lives on: the engine writes again what the refused commit touched
		struct store_edit undo[] = {{"port", "vm2", "{\"switch\":\"sw0\"}"}, {"port", "b", NULL}};

		ck_assert_int_eq(commit_many(undo, 2, &e), 0);
		ck_assert_str_eq(load(), three);
	}
	store_close();
	fault_at(0, 0, false);
	must_open();
	load();
	if (!refused)
		ck_assert_str_eq(rows, after_b);
	else if (!forever)
		ck_assert_str_eq(rows, three);
	else
		ck_assert_msg(strcmp(rows, three) == 0 || strcmp(rows, after_b) == 0, "operation %d: %s", n,
			      rows);
	store_close();
	unlink(path);
	return hit;
}

START_TEST(a_failure_at_any_operation_leaves_the_last_state_or_the_next)
{
	static const int codes[] = {SQLITE_FULL, SQLITE_IOERR};
	int n = 1;

	while (fail_at(n, codes[_i % 2], _i / 2))
		n++;
	ck_assert_int_gt(n, 5);
}
END_TEST

static Suite *store_suite(void)
{
	Suite *s = suite_create("store");
	TCase *c = tcase_create("store");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, a_new_state_is_empty_and_private);
	tcase_add_test(c, rows_survive_a_restart);
	tcase_add_test(c, edits_of_one_commit_replace_and_delete);
	tcase_add_test(c, an_empty_file_is_damage);
	tcase_add_test(c, no_file_is_a_new_start_even_beside_a_journal);
	tcase_add_test(c, a_creation_that_was_cut_off_is_no_state);
	tcase_add_test(c, every_truncation_is_refused);
	tcase_add_test(c, a_flipped_bit_is_refused_or_harmless);
	tcase_add_test(c, a_lost_row_is_noticed);
	tcase_add_test(c, a_changed_row_is_noticed);
	tcase_add_test(c, a_row_of_an_older_time_is_noticed);
	tcase_add_test(c, foreign_files_are_refused);
	tcase_add_test(c, a_newer_format_is_refused);
	tcase_add_test(c, a_missing_directory_is_refused);
	tcase_add_test(c, a_directory_without_rights_is_refused);
	tcase_add_test(c, a_file_without_rights_is_refused);
	tcase_add_test(c, a_second_daemon_is_refused);
	tcase_add_test(c, a_file_that_was_taken_away_takes_no_more_changes);
	tcase_add_test(c, a_full_disk_refuses_and_the_next_commit_works);
	tcase_add_loop_test(c, a_failure_at_any_operation_leaves_the_last_state_or_the_next, 0, 4);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(store_suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
