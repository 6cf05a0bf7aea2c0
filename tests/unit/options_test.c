// The command line of evswitchd.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/options.h"

static struct options o;
static struct err e;

// Parses the words of a line.
static int parse(const char *line)
{
	static char text[1024];
	char *argv[32] = {"evswitchd"}, *rest = text, *word;
	int argc = 1;

	e = (struct err){0};
	snprintf(text, sizeof(text), "%s", line);
	while (*line && (word = strsep(&rest, " ")))
		argv[argc++] = word;
	return options_parse(argc, argv, &o, &e);
}

START_TEST(defaults)
{
	ck_assert_int_eq(parse(""), 0);
	ck_assert_int_eq(o.action, OPTIONS_RUN);
	ck_assert_str_eq(o.run_dir, "/run/evswitch");
	ck_assert_str_eq(o.state_dir, "/var/lib/evswitch");
	ck_assert_str_eq(o.trusted_dir, "/etc/evswitch/trusted.d");
	ck_assert_uint_eq(o.n_cores, 0);
	ck_assert_uint_eq(o.memory_mb, 512);
	ck_assert_uint_eq(o.max_flows, 1048576);
	ck_assert_int_eq(o.log_level, LOG_LEVEL_INFO);
	ck_assert(!o.no_huge && !o.allow_unsigned && o.ready_fd == -1);
}
END_TEST

START_TEST(state_is_in_a_given_run_dir)
{
	ck_assert_int_eq(parse("--run-dir /tmp/a"), 0);
	ck_assert_str_eq(o.state_dir, "/tmp/a");
	ck_assert_int_eq(parse("--state-dir /tmp/b --run-dir /tmp/a"), 0);
	ck_assert_str_eq(o.state_dir, "/tmp/b");
}
END_TEST

START_TEST(every_option)
{
	ck_assert_int_eq(
	    parse("--run-dir=/a=b --cores 1,3-5 --memory 128 --no-huge --flows 4K --trusted-dir /t "
		  "--allow-unsigned --log-level debug --ready-fd 7"),
	    0);
	ck_assert_str_eq(o.run_dir, "/a=b");
	ck_assert_uint_eq(o.n_cores, 4);
	ck_assert_int_eq(o.cores[0], 1);
	ck_assert_int_eq(o.cores[3], 5);
	ck_assert_uint_eq(o.memory_mb, 128);
	ck_assert_uint_eq(o.max_flows, 4096);
	ck_assert_str_eq(o.trusted_dir, "/t");
	ck_assert_int_eq(o.log_level, LOG_LEVEL_DEBUG);
	ck_assert(o.no_huge && o.allow_unsigned && o.ready_fd == 7);
	ck_assert_int_eq(parse("--version"), 0);
	ck_assert_int_eq(o.action, OPTIONS_VERSION);
	ck_assert_int_eq(parse("--help"), 0);
	ck_assert_int_eq(o.action, OPTIONS_HELP);
}
END_TEST

static const struct {
	const char *line, *sentence;
} wrong[] = {
    {"--run", "--run: no such option; evswitchd --help lists them"},
    {"sw0", "sw0: no such option; evswitchd --help lists them"},
    {"--run-dir", "--run-dir: the value is missing: --run-dir DIR"},
    {"--run-dir --no-huge", "--run-dir: the value is missing: --run-dir DIR"},
    {"--run-dir=", "--run-dir: the value is empty"},
    {"--trusted-dir", "--trusted-dir: the value is missing: --trusted-dir DIR"},
    {"--allow-unsigned=yes", "--allow-unsigned: takes no value"},
    {"--no-huge=yes", "--no-huge: takes no value"},
    {"--memory 127", "--memory: \"127\" is not a number from 128 to 1048576"},
    {"--memory 1x", "--memory: \"1x\" is not a number from 128 to 1048576"},
    {"--memory 99999999999999999999",
     "--memory: \"99999999999999999999\" is not a number from 128 to 1048576"},
    {"--flows 3", "--flows: \"3\" is not 0 or a number from 1K to 64M"},
    {"--cores 1,", "--cores: \"1,\" is not a list of CPU numbers like 1,2 or 2-5"},
    {"--cores 3-2", "--cores: \"3-2\" is not a list of CPU numbers like 1,2 or 2-5"},
    {"--cores 1024", "--cores: \"1024\" is not a list of CPU numbers like 1,2 or 2-5"},
    {"--cores -1", "--cores: \"-1\" is not a list of CPU numbers like 1,2 or 2-5"},
    {"--cores 0-16", "--cores: \"0-16\" has more than 16 CPUs"},
    {"--log-level loud", "--log-level: \"loud\" is not error, warn, info or debug"},
    {"--ready-fd x", "--ready-fd: \"x\" is not a number from 1 to 1048576"},
};

START_TEST(wrong_lines_are_named)
{
	ck_assert_int_lt(parse(wrong[_i].line), 0);
	ck_assert_str_eq(e.text, wrong[_i].sentence);
}
END_TEST

START_TEST(help_names_every_option)
{
	static const char *const names[] = {"--run-dir DIR", "--state-dir DIR",   "--cores LIST",
					    "--memory MB",   "--no-huge",         "--flows N",
					    "--help",        "--trusted-dir DIR", "--allow-unsigned"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		ck_assert_ptr_nonnull(strstr(options_usage(), names[i]));
	ck_assert_ptr_nonnull(strstr(options_usage(), "Exit status"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("options");
	TCase *t = tcase_create("options");

	tcase_add_test(t, defaults);
	tcase_add_test(t, state_is_in_a_given_run_dir);
	tcase_add_test(t, every_option);
	tcase_add_loop_test(t, wrong_lines_are_named, 0, sizeof(wrong) / sizeof(*wrong));
	tcase_add_test(t, help_names_every_option);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int n = srunner_ntests_failed(r);
	srunner_free(r);
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}
