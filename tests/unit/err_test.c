// Sentences: set, joined, cut, made printable.
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/err.h"

START_TEST(set_returns_the_code_and_keeps_the_sentence)
{
	struct err e = {0};

	ck_assert_int_eq(err_set(&e, -ERANGE, "port %s: mtu %d exceeds 9216", "vm1", 10000), -ERANGE);
	ck_assert_int_eq(e.code, -ERANGE);
	ck_assert_str_eq(e.text, "port vm1: mtu 10000 exceeds 9216");
	ck_assert_int_eq(err_set(&e, -EINVAL, "port vm1: %s", e.text), -EINVAL);
	ck_assert_str_eq(e.text, "port vm1: port vm1: mtu 10000 exceeds 9216");
	ck_assert_int_eq(err_set(NULL, -EIO, "nobody listens"), -EIO);
}
END_TEST

START_TEST(add_joins_findings)
{
	struct err e = {0};

	err_add(&e, -EINVAL, "name is missing");
	ck_assert_str_eq(e.text, "name is missing");
	ck_assert_int_eq(err_add(&e, -ERANGE, "mtu %d is too large", 5), -ERANGE);
	ck_assert_str_eq(e.text, "name is missing; mtu 5 is too large");
	ck_assert_int_eq(e.code, -ERANGE);
}
END_TEST

static void finding_note(const char *finding, void *list)
{
	strcat(strcat(list, finding), "|");
}

START_TEST(findings_are_told_each_by_itself)
{
	char list[200] = "";
	struct err e = {.each = finding_note, .arg = list}, told = e, quiet = {0};

	err_add(&told, -EINVAL, "one");
	err_add(&told, -EINVAL, "two; in two parts");
	err_join(&e, &told);
	err_set(&quiet, -ERANGE, "three");
	ck_assert_int_eq(err_join(&e, &quiet), -ERANGE);
	ck_assert_str_eq(list, "one|two; in two parts|three|");
	ck_assert_str_eq(e.text, "one; two; in two parts; three");
	err_set(&e, -EIO, "four");
	ck_assert_ptr_null(e.each);
	ck_assert_str_eq(list, "one|two; in two parts|three|");
}
END_TEST

START_TEST(long_sentences_are_cut_visibly)
{
	struct err e = {0};

	for (int i = 0; i < 200; i++)
		err_add(&e, -EINVAL, "finding number %d", i);
	ck_assert_uint_eq(strlen(e.text), sizeof(e.text) - 1);
	ck_assert_str_eq(e.text + sizeof(e.text) - 4, "...");
}
END_TEST

START_TEST(unprintable_bytes_cannot_reach_a_terminal)
{
	struct err e = {0};

	err_set(&e, -EINVAL, "device \033[2J\n\xff: größe");
	ck_assert_str_eq(e.text, "device ?[2J??: größe");
}
END_TEST

START_TEST(names_begin_small)
{
	ck_assert_str_eq(err_name(EACCES), "permission denied");
	ck_assert_str_eq(err_name(-EACCES), "permission denied");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("err");
	TCase *t = tcase_create("err");

	tcase_add_test(t, set_returns_the_code_and_keeps_the_sentence);
	tcase_add_test(t, add_joins_findings);
	tcase_add_test(t, findings_are_told_each_by_itself);
	tcase_add_test(t, long_sentences_are_cut_visibly);
	tcase_add_test(t, unprintable_bytes_cannot_reach_a_terminal);
	tcase_add_test(t, names_begin_small);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
