// What is checked before the daemon starts: CPUs, memory, directories.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/preflight.h"

static struct options o;
static struct setup s;
static struct err e;
static char dir[64];

static cpu_set_t cpus(int first, int last)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = first; i <= last; i++)
		CPU_SET(i, &set);
	return set;
}

static void fresh(void)
{
	char *argv[] = {"evswitchd"};

	ck_assert_int_eq(options_parse(1, argv, &o, &e), 0);
	memset(&s, 0, sizeof(s));
	strcpy(dir, "/tmp/evs-preflight-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	o.run_dir = o.state_dir = dir;
}

static void clean(void)
{
	rmdir(dir);
}

static void has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "\"%s\" does not say \"%s\"", text, part);
}

START_TEST(one_worker_on_the_highest_cpu)
{
	cpu_set_t allowed = cpus(2, 5);

	ck_assert_int_eq(preflight_cores(&o, &allowed, &s, &e), 0);
	ck_assert_uint_eq(s.n_cores, 1);
	ck_assert_int_eq(s.cores[0], 5);
	allowed = cpus(2, 4);
	ck_assert(CPU_EQUAL(&s.control, &allowed));
}
END_TEST

START_TEST(control_shares_the_only_cpu)
{
	cpu_set_t allowed = cpus(3, 3);

	ck_assert_int_eq(preflight_cores(&o, &allowed, &s, &e), 0);
	ck_assert_int_eq(s.cores[0], 3);
	ck_assert(CPU_EQUAL(&s.control, &allowed));
}
END_TEST

START_TEST(a_cpu_that_is_not_allowed_is_refused)
{
	cpu_set_t allowed = cpus(0, 3);

	o.cores[0] = 1;
	o.cores[1] = 4;
	o.n_cores = 2;
	ck_assert_int_lt(preflight_cores(&o, &allowed, &s, &e), 0);
	has(e.text, "--cores: CPU 4 does not exist or is not allowed for this process, which may use 0-3");
}
END_TEST

START_TEST(a_cpu_given_twice_is_refused)
{
	cpu_set_t allowed = cpus(0, 3);

	o.cores[0] = o.cores[1] = 1;
	o.n_cores = 2;
	ck_assert_int_lt(preflight_cores(&o, &allowed, &s, &e), 0);
	has(e.text, "--cores: CPU 1 is there twice");
}
END_TEST

static struct huge_pages free_pages(uint64_t n)
{
	return (struct huge_pages){.n = n + 44, .n_free = n};
}

START_TEST(huge_pages_if_they_suffice)
{
	ck_assert_int_eq(preflight_memory(&o, free_pages(256), 100, &s, &e), 0);
	ck_assert(s.huge);
	ck_assert_str_eq(s.note, "");
}
END_TEST

START_TEST(ordinary_pages_and_a_note_if_not)
{
	ck_assert_int_eq(preflight_memory(&o, free_pages(255), 1000, &s, &e), 0);
	ck_assert(!s.huge);
	has(s.note, "255 of 2 MB are free on NUMA node 0, --memory 512 needs 256");
	has(s.fix, "echo 300 > "); // 44 are somebody's
}
END_TEST

START_TEST(no_note_with_no_huge)
{
	o.no_huge = true;
	ck_assert_int_eq(preflight_memory(&o, free_pages(1000), 1000, &s, &e), 0);
	ck_assert(!s.huge);
	ck_assert_str_eq(s.note, "");
}
END_TEST

START_TEST(too_little_memory_is_refused)
{
	ck_assert_int_lt(preflight_memory(&o, free_pages(0), 575, &s, &e), 0);
	has(e.text, "memory: 576 MB are needed (--memory 512 and 64 for the rest) and 575 MB are available");
	ck_assert_int_eq(preflight_memory(&o, free_pages(0), 576, &s, &e), 0);
}
END_TEST

START_TEST(directories_are_made)
{
	char run[96];

	snprintf(run, sizeof(run), "%s/new", dir);
	o.run_dir = run;
	ck_assert_int_eq(preflight_dirs(&o, &s, &e), 0);
	ck_assert_str_eq(s.run_dir, run);
	has(s.state_path, dir);
	has(s.state_path, "/state.db");
	ck_assert_int_eq(rmdir(run), 0);
}
END_TEST

START_TEST(a_file_is_no_directory)
{
	o.run_dir = "/etc/passwd";
	ck_assert_int_lt(preflight_dirs(&o, &s, &e), 0);
	has(e.text, "run directory /etc/passwd: is not a directory");
	o.run_dir = dir;
	o.state_dir = "/etc/passwd/x";
	ck_assert_int_lt(preflight_dirs(&o, &s, &e), 0);
	has(e.text, "state directory /etc/passwd/x: cannot be made: not a directory");
}
END_TEST

START_TEST(a_path_too_long_for_a_socket_is_refused)
{
	char run[200];
	int room = 108 - (int)sizeof("/control-ro.sock"), n = snprintf(run, sizeof(run), "%s/", dir);

	memset(run + n, 'x', sizeof(run) - (size_t)n);
	run[room + 1] = '\0';
	o.run_dir = run;
	ck_assert_int_lt(preflight_dirs(&o, &s, &e), 0);
	has(e.text, "a socket's path has room for 91");
	ck_assert_int_eq(rmdir(run), 0);
	run[room] = '\0';
	ck_assert_int_eq(preflight_dirs(&o, &s, &e), 0);
	ck_assert_int_eq(rmdir(run), 0);
}
END_TEST

START_TEST(descriptors_are_raised_to_the_hard_limit)
{
	ck_assert_uint_ge(preflight_nofile(), 256);
	ck_assert_uint_eq(preflight_nofile(), (uint64_t)sysconf(_SC_OPEN_MAX));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("preflight");
	TCase *t = tcase_create("preflight");

	tcase_add_checked_fixture(t, fresh, clean);
	tcase_add_test(t, one_worker_on_the_highest_cpu);
	tcase_add_test(t, control_shares_the_only_cpu);
	tcase_add_test(t, a_cpu_that_is_not_allowed_is_refused);
	tcase_add_test(t, a_cpu_given_twice_is_refused);
	tcase_add_test(t, huge_pages_if_they_suffice);
	tcase_add_test(t, ordinary_pages_and_a_note_if_not);
	tcase_add_test(t, no_note_with_no_huge);
	tcase_add_test(t, too_little_memory_is_refused);
	tcase_add_test(t, directories_are_made);
	tcase_add_test(t, a_file_is_no_directory);
	tcase_add_test(t, a_path_too_long_for_a_socket_is_refused);
	tcase_add_test(t, descriptors_are_raised_to_the_hard_limit);
	suite_add_tcase(suite, t);
	SRunner *r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	int n = srunner_ntests_failed(r);
	srunner_free(r);
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}
