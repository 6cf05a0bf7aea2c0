// Ports in files: what is written is read again, and everything else is refused with a sentence.
#include "ctrl/saved.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "{\"conf\":{},\"evswitch-port\":1}\n"

static char *text;
static size_t n;

static void setup(void)
{
	json_t *conf = json_pack("{s:s, s:i}", "switch", "sw0", "mtu", 1500), *lines = json_array();
	struct err e = {0};

	json_array_append_new(lines, saved_head(conf));
	json_array_append_new(lines, saved_row("vlan", NULL, conf));
	json_array_append_new(lines, saved_row("fdb", "sw0/1/x", conf));
	json_array_append_new(lines, saved_state("a", json_integer(1)));
	json_array_append_new(lines, saved_state("b", json_string("two")));
	json_array_append_new(lines, saved_state("a", json_integer(3)));
	text = saved_write(lines, &n, &e);
	ck_assert_msg(text != NULL, "%s", e.text);
	json_decref(lines);
	json_decref(conf);
}

static void teardown(void)
{
	free(text);
}

static void refused(const char *file, size_t size, const char *words)
{
	struct err e = {0};
	struct saved s;

	ck_assert_int_lt(saved_read(file, size, &s, &e), 0);
	ck_assert_msg(strstr(e.text, words) != NULL, "\"%s\" does not say \"%s\"", e.text, words);
	saved_free(&s);
}

static void refused_text(const char *file, const char *words)
{
	refused(file, strlen(file), words);
}

START_TEST(what_is_written_is_read_again)
{
	struct err e = {0};
	struct saved s;

	ck_assert_msg(saved_read(text, n, &s, &e) == 0, "%s", e.text);
	ck_assert_str_eq(json_string_value(json_object_get(s.conf, "switch")), "sw0");
	ck_assert_uint_eq(json_array_size(s.rows), 2);
	ck_assert_ptr_null(json_object_get(json_array_get(s.rows, 0), "name"));
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(s.rows, 1), "name")), "sw0/1/x");
	json_t *a = json_object_get(s.states, "a");

	ck_assert_uint_eq(json_array_size(a), 2);
	ck_assert_int_eq(json_integer_value(json_array_get(a, 1)), 3);
	saved_free(&s);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	struct err e;
	struct saved s;

	for (size_t cut = 0; cut < n; cut++) {
		e = (struct err){0};
		ck_assert_msg(saved_read(text, cut, &s, &e) < 0, "cut to %zu bytes it was taken", cut);
		ck_assert_str_ne(e.text, "");
		saved_free(&s);
	}
}
END_TEST

START_TEST(a_missing_or_added_line_is_refused)
{
	const char *second = strchr(text, '\n') + 1, *third = strchr(second, '\n') + 1;
	char copy[4096];
	size_t first_two = third - text, rest = n - first_two;

	ck_assert_uint_lt(n * 2, sizeof(copy));
	memcpy(copy, text, second - text);
	memcpy(copy + (second - text), third, rest);
	refused(copy, second - text + rest, "is not whole");
	memcpy(copy, text, first_two);
	memcpy(copy + first_two, second, n - (second - text));
	refused(copy, first_two + n - (second - text), "is not whole");
	memcpy(copy, text, n);
	memcpy(copy + n, text, n);
	refused(copy, 2 * n, "neither configuration nor state");
}
END_TEST

START_TEST(garbage_is_refused)
{
	refused_text("", "is empty");
	refused_text("garbage", "has no lines");
	refused_text("garbage\n", "line 1 is not valid JSON");
	refused_text("{}\n", "is no exported port");
	refused_text("[]\n{\"end\":1}\n", "is no exported port");
	refused_text("{\"evswitch\":1,\"switch\":[]}\n", "is no exported port");
	refused_text("{\"evswitch-port\":2,\"conf\":{}}\n{\"end\":1}\n", "has version 2");
	refused_text("{\"evswitch-port\":1.0,\"conf\":{}}\n{\"end\":1}\n", "is no exported port");
	refused_text("{\"evswitch-port\":1,\"conf\":[]}\n{\"end\":1}\n", "line 1");
	refused_text("{\"evswitch-port\":1,\"conf\":{},\"more\":1}\n{\"end\":1}\n", "line 1");
	refused_text("{\"evswitch-port\":1,\"conf\":{},\"conf\":{}}\n{\"end\":1}\n", "duplicate");
	refused_text(HEAD "{\"end\":\"1\"}\n", "last line is not an end");
	refused_text(HEAD "{\"end\":1,\"end\":1}\n", "duplicate");
	refused_text(HEAD "{\"kind\":5,\"conf\":{}}\n{\"end\":2}\n", "line 2");
	refused_text(HEAD "{\"kind\":\"vlan\",\"conf\":[]}\n{\"end\":2}\n", "line 2");
	refused_text(HEAD "{\"kind\":\"vlan\",\"name\":null,\"conf\":{}}\n{\"end\":2}\n", "line 2");
	refused_text(HEAD "{\"owner\":\"fdb\"}\n{\"end\":2}\n", "line 2");
	refused_text(HEAD "{\"owner\":\"a\\u0000b\",\"state\":1}\n{\"end\":2}\n", "not valid JSON");
	refused_text(HEAD "\n{\"end\":2}\n", "line 2 is not valid JSON");
	refused_text(HEAD "{\"end\":99999999999999999999}\n", "not valid JSON");
	refused("{\"evswitch-port\":1\0,\"conf\":{}}\n{\"end\":1}\n", 42, "is not text");
}
END_TEST

START_TEST(more_than_a_port_has_is_refused)
{
	size_t big = SAVED_MAX_BYTES + 1, at;
	char *file = malloc(big);

	memset(file, ' ', big);
	refused(file, big, "is larger than 16 MiB");
	at = sprintf(file, HEAD "{\"owner\":\"a\",\"state\":\"");
	memset(file + at, 'x', SAVED_MAX_LINE);
	at += SAVED_MAX_LINE;
	at += sprintf(file + at, "\"}\n{\"end\":2}\n");
	refused(file, at, "line 2 is longer than 64 KiB");
	at = sprintf(file, HEAD);
	while (at < 4u << 20) { // small text, many values
		at += sprintf(file + at, "{\"owner\":\"a\",\"state\":[0");
		for (int i = 0; i < 30000; i++, at += 2)
			memcpy(file + at, ",0", 2);
		at += sprintf(file + at, "]}\n");
	}
	refused(file, at, "more than any port has");
	free(file);
}
END_TEST

START_TEST(what_is_too_long_is_not_written)
{
	char *long_text = malloc(SAVED_MAX_LINE + 1);
	json_t *lines = json_array();
	struct err e = {0};

	memset(long_text, 'x', SAVED_MAX_LINE);
	long_text[SAVED_MAX_LINE] = '\0';
	json_array_append_new(lines, json_pack("[s]", long_text));
	ck_assert_ptr_null(saved_write(lines, &n, &e));
	ck_assert_ptr_nonnull(strstr(e.text, "longer than 64 KiB"));
	json_array_clear(lines);
	long_text[SAVED_MAX_LINE - 16] = '\0';
	for (int i = 0; i < 300; i++)
		json_array_append_new(lines, json_pack("[s]", long_text));
	e = (struct err){0};
	ck_assert_ptr_null(saved_write(lines, &n, &e));
	ck_assert_ptr_nonnull(strstr(e.text, "larger than 16 MiB"));
	json_decref(lines);
	free(long_text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("saved");
	TCase *t = tcase_create("saved");
	SRunner *r = srunner_create(s);

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_written_is_read_again);
	tcase_add_test(t, every_truncation_is_refused);
	tcase_add_test(t, a_missing_or_added_line_is_refused);
	tcase_add_test(t, garbage_is_refused);
	tcase_add_test(t, more_than_a_port_has_is_refused);
	tcase_add_test(t, what_is_too_long_is_not_written);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}
