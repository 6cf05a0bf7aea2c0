// Parameters against their table: every type, every refusal, several findings at once.
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/decode.h"
#include "ctrl/nearest.h"

static const struct param table[] = {
    {.name = "name", .type = PARAM_NAME, .flags = PARAM_REQUIRED | PARAM_POSITIONAL},
    {.name = "mtu", .type = PARAM_INT, .def = "1500", .min = 68, .max = 9216, .unit = "bytes"},
    {.name = "mode", .type = PARAM_ENUM, .values = "client|server"},
    {.name = "mac", .type = PARAM_MAC, .flags = PARAM_CLEARS},
    {.name = "index", .type = PARAM_INT},
    {0},
};

static void check_one(const struct param *p, const char *in, const char *canonical, const char *refusal)
{
	struct err e = {0};
	json_t *v = json_loads(in, JSON_DECODE_ANY, NULL), *want, *got;

	ck_assert_msg(v != NULL, "%s", in);
	got = decode_value(p, v, &e);
	if (canonical) {
		want = json_loads(canonical, JSON_DECODE_ANY, NULL);
		ck_assert_msg(got && json_equal(got, want), "%s %s: %s", decode_type_name(p->type), in,
			      e.text);
		json_decref(want);
	} else {
		ck_assert_msg(!got, "%s %s was taken", decode_type_name(p->type), in);
		ck_assert_msg(e.code < 0 && strstr(e.text, refusal), "%s: %s", in, e.text);
		ck_assert_msg(strstr(e.text, "p ") == e.text, "%s", e.text);
	}
	json_decref(got);
	json_decref(v);
}

START_TEST(every_type_has_a_canonical_form)
{
	static const struct {
		enum param_type type;
		const char *in, *canonical, *refusal;
	} cases[] = {
	    {PARAM_STRING, "\"größe 1\"", "\"größe 1\"", NULL},
	    {PARAM_STRING, "\"\"", NULL, "is empty"},
	    {PARAM_STRING, "\"a\\nb\"", NULL, "control character"},
	    {PARAM_STRING, "5", NULL, "must be a string"},
	    {PARAM_NAME, "\"vm1\"", "\"vm1\"", NULL},
	    {PARAM_NAME, "\"vm 1\"", NULL, "is not a name"},
	    {PARAM_NAME, "null", NULL, "not JSON null"},
	    {PARAM_PATH, "\"/run/x\"", "\"/run/x\"", NULL},
	    {PARAM_PATH, "\"run/x\"", NULL, "not an absolute path"},
	    {PARAM_BOOL, "\"on\"", "true", NULL},
	    {PARAM_BOOL, "\"no\"", "false", NULL},
	    {PARAM_BOOL, "false", "false", NULL},
	    {PARAM_BOOL, "\"maybe\"", NULL, "neither on nor off"},
	    {PARAM_BOOL, "1", NULL, "must be on or off"},
	    {PARAM_INT, "\"10\"", "10", NULL},
	    {PARAM_INT, "-10", "-10", NULL},
	    {PARAM_INT, "1.5", NULL, "whole number"},
	    {PARAM_INT, "\"ten\"", NULL, "whole number"},
	    {PARAM_INT, "\"99999999999999999999\"", NULL, "too large"},
	    {PARAM_RATE, "\"1G\"", "1000000000", NULL},
	    {PARAM_RATE, "7", "7", NULL},
	    {PARAM_RATE, "-7", NULL, "below 0"},
	    {PARAM_RATE, "\"fast\"", NULL, "not a rate"},
	    {PARAM_SIZE, "\"4K\"", "4096", NULL},
	    {PARAM_SIZE, "true", NULL, "whole number"},
	    {PARAM_ENUM, "\"server\"", "\"server\"", NULL},
	    {PARAM_ENUM, "\"serve\"", NULL, "none of client|server"},
	    {PARAM_ENUM, "\"client|server\"", NULL, "none of"},
	    {PARAM_ENUM, "\"\"", NULL, "none of"},
	    {PARAM_MAC, "\"02:AA:00:00:00:01\"", "\"02:aa:00:00:00:01\"", NULL},
	    {PARAM_MAC, "\"02:AA\"", NULL, "not a MAC"},
	    {PARAM_IP, "\"2001:DB8::0\"", "\"2001:db8::\"", NULL},
	    {PARAM_IP, "\"1.2.3\"", NULL, "not an IPv4"},
	    {PARAM_PREFIX, "\"10.0.0.0/8\"", "\"10.0.0.0/8\"", NULL},
	    {PARAM_PREFIX, "\"10.1.0.0/8\"", NULL, "bits behind its length"},
	    {PARAM_PREFIX, "\"x\"", NULL, "not a prefix"},
	    {PARAM_UUID, "\"123E4567-e89b-12d3-a456-426614174000\"",
	     "\"123e4567-e89b-12d3-a456-426614174000\"", NULL},
	    {PARAM_UUID, "\"123\"", NULL, "not a UUID"},
	    {PARAM_VLANS, "\"30,10-20\"", "\"10-20,30\"", NULL},
	    {PARAM_VLANS, "\"4095\"", NULL, "VLANs 1 to 4094"},
	    {PARAM_NAMES, "\"a,b\"", "[\"a\",\"b\"]", NULL},
	    {PARAM_NAMES, "[\"a\"]", "[\"a\"]", NULL},
	    {PARAM_NAMES, "[]", "[]", NULL},
	    {PARAM_NAMES, "\"a,\"", NULL, "is not a name"},
	    {PARAM_NAMES, "\"a,b,a\"", NULL, "has a twice"},
	    {PARAM_NAMES, "[1]", NULL, "list of names"},
	    {PARAM_NAMES, "{}", NULL, "list of names"},
	    {PARAM_HEX, "\"00FFab\"", "\"00ffab\"", NULL},
	    {PARAM_HEX, "\"0\"", NULL, "even number"},
	    {PARAM_HEX, "\"\"", NULL, "even number"},
	    {PARAM_JSON, "{\"a\":[1,null]}", "{\"a\":[1,null]}", NULL},
	    {PARAM_INPUT, "{\"fd\":0}", "0", NULL},
	    {PARAM_OUTPUT, "{\"fd\":8}", NULL, "descriptor"},
	    {PARAM_INPUT, "{\"fd\":-1}", NULL, "descriptor"},
	    {PARAM_INPUT, "{\"fd\":0,\"x\":1}", NULL, "descriptor"},
	    {PARAM_INPUT, "\"/etc/shadow\"", NULL, "descriptor"},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct param p = {.name = "p", .type = cases[i].type, .values = "client|server"};
		check_one(&p, cases[i].in, cases[i].canonical, cases[i].refusal);
	}
}
END_TEST

// Decodes `in`; returns the result as text or the sentence.
static const char *decode(const char *in)
{
	static char text[1024];
	struct err e = {0};
	json_t *v = json_loads(in, JSON_DECODE_ANY, NULL), *out;
	int rc = decode_params(table, v, "port add", &out, &e);

	ck_assert((rc == 0) == (out != NULL) && rc == e.code);
	text[rc == 0 ? json_dumpb(out, text, sizeof(text) - 1, JSON_COMPACT) : 0] = '\0';
	if (rc)
		strcpy(text, e.text);
	json_decref(out);
	json_decref(v);
	return text;
}

START_TEST(defaults_are_filled_in_and_the_order_is_the_tables)
{
	ck_assert_str_eq(decode("{\"mode\":\"client\",\"name\":\"vm1\"}"),
			 "{\"name\":\"vm1\",\"mtu\":1500,\"mode\":\"client\"}");
}
END_TEST

START_TEST(all_findings_are_told_at_once)
{
	ck_assert_str_eq(
	    decode("{\"mtu\":1,\"mod\":\"x\",\"mac\":3}"),
	    "port add: name is missing; mtu 1 is outside 68 to 9216 bytes; mac must be a string, "
	    "not JSON number; unknown parameter mod (is mode meant?)");
}
END_TEST

START_TEST(only_marked_parameters_can_be_cleared)
{
	ck_assert_str_eq(decode("{\"name\":\"a\",\"mac\":\"\"}"),
			 "{\"name\":\"a\",\"mtu\":1500,\"mac\":null}");
	ck_assert_str_eq(decode("{\"name\":\"a\",\"mac\":null}"),
			 "{\"name\":\"a\",\"mtu\":1500,\"mac\":null}");
	ck_assert_str_eq(decode("{\"name\":\"a\",\"mode\":null}"),
			 "port add: mode must be a string, not JSON null");
}
END_TEST

START_TEST(parameters_must_be_an_object)
{
	ck_assert_ptr_nonnull(strstr(decode("[1]"), "port add: parameters must be a JSON object"));
}
END_TEST

START_TEST(findings_of_several_rows_are_joined)
{
	struct err e = {0};
	json_t *out;

	ck_assert_int_eq(decode_params(table, NULL, "port a", &out, &e), -EINVAL);
	ck_assert_int_eq(decode_params(table, NULL, "port b", &out, &e), -EINVAL);
	ck_assert_str_eq(e.text, "port a: name is missing; port b: name is missing");
}
END_TEST

START_TEST(thousands_of_unknown_parameters_are_counted)
{
	struct err e = {0};
	json_t *in = json_pack("{ss}", "name", "a"), *out;

	for (int i = 0; i < 5000; i++) {
		char key[16];
		snprintf(key, sizeof(key), "x%d", i);
		json_object_set_new(in, key, json_true());
	}
	ck_assert_int_eq(decode_params(table, in, "port add", &out, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.text, "and 4992 more unknown parameters"));
	json_decref(in);
}
END_TEST

START_TEST(nearest_word)
{
	ck_assert_uint_eq(nearest_distance("port.add", "port.add"), 0);
	ck_assert_uint_eq(nearest_distance("prot.add", "port.add"), 1);
	ck_assert_uint_eq(nearest_distance("", "abc"), 3);
	ck_assert_uint_eq(nearest_rank("xyz", "port.add"), UINT32_MAX);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("decode");
	TCase *t = tcase_create("decode");

	tcase_add_test(t, every_type_has_a_canonical_form);
	tcase_add_test(t, defaults_are_filled_in_and_the_order_is_the_tables);
	tcase_add_test(t, all_findings_are_told_at_once);
	tcase_add_test(t, only_marked_parameters_can_be_cleared);
	tcase_add_test(t, parameters_must_be_an_object);
	tcase_add_test(t, findings_of_several_rows_are_joined);
	tcase_add_test(t, thousands_of_unknown_parameters_are_counted);
	tcase_add_test(t, nearest_word);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
