// Rows, views over them, references between rows, and documents.
#include "ctrl/conf.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/change.h"
#include "ctrl/diff.h"
#include "ctrl/document.h"

static char validated[256]; // names, in order

static int validate(const struct conf_view *v, const char *name, const json_t *conf, struct err *e)
{
	const char *word = json_string_value(json_object_get(conf, "word"));
	size_t n = strlen(validated);

	(void)v;
	snprintf(validated + n, sizeof(validated) - n, "%s ", name);
	if (word && strcmp(word, "bad") == 0)
		return err_add(e, -EINVAL, "%s: bad word", name);
	return 0;
}

static const struct param switch_params[] = {{.name = "word", .type = PARAM_STRING}, {0}};
static const struct param port_params[] = {
    {.name = "switch", .type = PARAM_NAME, .flags = PARAM_REQUIRED},
    {.name = "mtu", .type = PARAM_INT, .def = "1500", .min = 68, .max = 9216},
    {.name = "word", .type = PARAM_STRING},
    {0},
};
static const struct param vlan_params[] = {{.name = "vlan", .type = PARAM_INT, .min = 1, .max = 4094}, {0}};
static const struct param tag_params[] = {{.name = "of", .type = PARAM_NAME}, {0}};
static const struct param team_params[] = {{.name = "members", .type = PARAM_NAMES}, {0}};

static const struct conf_ref port_refs[] = {{CONF_NEEDS, "switch", "switch"}, {0}};
static const struct conf_ref vlan_refs[] = {{CONF_OWNER, "port", NULL}, {0}};
static const struct conf_ref tag_refs[] = {{CONF_OWNER, "vlan", "of"}, {0}};
static const struct conf_ref team_refs[] = {{CONF_NEEDS, "port", "members"}, {0}};

static const struct conf_kind kinds[] = {
    {.name = "switch", .params = switch_params, .validate = validate},
    {.name = "port", .params = port_params, .refs = port_refs, .validate = validate},
    {.name = "vlan", .params = vlan_params, .refs = vlan_refs, .validate = validate},
    {.name = "tag", .params = tag_params, .refs = tag_refs},
    {.name = "team", .params = team_params, .refs = team_refs},
    {0},
};
static const struct module module = {.name = "test", .kinds = kinds};
static const struct module *const mods[] = {&module, NULL};

static json_t *parse(const char *text)
{
	char copy[4096];
	json_error_t at;
	json_t *v;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	v = json_loads(copy, JSON_DECODE_ANY, &at);
	ck_assert_msg(v != NULL, "%s: %s", copy, at.text);
	return v;
}

static void row(const char *kind, const char *name, const char *conf)
{
	conf_row_set(kind, name, parse(conf));
}

static void setup(void)
{
	conf_init(mods);
	row("switch", "sw0", "{}");
	row("port", "vm1", "{'switch': 'sw0', 'mtu': 1500}");
	row("port", "vm2", "{'switch': 'sw0', 'mtu': 1500}");
	row("vlan", "vm1", "{'vlan': 10}");
	row("tag", "t1", "{'of': 'vm1'}");
	validated[0] = '\0';
}

static void teardown(void)
{
	conf_fini();
}

// What a change of these edits would do: "+port a -port b " or the refusal.
static const char *check(json_t *edits)
{
	static char text[1024];
	struct change *ch = change_new(NULL);
	struct diff_step *steps;
	struct err e = {0};
	size_t n, at = 0;

	change_edits(ch, edits);
	text[0] = '\0';
	if (change_check(ch, &steps, &n, &e) < 0)
		snprintf(text, sizeof(text), "%s", e.text);
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%c%s %s ",
				       !steps[i].old   ? '+'
				       : !steps[i].now ? '-'
						       : '~',
				       steps[i].kind, steps[i].name);
	diff_free(steps, n);
	return text;
}

static bool name_add(const char *name, const json_t *conf, void *arg)
{
	(void)conf;
	strcat(arg, name);
	strcat(arg, " ");
	return true;
}

START_TEST(a_view_shows_edits_over_rows)
{
	struct conf_view v = {parse("{'port': {'vm1': null, 'vm2': {'mtu': 9}, 'vm3': {}}}")};
	char names[64] = "";

	ck_assert_ptr_null(conf_get(&v, "port", "vm1"));
	ck_assert_int_eq(json_integer_value(json_object_get(conf_get(&v, "port", "vm2"), "mtu")), 9);
	ck_assert_ptr_nonnull(conf_get(&v, "port", "vm3"));
	ck_assert_ptr_nonnull(conf_get(&v, "switch", "sw0"));
	ck_assert_ptr_null(conf_get(NULL, "port", "vm3"));
	ck_assert_ptr_null(conf_get(NULL, "nothing", "vm3"));
	conf_each(&v, "port", name_add, names);
	ck_assert_str_eq(names, "vm2 vm3 ");
	json_decref(v.edits);
}
END_TEST

START_TEST(owned_rows_go_with_their_owner_to_any_depth)
{
	ck_assert_str_eq(check(parse("{'port': {'vm1': null}}")), "-tag t1 -vlan vm1 -port vm1 ");
	ck_assert_str_eq(check(parse("{'port': {'vm2': null}}")), "-port vm2 ");
}
END_TEST

START_TEST(a_needed_row_is_not_deleted)
{
	ck_assert_str_eq(check(parse("{'switch': {'sw0': null}}")),
			 "switch sw0: still used by port vm1, vm2; delete them first");
	row("team", "t0", "{'members': ['vm2', 'vm1']}");
	ck_assert_str_eq(check(parse("{'port': {'vm2': null}}")),
			 "port vm2: still used by team t0; delete them first");
	ck_assert_str_eq(check(parse("{'switch': {'sw0': null}, 'port': {'vm1': null, 'vm2': null}, "
				     "'team': {'t0': null}}")),
			 "-team t0 -tag t1 -vlan vm1 -port vm1 -port vm2 -switch sw0 ");
}
END_TEST

START_TEST(a_needed_row_names_some_of_many_users)
{
	for (int i = 0; i < 100; i++) {
		char name[8];

		snprintf(name, sizeof(name), "x%d", i);
		row("port", name, "{'switch': 'sw1'}");
	}
	row("switch", "sw1", "{}");
	ck_assert_str_eq(
	    check(parse("{'switch': {'sw1': null}}")),
	    "switch sw1: still used by port x0, x1, x2, x3, x4, x5, x6, x7 and 92 more; delete them first");
}
END_TEST

START_TEST(a_row_is_free_once_its_user_points_elsewhere)
{
	ck_assert_str_eq(
	    check(parse("{'switch': {'sw0': null, 'sw1': {}}, 'port': {'vm1': {'switch': 'sw1'}, "
			"'vm2': {'switch': 'sw1'}}}")),
	    "-switch sw0 +switch sw1 ~port vm1 ~port vm2 ");
}
END_TEST

START_TEST(a_reference_to_nothing_is_refused)
{
	ck_assert_str_eq(check(parse("{'port': {'vm9': {'switch': 'sw9'}}}")),
			 "port vm9: no such switch sw9");
	ck_assert_str_eq(check(parse("{'vlan': {'vm7': {'vlan': 1}}}")), "vlan vm7: no such port vm7");
	ck_assert_str_eq(check(parse("{'team': {'t': {'members': ['vm1', 'a', 'b']}}}")),
			 "team t: no such port a; team t: no such port b");
	ck_assert_str_eq(check(parse("{'port': {'vm9': {'switch': 'sw9'}}, 'switch': {'sw9': {}}}")),
			 "+switch sw9 +port vm9 ");
}
END_TEST

START_TEST(edited_rows_and_those_that_name_them_are_validated)
{
	check(parse("{'port': {'vm1': {'switch': 'sw0', 'mtu': 9000}}}"));
	ck_assert_str_eq(validated, "vm1 vm1 "); // the port, its vlan
	validated[0] = '\0';
	check(parse("{'switch': {'sw0': {'word': 'new'}}}"));
	ck_assert_str_eq(validated, "sw0 vm1 vm2 ");
	validated[0] = '\0';
	check(parse("{'switch': {'sw1': {}}}"));
	ck_assert_str_eq(validated, "sw1 ");
}
END_TEST

START_TEST(every_finding_is_reported)
{
	ck_assert_str_eq(check(parse("{'switch': {'sw0': {'word': 'bad'}}, 'port': {'vm1': {'switch': 'sw0', "
				     "'word': 'bad'}}}")),
			 "sw0: bad word; vm1: bad word");
}
END_TEST

START_TEST(a_conf_is_decoded_to_its_canonical_form)
{
	json_t *in = parse("{'mtu': '9000', 'switch': 'sw0', 'word': null}"), *out;
	struct err e = {0};

	ck_assert_msg(conf_decode("port", "vm1", in, &out, &e) == 0, "%s", e.text);
	ck_assert_int_eq(json_integer_value(json_object_get(out, "mtu")), 9000);
	ck_assert_ptr_null(json_object_get(out, "word"));
	json_decref(in);
	json_decref(out);
	in = parse("{'colour': 'red', 'switch': 'sw0'}");
	ck_assert_int_lt(conf_decode("port", "vm1", in, &out, &e), 0);
	ck_assert_msg(strstr(e.text, "port vm1") && strstr(e.text, "colour"), "%s", e.text);
	json_decref(in);
}
END_TEST

START_TEST(a_document_of_the_rows_describes_the_rows)
{
	json_t *document = document_make(conf_rows()), *state, *want;
	struct err e = {0};

	want =
	    parse("{'evswitch': 1, 'switch': [{'name': 'sw0'}], "
		  "'port': [{'name': 'vm1', 'switch': 'sw0', 'mtu': 1500}, {'name': 'vm2', 'switch': 'sw0', "
		  "'mtu': 1500}], "
		  "'vlan': [{'name': 'vm1', 'vlan': 10}], 'tag': [{'name': 't1', 'of': 'vm1'}], 'team': []}");
	ck_assert(json_equal(document, want));
	ck_assert_msg(document_read(document, &state, &e) == 0, "%s", e.text);
	ck_assert(json_equal(state, conf_rows()));
	json_decref(document);
	json_decref(state);
	json_decref(want);
}
END_TEST

static const struct {
	const char *document, *steps;
} moves[] = {
    // equal after decoding = untouched; an absent kind is empty
    {"{'evswitch': 1, 'switch': [{'name': 'sw0'}], 'port': [{'name': 'vm1', 'switch': 'sw0', 'mtu': '1500'}, "
     "{'name': 'vm2', 'switch': 'sw0'}], 'vlan': [{'name': 'vm1', 'vlan': '10'}], 'tag': [{'name': 't1', "
     "'of': 'vm1'}]}",
     ""},
    {"{'evswitch': 1}", "-tag t1 -vlan vm1 -port vm1 -port vm2 -switch sw0 "},
    {"{'evswitch': 1, 'switch': [{'name': 'sw0'}], 'port': [{'name': 'vm2', 'switch': 'sw0', 'mtu': 9000}]}",
     "-tag t1 -vlan vm1 -port vm1 ~port vm2 "},
    {"{'evswitch': 1, 'port': [{'name': 'vm1', 'switch': 'sw0'}]}",
     "switch sw0: still used by port vm1; delete them first"},
};

START_TEST(a_document_touches_only_what_differs)
{
	json_t *document = parse(moves[_i].document), *state;
	struct err e = {0};

	ck_assert_msg(document_read(document, &state, &e) == 0, "%s", e.text);
	ck_assert_str_eq(check(diff_states(conf_rows(), state)), moves[_i].steps);
	json_decref(document);
	json_decref(state);
}
END_TEST

static const struct {
	const char *document;
	const char *parts[3];
} wrongs[] = {
    {"[]", {"must be a JSON object"}},
    {"{}", {"\"evswitch\": 1"}},
    {"{'evswitch': 2}", {"version"}},
    {"{'evswitch': 1, 'nic': []}", {"nic: there is no such kind of object"}},
    {"{'evswitch': 1, 'port': {}}", {"port: must be a list"}},
    {"{'evswitch': 1, 'port': [3]}", {"port number 1: must be an object"}},
    {"{'evswitch': 1, 'port': [{'switch': 'sw0'}]}", {"port number 1", "name"}},
    {"{'evswitch': 1, 'port': [{'name': 7, 'switch': 'sw0'}]}", {"port number 1", "name"}},
    {"{'evswitch': 1, 'port': [{'name': 'a', 'switch': 'x', 'hue': 1}]}", {"port a", "hue"}},
    {"{'evswitch': 1, 'port': [{'name': 'a', 'switch': 'x'}, {'name': 'a', 'switch': 'x'}]}",
     {"port a: is there twice"}},
    {"{'evswitch': 1, 'port': [{'name': 'a', 'switch': 'x', 'mtu': 1}, {'name': 'b'}]}",
     {"port a", "mtu", "port b"}},
};

START_TEST(a_wrong_document_is_refused_by_name)
{
	json_t *document = parse(wrongs[_i].document), *state = NULL;
	struct err e = {0};

	ck_assert_int_lt(document_read(document, &state, &e), 0);
	for (int i = 0; i < 3 && wrongs[_i].parts[i]; i++)
		ck_assert_msg(strstr(e.text, wrongs[_i].parts[i]), "%s", e.text);
	json_decref(document);
}
END_TEST

START_TEST(many_findings_end_with_their_number)
{
	json_t *document = parse("{'evswitch': 1, 'port': []}"), *state = NULL;
	struct err e = {0};

	for (int i = 0; i < 1000; i++)
		json_array_append_new(json_object_get(document, "port"),
				      json_pack("{s:s++, s:i}", "name", "p", "-", "x", "mtu", i));
	ck_assert_int_lt(document_read(document, &state, &e), 0);
	ck_assert_msg(strstr(e.text, "; and 9") && strstr(e.text, " more"), "%s", e.text);
	json_decref(document);
}
END_TEST

START_TEST(text_that_is_no_json_is_refused_with_its_line)
{
	json_t *state = NULL;
	struct err e = {0};

	ck_assert_int_lt(document_parse("{\n\n!", 4, &state, &e), 0);
	ck_assert_msg(strstr(e.text, "line 3"), "%s", e.text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("conf");
	TCase *c = tcase_create("conf");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_view_shows_edits_over_rows);
	tcase_add_test(c, owned_rows_go_with_their_owner_to_any_depth);
	tcase_add_test(c, a_needed_row_is_not_deleted);
	tcase_add_test(c, a_needed_row_names_some_of_many_users);
	tcase_add_test(c, a_row_is_free_once_its_user_points_elsewhere);
	tcase_add_test(c, a_reference_to_nothing_is_refused);
	tcase_add_test(c, edited_rows_and_those_that_name_them_are_validated);
	tcase_add_test(c, every_finding_is_reported);
	tcase_add_test(c, a_conf_is_decoded_to_its_canonical_form);
	tcase_add_test(c, a_document_of_the_rows_describes_the_rows);
	tcase_add_loop_test(c, a_document_touches_only_what_differs, 0, sizeof(moves) / sizeof(moves[0]));
	tcase_add_loop_test(c, a_wrong_document_is_refused_by_name, 0, sizeof(wrongs) / sizeof(wrongs[0]));
	tcase_add_test(c, many_findings_end_with_their_number);
	tcase_add_test(c, text_that_is_no_json_is_refused_with_its_line);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
