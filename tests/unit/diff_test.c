// Two states, the edits between them, and the order in which they are carried out.
#include "ctrl/diff.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"switch", "port", "vlan", NULL};

static const struct {
	const char *from, *to;
	const char *steps; // "+kind name", "-kind name", "~kind name"
} table[] = {
    {"{}", "{}", ""},
    {"{'switch': {'sw0': {}}}", "{'switch': {'sw0': {}}}", ""},
    {"{'switch': {}}", "{}", ""},
    {"{}", "{'switch': {'sw0': {}}}", "+switch sw0 "},
    {"{'switch': {'sw0': {}}}", "{}", "-switch sw0 "},
    {"{'switch': {'sw0': {}}}", "{'switch': {}}", "-switch sw0 "},
    {"{'port': {'a': {'mtu': 1}}}", "{'port': {'a': {'mtu': 2}}}", "~port a "},
    {"{'port': {'a': {'mtu': 1}}}", "{'port': {'a': {'mtu': 1, 'mac': 'x'}}}", "~port a "},
    {"{'port': {'a': {'x': 1, 'y': 2}}}", "{'port': {'a': {'y': 2, 'x': 1}}}", ""},
    // along the kinds when adding, names sorted
    {"{}", "{'vlan': {'b': {}}, 'port': {'b': {}, 'a': {}}, 'switch': {'s': {}}}",
     "+switch s +port a +port b +vlan b "},
    // against them when deleting
    {"{'switch': {'s': {}}, 'port': {'a': {}}, 'vlan': {'a': {}}}", "{}", "-vlan a -port a -switch s "},
    // deletes first
    {"{'switch': {'s': {}}, 'port': {'a': {}, 'b': {'x': 1}}}",
     "{'switch': {'s': {}, 't': {}}, 'port': {'b': {'x': 2}}}", "-port a +switch t ~port b "},
};

static json_t *parse(const char *text)
{
	char copy[512];
	json_t *v;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	v = json_loads(copy, 0, NULL);
	ck_assert_msg(v != NULL, "%s", copy);
	return v;
}

static void print(char *text, size_t size, const struct diff_step *steps, size_t n)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, size - at, "%c%s %s ",
				       !steps[i].old   ? '+'
				       : !steps[i].now ? '-'
						       : '~',
				       steps[i].kind, steps[i].name);
}

START_TEST(the_steps_between_two_states)
{
	json_t *from = parse(table[_i].from), *to = parse(table[_i].to), *edits = diff_states(from, to);
	struct diff_step *steps;
	size_t n = diff_steps(kinds, from, edits, &steps);
	char text[512];

	print(text, sizeof(text), steps, n);
	ck_assert_str_eq(text, table[_i].steps);
	diff_free(steps, n);
	json_decref(from);
	json_decref(to);
	json_decref(edits);
}
END_TEST

START_TEST(edits_that_change_nothing_are_no_steps)
{
	json_t *from = parse("{'port': {'a': {'mtu': 1}}}");
	json_t *edits = parse("{'port': {'a': {'mtu': 1}, 'gone': null}, 'unknown': {'x': {}}}");
	struct diff_step *steps;

	ck_assert_uint_eq(diff_steps(kinds, from, edits, &steps), 0);
	diff_free(steps, 0);
	json_decref(from);
	json_decref(edits);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("diff");
	TCase *c = tcase_create("diff");
	SRunner *r;
	int failed;

	tcase_add_loop_test(c, the_steps_between_two_states, 0, sizeof(table) / sizeof(table[0]));
	tcase_add_test(c, edits_that_change_nothing_are_no_steps);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
