// How long the supervisor waits before it starts a crashed switch process again.
#include <check.h>
#include <stdlib.h>

#include "ctrl/supervisor.h"

START_TEST(first_crash_restarts_at_once)
{
	struct backoff b = {0};

	ck_assert_uint_eq(backoff_next_ms(&b, 20), 0);
}
END_TEST

START_TEST(waits_double_up_to_five_seconds)
{
	static const uint32_t expected[] = {0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};
	struct backoff b = {0};

	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++)
		ck_assert_uint_eq(backoff_next_ms(&b, 9999), expected[i]);
}
END_TEST

START_TEST(a_long_life_is_forgiven)
{
	struct backoff b = {0};

	for (int i = 0; i < 6; i++)
		backoff_next_ms(&b, 1);
	ck_assert_uint_eq(backoff_next_ms(&b, 10000), 0);
	ck_assert_uint_eq(backoff_next_ms(&b, 1), 100);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("supervisor");
	TCase *t = tcase_create("backoff");

	tcase_add_test(t, first_crash_restarts_at_once);
	tcase_add_test(t, waits_double_up_to_five_seconds);
	tcase_add_test(t, a_long_life_is_forgiven);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int n = srunner_ntests_failed(r);
	srunner_free(r);
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}
