// Values: what is taken, what is refused, and that what is printed is taken back.
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/value.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

START_TEST(integers)
{
	static const struct {
		const char *text;
		int rc;
		int64_t v;
	} cases[] = {{"0", 0, 0},
		     {"-5", 0, -5},
		     {"9223372036854775807", 0, INT64_MAX},
		     {"-9223372036854775808", 0, INT64_MIN},
		     {"9223372036854775808", -ERANGE, 0},
		     {"99999999999999999999999", -ERANGE, 0},
		     {"", -EINVAL, 0},
		     {"-", -EINVAL, 0},
		     {"+1", -EINVAL, 0},
		     {" 1", -EINVAL, 0},
		     {"1 ", -EINVAL, 0},
		     {"0x10", -EINVAL, 0},
		     {"1.0", -EINVAL, 0}};

	for (unsigned i = 0; i < N(cases); i++) {
		int64_t v = 0;
		ck_assert_msg(value_parse_int(cases[i].text, &v) == cases[i].rc, "%s", cases[i].text);
		ck_assert_int_eq(v, cases[i].v);
	}
}
END_TEST

START_TEST(rates_are_decimal_and_sizes_binary)
{
	static const struct {
		const char *text;
		int rc;
		int64_t rate, size;
	} cases[] = {{"0", 0, 0, 0},
		     {"1500", 0, 1500, 1500},
		     {"1k", 0, 1000, 1024},
		     {"1K", 0, 1000, 1024},
		     {"500M", 0, 500000000, 500 << 20},
		     {"1G", 0, 1000000000, 1 << 30},
		     {"2.5G", 0, 2500000000, 2684354560},
		     {"1.5", -EINVAL, 0, 0},
		     {"1.G", -EINVAL, 0, 0},
		     {"1g", -EINVAL, 0, 0},
		     {"1GB", -EINVAL, 0, 0},
		     {"-1", -EINVAL, 0, 0},
		     {"", -EINVAL, 0, 0},
		     {"99999999T", -ERANGE, 0, 0},
		     {"99999999999999999999", -ERANGE, 0, 0}};

	for (unsigned i = 0; i < N(cases); i++) {
		int64_t rate = 0, size = 0;
		ck_assert_msg(value_parse_rate(cases[i].text, &rate) == cases[i].rc, "%s", cases[i].text);
		ck_assert_msg(value_parse_size(cases[i].text, &size) == cases[i].rc, "%s", cases[i].text);
		ck_assert_int_eq(rate, cases[i].rate);
		ck_assert_int_eq(size, cases[i].size);
	}
}
END_TEST

START_TEST(rates_and_sizes_print_exactly)
{
	char buf[VALUE_NUMBER_LEN];

	ck_assert_str_eq(value_print_rate(0, buf), "0");
	ck_assert_str_eq(value_print_rate(1000000000, buf), "1G");
	ck_assert_str_eq(value_print_rate(2500000000, buf), "2500M");
	ck_assert_str_eq(value_print_rate(1001, buf), "1001");
	ck_assert_str_eq(value_print_size(4096, buf), "4K");
	ck_assert_str_eq(value_print_size(INT64_MAX, buf), "9223372036854775807");
}
END_TEST

START_TEST(macs)
{
	static const char *const bad[] = {"",
					  "02:00:00:00:00",
					  "02:00:00:00:00:0",
					  "02:00:00:00:00:011",
					  "02-00-00-00-00-01",
					  "02:00:00:00:00:0g",
					  "02:00:00:00:00:01:",
					  "2:0:0:0:0:1"};
	char buf[VALUE_MAC_LEN];
	uint8_t mac[6];

	ck_assert_int_eq(value_parse_mac("02:00:AB:cd:00:01", mac), 0);
	ck_assert_str_eq(value_print_mac(mac, buf), "02:00:ab:cd:00:01");
	for (unsigned i = 0; i < N(bad); i++)
		ck_assert_msg(value_parse_mac(bad[i], mac) == -EINVAL, "%s", bad[i]);
}
END_TEST

START_TEST(addresses_and_prefixes)
{
	static const struct {
		const char *text;
		int rc, rc_with_host_bits;
		const char *canonical;
	} cases[] = {{"10.0.0.0/8", 0, 0, "10.0.0.0/8"},
		     {"0.0.0.0/0", 0, 0, "0.0.0.0/0"},
		     {"192.0.2.1", 0, 0, "192.0.2.1/32"},
		     {"2001:DB8:0:0::/32", 0, 0, "2001:db8::/32"},
		     {"::/0", 0, 0, "::/0"},
		     {"::ffff:10.0.0.1/128", 0, 0, "::ffff:10.0.0.1/128"},
		     {"10.0.0.1/8", -EINVAL, 0, NULL},
		     {"2001:db8::1/64", -EINVAL, 0, NULL},
		     {"10.0.0.0/33", -ERANGE, -ERANGE, NULL},
		     {"::/129", -ERANGE, -ERANGE, NULL},
		     {"10.0.0.0/", -EINVAL, -EINVAL, NULL},
		     {"10.0.0.0/-1", -EINVAL, -EINVAL, NULL},
		     {"10.0.0/8", -EINVAL, -EINVAL, NULL},
		     {"010.0.0.0/8", -EINVAL, -EINVAL, NULL},
		     {"", -EINVAL, -EINVAL, NULL},
		     {"fe80::1%eth0", -EINVAL, -EINVAL, NULL}};
	char buf[VALUE_PREFIX_LEN];
	struct value_prefix p;

	for (unsigned i = 0; i < N(cases); i++) {
		ck_assert_msg(value_parse_ip_len(cases[i].text, &p) == cases[i].rc_with_host_bits, "%s",
			      cases[i].text);
		ck_assert_msg(value_parse_prefix(cases[i].text, &p) == cases[i].rc, "%s", cases[i].text);
		if (cases[i].rc == 0)
			ck_assert_str_eq(value_print_prefix(&p, buf), cases[i].canonical);
	}
	ck_assert_int_eq(value_parse_ip("192.0.2.300", &p.ip), -EINVAL);
	ck_assert_int_eq(value_parse_ip("192.0.2.3", &p.ip), 0);
	ck_assert_int_eq(p.ip.family, AF_INET);
	ck_assert_int_eq(p.ip.bytes[3], 3);
}
END_TEST

START_TEST(uuids)
{
	static const char *const bad[] = {
	    "", "123e4567-e89b-12d3-a456-42661417400", "123e4567-e89b-12d3-a456-4266141740000",
	    "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"};
	char buf[VALUE_UUID_LEN];
	uint8_t uuid[16];

	ck_assert_int_eq(value_parse_uuid("123E4567-e89b-12d3-a456-426614174000", uuid), 0);
	ck_assert_str_eq(value_print_uuid(uuid, buf), "123e4567-e89b-12d3-a456-426614174000");
	for (unsigned i = 0; i < N(bad); i++)
		ck_assert_msg(value_parse_uuid(bad[i], uuid) == -EINVAL, "%s", bad[i]);
}
END_TEST

START_TEST(vlan_lists_are_sorted_and_merged)
{
	static const struct {
		const char *text;
		int rc;
		const char *canonical;
	} cases[] = {{"10-20,30", 0, "10-20,30"}, {"30,12,11,10,13-20", 0, "10-20,30"},
		     {"1-4094", 0, "1-4094"},     {"5-5", 0, "5"},
		     {"4094", 0, "4094"},         {"0", -ERANGE, NULL},
		     {"4095", -ERANGE, NULL},     {"99999999999999999999999", -ERANGE, NULL},
		     {"20-10", -EINVAL, NULL},    {"", -EINVAL, NULL},
		     {"1,", -EINVAL, NULL},       {",1", -EINVAL, NULL},
		     {"1-", -EINVAL, NULL},       {"1--2", -EINVAL, NULL},
		     {"1 ,2", -EINVAL, NULL}};
	char buf[VALUE_VLANS_LEN];
	struct value_vlans set;

	for (unsigned i = 0; i < N(cases); i++) {
		ck_assert_msg(value_parse_vlans(cases[i].text, &set) == cases[i].rc, "%s", cases[i].text);
		if (cases[i].rc == 0)
			ck_assert_str_eq(value_print_vlans(&set, buf), cases[i].canonical);
	}
}
END_TEST

START_TEST(the_longest_vlan_list_fits)
{
	static char buf[VALUE_VLANS_LEN];
	struct value_vlans set = {0}, back;

	for (unsigned v = 1; v < 4095; v += 2)
		set.bits[v / 64] |= UINT64_C(1) << (v % 64);
	ck_assert_uint_lt(strlen(value_print_vlans(&set, buf)), VALUE_VLANS_LEN);
	ck_assert_int_eq(value_parse_vlans(buf, &back), 0);
	ck_assert_mem_eq(&set, &back, sizeof(set));
}
END_TEST

START_TEST(hex)
{
	uint8_t bytes[4];
	char buf[9];

	ck_assert_int_eq(value_parse_hex("00fFA1", bytes, 4), 3);
	ck_assert_str_eq(value_print_hex(bytes, 3, buf), "00ffa1");
	ck_assert_int_eq(value_parse_hex("", bytes, 4), 0);
	ck_assert_int_eq(value_parse_hex("000", bytes, 4), -EINVAL);
	ck_assert_int_eq(value_parse_hex("0g", bytes, 4), -EINVAL);
	ck_assert_int_eq(value_parse_hex("0011223344", bytes, 4), -ERANGE);
}
END_TEST

START_TEST(names)
{
	char longest[65] = "";

	memset(longest, 'a', 63);
	ck_assert(value_is_name(longest));
	longest[63] = 'a';
	ck_assert(!value_is_name(longest));
	ck_assert(value_is_name("vm1.net-0:a_b"));
	ck_assert(!value_is_name(""));
	ck_assert(!value_is_name("-x"));
	ck_assert(!value_is_name("a b"));
	ck_assert(!value_is_name("a/b"));
	ck_assert(!value_is_name("é"));
}
END_TEST

START_TEST(printable_text)
{
	// control, delete, C1 control, lone continuation, cut, overlong, surrogate, beyond Unicode
	static const char *const bad[] = {"\n",   "\x7f",         "\xc2\x85",        "\x80",
					  "\xe2", "\xe2\x82",     "\xc0\xaf",        "\xed\xa0\x80",
					  "\xff", "\xf0\x9f\x98", "\xf5\x80\x80\x80"};

	ck_assert(value_is_printable("größe €😀"));
	for (unsigned i = 0; i < N(bad); i++) {
		char text[16];
		ck_assert_msg(!value_is_printable(bad[i]), "%u", i);
		strcpy(text, bad[i]);
		value_make_printable(text);
		ck_assert_msg(value_is_printable(text) && strlen(text) == strlen(bad[i]), "%u", i);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("value");
	TCase *t = tcase_create("value");

	tcase_add_test(t, integers);
	tcase_add_test(t, rates_are_decimal_and_sizes_binary);
	tcase_add_test(t, rates_and_sizes_print_exactly);
	tcase_add_test(t, macs);
	tcase_add_test(t, addresses_and_prefixes);
	tcase_add_test(t, uuids);
	tcase_add_test(t, vlan_lists_are_sorted_and_merged);
	tcase_add_test(t, the_longest_vlan_list_fits);
	tcase_add_test(t, hex);
	tcase_add_test(t, names);
	tcase_add_test(t, printable_text);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
