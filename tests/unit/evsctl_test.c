// evsctl's pure parts: words to parameters, tables, rates, usage.
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/evsctl/command.h"
#include "tools/evsctl/rates.h"
#include "tools/evsctl/table.h"
#include "tools/evsctl/usage.h"

// JSON with single quotes, for reading's sake.
static json_t *js(const char *text)
{
	char *copy = strdup(text);
	json_error_t je;

	for (char *s = copy; *s; s++)
		if (*s == '\'')
			*s = '"';
	json_t *v = json_loads(copy, JSON_DECODE_ANY, &je);
	ck_assert_msg(v != NULL, "%s: %s", text, je.text);
	free(copy);
	return v;
}

static const char show_method[] = "{'name': 'port.show', 'params': ["
				  " {'name': 'name', 'type': 'name', 'positional': true},"
				  " {'name': 'long', 'type': 'bool', 'flag': true},"
				  " {'name': 'switch', 'type': 'name'}]}";
static const char set_method[] = "{'name': 'acl.add', 'params': ["
				 " {'name': 'port', 'type': 'name', 'positional': true, 'required': true},"
				 " {'name': 'at', 'type': 'int', 'positional': true},"
				 " {'name': 'action', 'type': 'enum', 'required': true},"
				 " {'name': 'match', 'type': 'json'}]}";

// Parameters that a line gives, as JSON text with single quotes, or the sentence of the refusal.
static const char *params_of(const char *method_text, const char *line)
{
	static char out[1024];
	char *copy = strdup(line), *save = copy, *words[16], *word;
	json_t *method = js(method_text);
	struct err e = {0};
	size_t n = 0;

	while ((word = strsep(&copy, " ")) && *line)
		words[n++] = word;
	json_t *params = command_params(method, words, n, &e);
	if (params) {
		char *text = json_dumps(params, JSON_SORT_KEYS);
		snprintf(out, sizeof(out), "%s", text);
		for (char *s = out; *s; s++)
			if (*s == '"')
				*s = '\'';
		free(text);
	} else {
		snprintf(out, sizeof(out), "%s", e.text);
	}
	json_decref(params);
	json_decref(method);
	free(save);
	return out;
}

START_TEST(optional_positional_gives_way_to_a_key)
{
	ck_assert_str_eq(params_of(show_method, ""), "{}");
	ck_assert_str_eq(params_of(show_method, "vm1"), "{'name': 'vm1'}");
	ck_assert_str_eq(params_of(show_method, "switch sw0"), "{'switch': 'sw0'}");
	ck_assert_str_eq(params_of(show_method, "name vm1"), "{'name': 'vm1'}");
}
END_TEST

START_TEST(only_word_left_is_the_positional)
{
	ck_assert_str_eq(params_of(show_method, "switch"), "{'name': 'switch'}");
	ck_assert_str_eq(params_of(show_method, "name"), "{'name': 'name'}");
	ck_assert_str_eq(params_of(show_method, "long"), "{'long': 'on'}");
}
END_TEST

START_TEST(required_positional_takes_keys_for_values)
{
	ck_assert_str_eq(params_of(set_method, "action action deny"), "{'action': 'deny', 'port': 'action'}");
	ck_assert_str_eq(params_of(set_method, "port vm1 action deny"), "{'action': 'deny', 'port': 'vm1'}");
	ck_assert_str_eq(params_of(set_method, "vm1 5 action deny"),
			 "{'action': 'deny', 'at': '5', 'port': 'vm1'}");
	ck_assert_str_eq(params_of(set_method, "vm1 action deny at 5"),
			 "{'action': 'deny', 'at': '5', 'port': 'vm1'}");
}
END_TEST

START_TEST(flag_takes_a_bool_only)
{
	ck_assert_str_eq(params_of(show_method, "vm1 long no"), "{'long': 'no', 'name': 'vm1'}");
	ck_assert_str_eq(params_of(show_method, "vm1 long switch sw0"),
			 "{'long': 'on', 'name': 'vm1', 'switch': 'sw0'}");
	ck_assert_str_eq(params_of(show_method, "vm1 long maybe"), "port show: unknown key maybe");
}
END_TEST

// The daemon knows no directory of the user's.
START_TEST(paths_from_here_are_made_whole)
{
	const char load[] = "{'name': 'ext.load', 'params': [{'name': 'path', 'type': 'path'},"
			    " {'name': 'text', 'type': 'string'}]}";
	char here[512], wanted[600];

	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	snprintf(wanted, sizeof(wanted), "{'path': '%s/fw.so'}", here);
	ck_assert_str_eq(params_of(load, "path ./fw.so"), wanted);
	snprintf(wanted, sizeof(wanted), "{'path': '%s/../fw.so'}", here);
	ck_assert_str_eq(params_of(load, "path ../fw.so"), wanted);
	ck_assert_str_eq(params_of(load, "path /lib/fw.so"), "{'path': '/lib/fw.so'}");
	ck_assert_str_eq(params_of(load, "path fw.so"), "{'path': 'fw.so'}");
	ck_assert_str_eq(params_of(load, "text ./fw.so"), "{'text': './fw.so'}");
}
END_TEST

START_TEST(json_is_parsed)
{
	ck_assert_str_eq(params_of(set_method, "vm1 action deny match [1,true]"),
			 "{'action': 'deny', 'match': [1, true], 'port': 'vm1'}");
	ck_assert_ptr_nonnull(strstr(params_of(set_method, "vm1 action deny match [1"),
				     "acl add: the value of match is not JSON: "));
}
END_TEST

START_TEST(bad_lines_get_a_sentence)
{
	ck_assert_str_eq(params_of(set_method, ""), "acl add: port is missing; acl add: action is missing");
	ck_assert_str_eq(params_of(set_method, "vm1 action"), "acl add: action is missing");
	ck_assert_str_eq(params_of(set_method, "vm1 1 action"), "acl add: action needs a value");
	ck_assert_str_eq(params_of(set_method, "vm1 1 acton deny"),
			 "acl add: unknown key acton; did you mean action?");
	ck_assert_str_eq(params_of(set_method, "vm1 1 action a action b"), "acl add: action is given twice");
	ck_assert_str_eq(params_of(set_method, "vm1 1 port vm2"), "acl add: port is given twice");
	ck_assert_str_eq(params_of(set_method, "vm1 1 action \xff"),
			 "acl add: the value of action is not valid UTF-8");
}
END_TEST

// What a printing function wrote; to be freed.
static char *table_text(const char *columns_text, const char *rows_text)
{
	json_t *columns = js(columns_text), *rows = js(rows_text);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	table_print(f, columns, rows);
	fclose(f);
	json_decref(columns);
	json_decref(rows);
	return text;
}

START_TEST(table_aligns_by_width_and_type)
{
	char *text = table_text("[{'name': 'name'}, {'name': 'n'}, {'name': 'mixed'}, {'name': 'why'}]",
				"[{'name': 'a', 'n': 1000, 'mixed': 5, 'why': 'x y'},"
				" {'name': '\u00e4\u00f6', 'mixed': 'auto', 'more': 1}]");

	ck_assert_str_eq(text, "name     n  mixed  why\n"
			       "a     1000  5      x y\n"
			       "\u00e4\u00f6       -  auto   -\n");
	free(text);
}
END_TEST

START_TEST(table_without_rows_is_empty)
{
	char *text = table_text("[{'name': 'name'}]", "[]");

	ck_assert_str_eq(text, "");
	free(text);
}
END_TEST

START_TEST(table_survives_rows_that_are_none)
{
	char *text = table_text("[{'name': 'name'}, 5, {'nome': 1}]", "[7, null, {'name': {'a': 1}}]");

	ck_assert_str_eq(text, "\nname:\n  a: 1\n");
	free(text);
}
END_TEST

START_TEST(table_leaves_out_empty_columns_and_puts_objects_behind)
{
	char *text = table_text("[{'name': 'name'}, {'name': 'gone'}, {'name': 'more'}]",
				"[{'name': 'x', 'gone': null, 'more': {'a': 1, 'b': {'c': 'd'}}}]");

	ck_assert_str_eq(text, "name\nx\n\nmore:\n  a: 1\n  b:\n    c: d\n");
	free(text);
}
END_TEST

START_TEST(cells_on_one_line)
{
	static const char *const cells[][2] = {
	    {"null", "-"},
	    {"''", "-"},
	    {"[]", "-"},
	    {"true", "yes"},
	    {"false", "no"},
	    {"0", "0"},
	    {"0.25", "0.25"},
	    {"-9223372036854775808", "-9223372036854775808"},
	    {"['a', 'b']", "a,b"},
	    {"'a\\nb'", "a?b"},
	    {"'\\u001b[2J'", "?[2J"},
	    {"1e300", "1e+300"},
	};

	for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
		json_t *v = js(cells[i][0]);
		char *text = cell_text(v);
		ck_assert_str_eq(text, cells[i][1]);
		free(text);
		json_decref(v);
	}
	char *absent = cell_text(NULL);
	ck_assert_str_eq(absent, "-");
	free(absent);
}
END_TEST

static const char rate_columns[] =
    "[{'name': 'name'}, {'name': 'rx', 'unit': 'packets'}, {'name': 'mtu', 'unit': 'B'}]";

static void check_rates(const char *before_text, const char *now_text, double seconds, const char *expected)
{
	json_t *columns = js(rate_columns), *before = before_text ? js(before_text) : NULL,
	       *now = js(now_text);
	json_t *rows = rates_rows(columns, now, before, seconds), *want = js(expected);
	char *text = json_dumps(rows, 0);

	ck_assert_msg(json_equal(rows, want), "%s instead of %s", text, expected);
	free(text);
	json_decref(columns);
	json_decref(before);
	json_decref(now);
	json_decref(rows);
	json_decref(want);
}

START_TEST(rates_per_second_beside_counters)
{
	json_t *columns = js(rate_columns), *all = rates_columns(columns);

	ck_assert_uint_eq(json_array_size(all), 4);
	ck_assert_str_eq(text_of(json_array_get(all, 2), "name"), "rx/s");
	json_decref(columns);
	json_decref(all);
	check_rates("[{'name': 'a', 'rx': 10, 'mtu': 1}]", "[{'name': 'a', 'rx': 30, 'mtu': 2}]", 2,
		    "[{'name': 'a', 'rx': 30, 'mtu': 2, 'rx/s': 10}]");
}
END_TEST

START_TEST(no_rate_without_a_row_before)
{
	check_rates(NULL, "[{'name': 'a', 'rx': 30}]", 0, "[{'name': 'a', 'rx': 30}]");
	check_rates("[{'name': 'b', 'rx': 1}]", "[{'name': 'a', 'rx': 30}]", 1, "[{'name': 'a', 'rx': 30}]");
	check_rates("[{'name': 'a', 'rx': 50}]", "[{'name': 'a', 'rx': 30}]", 1, "[{'name': 'a', 'rx': 30}]");
}
END_TEST

static void check_usage(const char *param_text, const char *piece, const char *facts)
{
	json_t *param = js(param_text);
	char out[256];

	usage_piece(param, out, sizeof(out));
	ck_assert_str_eq(out, piece);
	usage_facts(param, out, sizeof(out));
	ck_assert_str_eq(out, facts);
	json_decref(param);
}

START_TEST(usage_of_parameters)
{
	check_usage("{'name': 'name', 'type': 'name', 'positional': true, 'required': true}", "NAME",
		    "required");
	check_usage("{'name': 'port', 'type': 'name', 'positional': true}", "[PORT]", "");
	check_usage("{'name': 'long', 'type': 'bool', 'flag': true, 'values': ['on', 'off']}", "[long]", "");
	check_usage(
	    "{'name': 'mtu', 'type': 'int', 'min': 68, 'max': 9216, 'unit': 'bytes', 'default': '1500'}",
	    "[mtu NUMBER]", "68..9216 bytes; default 1500");
	check_usage("{'name': 'mode', 'type': 'enum', 'required': true, 'values': ['a', 'b']}", "mode a|b",
		    "required");
	check_usage("{'name': 'age', 'type': 'int', 'unit': 's', 'clears': true}", "[age NUMBER]",
		    "in s; \"\" sets it back to none");
	check_usage("{'name': 'x', 'type': 'to-come'}", "[x VALUE]", "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("evsctl");
	TCase *t = tcase_create("pure");

	tcase_add_test(t, optional_positional_gives_way_to_a_key);
	tcase_add_test(t, only_word_left_is_the_positional);
	tcase_add_test(t, required_positional_takes_keys_for_values);
	tcase_add_test(t, flag_takes_a_bool_only);
	tcase_add_test(t, paths_from_here_are_made_whole);
	tcase_add_test(t, json_is_parsed);
	tcase_add_test(t, bad_lines_get_a_sentence);
	tcase_add_test(t, table_aligns_by_width_and_type);
	tcase_add_test(t, table_without_rows_is_empty);
	tcase_add_test(t, table_survives_rows_that_are_none);
	tcase_add_test(t, table_leaves_out_empty_columns_and_puts_objects_behind);
	tcase_add_test(t, cells_on_one_line);
	tcase_add_test(t, rates_per_second_beside_counters);
	tcase_add_test(t, no_rate_without_a_row_before);
	tcase_add_test(t, usage_of_parameters);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
