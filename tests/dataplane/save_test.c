// Ports in files, through the real modules: what moves, what it waits for, and what is refused whole.
#include "house.h"

#include <stdlib.h>
#include <string.h>

#include "ctrl/api/module.h"
#include "ctrl/change.h"
#include "ctrl/engine.h"
#include "ctrl/saved_port.h"
#include "dp/port.h"
#include "dp/switch.h"

static char *file;
static size_t n_file;

static void setup(void)
{
	house_setup();
	sw("sw0", "internal");
	sw("sw1", "internal");
	file = NULL;
}

static void teardown(void)
{
	free(file);
	house_teardown();
}

// As port.export does it.
static void export(const char *name)
{
	struct err e = {0};
	json_t *lines = saved_port_lines(name, &e), *state;
	const struct module *const *m = NULL;
	uint64_t at = 0;

	ck_assert_msg(lines != NULL, "%s", e.text);
	while ((m = saved_port_owner(m)) != NULL) {
		do {
			state = (*m)->save(name, &at);
			if (state != NULL)
				json_array_append_new(lines, saved_state((*m)->name, state));
		} while (at != 0);
	}
	free(file);
	char *text = saved_write(lines, &n_file, &e);

	ck_assert_msg(text != NULL, "%s", e.text);
	file = strndup(text, n_file);
	free(text);
	json_decref(lines);
}

struct import {
	struct arrival a;
	struct err e;
};

static void import_done(const struct err *e, void *arg)
{
	if (e != NULL)
		*(struct err *)arg = *e;
}

static void import_turn(void *arg)
{
	struct import *i = arg;

	arrival_submit(&i->a, change_new_quiet(import_done, &i->e), &i->e);
}

// As port.import does it. `given` as in house.h; returns the sentence of a refusal, "" = accepted.
static const char *import(const char *name, const char *given)
{
	static struct err e;
	struct import i = {0};
	struct saved s;

	e = (struct err){0};
	if (saved_read(file, n_file, &s, &e) == 0) {
		json_t *keys = json_loads(given, 0, NULL);

		ck_assert_ptr_nonnull(keys);
		arrival_init(&i.a, name, &s, keys);
		while (arrival_check_state(&i.a))
			;
		engine_queue(import_turn, &i);
		while (!engine_is_idle())
			house_turn();
		e = i.e;
		arrival_fini(&i.a);
	}
	saved_free(&s);
	return e.text;
}

static void imported(const char *name, const char *given)
{
	const char *text = import(name, given);

	ck_assert_msg(text[0] == '\0', "%s", text);
}

static void import_refused(const char *name, const char *words)
{
	const char *text = import(name, "{}");

	ck_assert_msg(strstr(text, words) != NULL, "\"%s\" does not say \"%s\"", text, words);
}

// In the file, once.
static void replace(const char *what, const char *by)
{
	char *at = strstr(file, what), *copy = malloc(n_file + strlen(by) + 1);

	ck_assert_msg(at != NULL, "%s is not in %s", what, file);
	size_t head = at - file, rest = n_file - head - strlen(what);

	memcpy(copy, file, head);
	memcpy(copy + head, by, strlen(by));
	memcpy(copy + head + strlen(by), at + strlen(what), rest);
	n_file = head + strlen(by) + rest;
	copy[n_file] = '\0';
	free(file);
	file = copy;
}

static struct port_counters counters(const char *name)
{
	struct port_counters n;

	port_counters_sum(port_find(name), &n);
	return n;
}

// Port a on sw0 was busy, and is a file now; its name is free.
static void a_moves(const char *conf)
{
	port("a", "sw0", conf);
	port("b", "sw0", NULL);
	inject("a", eth(MAC_ALL, MAC_A));
	expect_last("b");
	inject("a", eth(MAC_ALL, MAC_C));
	expect_last("b");
	inject("a", cut(eth(MAC_ALL, MAC_A), 9));
	export("a");
	del("port", "a");
}

START_TEST(a_port_is_made_of_a_file_with_counters_and_addresses)
{
	a_moves("{'mtu': 3000, 'mac': null}");
	imported("a", "{}");
	struct port_counters n = counters("a");

	ck_assert_uint_eq(n.rx_packets, 3);
	ck_assert_uint_eq(n.rx_bytes, 129);
	ck_assert_uint_eq(n.delivered, 2);
	ck_assert_uint_eq(port_find("a")->conf.mtu, 3000);
	expect_drops("a", "runt", 1);
	expect_fdb("sw0", 0, MAC_A, "a");
	expect_fdb("sw0", 0, MAC_C, "a");
	inject("b", eth(MAC_C, MAC_B));
	expect_last("a");
}
END_TEST

START_TEST(a_port_may_have_another_name_and_device_where_it_goes_to)
{
	port("a", "sw0", NULL);
	set("vlan", "a", "{'mode': 'trunk', 'allowed': '10-20'}");
	set("fdb", "sw0/10/02:00:00:00:00:0c",
	    "{'switch': 'sw0', 'vlan': 10, 'mac': '02:00:00:00:00:0c', 'port': 'a'}");
	inject("a", tagged(MAC_ALL, MAC_A, 10));
	export("a");
	ck_assert_ptr_null(strstr(file, "\"a\""));
	del("port", "a");
	imported("x", "{\"device\": \"ring:x\"}");
	ck_assert_str_eq(port_find("x")->conf.device, "ring:x");
	ck_assert_int_eq(port_find("x")->vlan.mode, VLAN_TRUNK);
	expect_fdb("sw0", 10, MAC_A, "x");
	expect_fdb("sw0", 10, MAC_C, "x");
}
END_TEST

START_TEST(importing_twice_counts_once)
{
	a_moves(NULL);
	imported("a", "{}");
	inject("a", cut(eth(MAC_ALL, MAC_A), 9));
	imported("a", "{}");
	ck_assert_uint_eq(counters("a").rx_packets, 4);
	expect_drops("a", "runt", 2);
}
END_TEST

START_TEST(a_port_that_waits_neither_learns_nor_delivers_until_its_state_has_come)
{
	a_moves(NULL);
	port("x", "sw0", NULL);
	imported("a", "{\"await-state\": 600}");
	ck_assert(port_is_held(port_find("a")));
	ring_queue("a", eth(MAC_B, MAC_A)); // the guest runs already
	house_rounds();
	expect_nothing("b");
	expect_fdb("sw0", 0, MAC_A, NULL);
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("x");
	expect_nothing("a");
	ck_assert_uint_eq(counters("a").rx_packets, 0);
	imported("a", "{}");
	ck_assert(!port_is_held(port_find("a")));
	expect_fdb("sw0", 0, MAC_C, "a");
	house_rounds();
	expect("b", eth(MAC_B, MAC_A)); // nothing was lost
	ck_assert_uint_eq(counters("a").rx_packets, 4);
	inject("b", eth(MAC_C, MAC_B));
	expect_last("a");
}
END_TEST

START_TEST(the_address_of_a_port_that_waits_stays_where_it_is)
{
	port("old", "sw0", NULL);
	port("b", "sw0", NULL);
	inject("old", eth(MAC_ALL, MAC_A));
	expect_last("b");
	port("a", "sw0", "{'mac': '02:00:00:00:00:0a', 'await-state': 600}");
	inject("b", eth(MAC_A, MAC_B));
	expect_last("old");
	set("port", "a",
	    "{'switch': 'sw0', 'type': 'guest', 'device': 'ring:a', 'mac': '02:00:00:00:00:0a'}");
	inject("b", eth(MAC_A, MAC_B));
	expect_last("a");
}
END_TEST

START_TEST(a_port_whose_state_does_not_come_goes_on_without)
{
	port("a", "sw0", "{'await-state': 1}");
	port("b", "sw0", NULL);
	ring_up("a", false);
	ring_queue("a", eth(MAC_B, MAC_A));
	ring_up("a", true);
	while (port_is_held(port_find("a")) || !engine_is_idle())
		house_turn();
	house_rounds();
	expect("b", eth(MAC_B, MAC_A));
}
END_TEST

START_TEST(an_address_that_was_known_elsewhere_moves_at_once)
{
	port("up", "sw0", NULL);
	a_moves(NULL);
	expect("up", eth(MAC_ALL, MAC_A));
	expect("up", eth(MAC_ALL, MAC_C));
	for (int i = 0; i < 40; i++) { // and has moved too often for a frame to move it
		inject(i % 2 ? "up" : "b", eth(MAC_B, MAC_A));
		while (ring_take(i % 2 ? "b" : "up") != NULL)
			;
	}
	imported("a", "{}");
	expect_fdb("sw0", 0, MAC_A, "a");
}
END_TEST

static const struct {
	const char *what, *by, *words;
} wrong[] = {
    {"\"evswitch-port\":1", "\"evswitch-port\":9", "has version 9"},
    {"\"switch\":\"sw0\"", "\"switch\":\"sw9\"", "no such switch sw9"},
    {"\"switch\":\"sw0\"", "\"switch\":7", "switch"},
    {"\"type\":\"guest\"", "\"type\":\"uplink\"", "has no uplinks"},
    {"\"mtu\":1500", "\"mtu\":99999", "mtu"},
    {"\"mtu\":1500", "\"mtu\":\"wide\"", "mtu"},
    {"\"mtu\":1500", "\"colour\":1500", "colour"},
    {"\"owner\":\"fdb\"", "\"owner\":\"acme\"", "'acme', which is not here"},
    {"\"rx_packets\":3", "\"rx_packets\":-3", "rx_packets"},
    {"\"rx_packets\":3", "\"rx_packets\":3.5", "rx_packets"},
    {"\"rx_packets\":3", "\"rx_packets\":99999999999999999999", "not valid JSON"},
    {"\"rx_packets\":3", "\"rx_rackets\":3", "rx_rackets"},
    {"\"rx_packets\":3", "\"rx_packets\":3,\"rx_packets\":4", "duplicate"},
    {"\"runt\":1", "\"no-such-reason\":1", "no-such-reason"},
    {"\"runt\":1", "\"runt\":[1]", "runt"},
    {"{\"runt\":1}", "7", "no counters"},
    {"02:00:00:00:00:0a 0 ", "03:00:00:00:00:0a 0 ", "03:00:00:00:00:0a"},
    {"02:00:00:00:00:0a 0 ", "02:00:00:00:00 0 ", "02:00:00:00:00"},
    {"02:00:00:00:00:0a 0 ", "00:00:00:00:00:00 0 ", "00:00:00:00:00:00"},
    {"02:00:00:00:00:0a 0 ", "5 0 ", "address that is none: 5"},
    {"02:00:00:00:00:0a 0 ", "02:00:00:00:00:0a 4095 ", "VLAN"},
    {"02:00:00:00:00:0a 0 ", "02:00:00:00:00:0a -1 ", "VLAN"},
    {"02:00:00:00:00:0a 0 ", "02:00:00:00:00:0a  ", "VLAN"},
    {"02:00:00:00:00:0a 0 ", "02:00:00:00:00:0a 7 ", "VLAN 7, which it does not carry"},
    {"02:00:00:00:00:0a 0 ", "02:00:00:00:00:0a 0 x", "age"},
    {"02:00:00:00:00:0c 0 ", "02:00:00:00:00:0c 0 9999", "age"},
    {"02:00:00:00:00:0c 0 ", "02:00:00:00:00:0c ", "address that is none"},
    {"\"state\":\"02", "\"state\":\",02", "address that is none"},
};

START_TEST(what_does_not_fit_is_refused_whole)
{
	a_moves(NULL);
	char *good = strdup(file);

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		free(file);
		file = strdup(good);
		n_file = strlen(file);
		replace(wrong[i].what, wrong[i].by);
		import_refused("a", wrong[i].words);
		ck_assert_ptr_null(port_find("a"));
		expect_fdb("sw0", 0, MAC_A, NULL);
		expect_fdb("sw0", 0, MAC_C, NULL);
	}
	free(good);
}
END_TEST

START_TEST(counters_that_come_twice_are_refused)
{
	a_moves(NULL);
	char *line = strstr(file, "{\"owner\":\"port\""),
	     *copy = strndup(line, strchr(line, '\n') + 1 - line);
	char twice[4096];

	snprintf(twice, sizeof(twice), "%s%s", copy, copy);
	replace(copy, twice);
	replace("{\"end\":3}", "{\"end\":4}");
	import_refused("a", "more than once");
	free(copy);
}
END_TEST

START_TEST(a_refusal_leaves_a_port_that_is_there_as_it_was)
{
	a_moves(NULL);
	port("a", "sw0", NULL);
	replace("02:00:00:00:00:0c 0 ", "02:00:00:00:00:0c 9 "); // one of them only
	import_refused("a", "VLAN 9");
	ck_assert_uint_eq(counters("a").rx_packets, 0);
	expect_fdb("sw0", 0, MAC_A, NULL);
	expect_fdb("sw0", 9, MAC_C, NULL);
}
END_TEST

START_TEST(a_port_that_is_there_must_be_the_same)
{
	a_moves(NULL);
	port("a", "sw1", "{'mtu': 2000, 'queues': 2, 'vm': 'other'}");
	set("vlan", "a", "{'mode': 'access', 'vlan': 5}");
	import_refused("a", "port a: switch is sw1 here and sw0 in the file");
	import_refused("a", "port a: mtu is 2000 here and 1500 in the file");
	import_refused("a", "port a: queues is 2 here and 1 in the file");
	import_refused("a", "vlan a: is here and not in the file");
	ck_assert_ptr_null(strstr(import("a", "{}"), "vm"));
	ck_assert_uint_eq(counters("a").rx_packets, 0);
}
END_TEST

START_TEST(an_address_that_others_have_by_configuration_is_refused)
{
	a_moves(NULL);
	port("own", "sw0", "{'mac': '02:00:00:00:00:0c'}");
	import_refused("a", "02:00:00:00:00:0c, VLAN 0, is that of port own here");
	ck_assert_ptr_null(port_find("a"));
}
END_TEST

START_TEST(what_others_do_not_own_does_not_come_along)
{
	struct err e = {0};

	a_moves(NULL);
	replace("{\"end\":3}", "{\"conf\":{},\"kind\":\"switch\",\"name\":\"sw7\"}\n{\"end\":4}");
	import_refused("a", "switch: is in the file, and does not go along");
	replace("\"switch\",\"name\"", "\"queue\",\"name\"");
	import_refused("a", "queue: is in the file, and does not go along");
	replace("\"queue\",\"name\"", "\"tariff\",\"name\"");
	import_refused("a", "knows no such kind");
	port("w", "sw0", "{'await-state': 600}");
	ck_assert_ptr_null(saved_port_lines("w", &e));
	ck_assert_ptr_null(saved_port_lines("nobody", &e));
}
END_TEST

START_TEST(an_entry_that_is_another_ports_here_stays_so)
{
	static const char entry[] = "{'switch': 'sw0', 'mac': '02:00:00:00:00:0b', 'port': '%s'}";
	char conf[128];

	port("a", "sw0", NULL);
	snprintf(conf, sizeof(conf), entry, "a");
	set("fdb", "sw0/0/02:00:00:00:00:0b", conf);
	export("a");
	del("port", "a");
	port("b", "sw0", NULL);
	snprintf(conf, sizeof(conf), entry, "b");
	set("fdb", "sw0/0/02:00:00:00:00:0b", conf);
	import_refused("a", "fdb sw0/0/02:00:00:00:00:0b: is here already, of port b");
	expect_fdb("sw0", 0, MAC_B, "b");
}
END_TEST

// Of the file, without any change.
static json_t *findings(const char *name)
{
	struct arrival a;
	struct saved s;
	struct err e = {0};

	ck_assert_int_eq(saved_read(file, n_file, &s, &e), 0);
	arrival_init(&a, name, &s, json_object());
	while (arrival_check_state(&a))
		;
	arrival_check_conf(&a);
	json_t *list = json_incref(a.findings);

	arrival_fini(&a);
	saved_free(&s);
	return list;
}

static void expect_finding(const json_t *list, size_t at, const char *words)
{
	const char *text = json_string_value(json_array_get(list, at));

	ck_assert_msg(text != NULL && strstr(text, words) != NULL, "\"%s\" does not say \"%s\"", text, words);
}

START_TEST(everything_that_does_not_fit_is_said_each_by_itself)
{
	a_moves(NULL);
	replace("\"mtu\":1500", "\"mtu\":1");
	replace("\"queues\":1", "\"queues\":0,\"colour\":1");
	replace("\"rx_packets\":3", "\"rx_rackets\":3");
	replace("02:00:00:00:00:0a 0 ", "02:00:00:00:00:0a 7 ");
	replace("02:00:00:00:00:0c 0 ", "03:00:00:00:00:0c 0 ");
	json_t *list = findings("a");

	ck_assert_uint_eq(json_array_size(list), 7);
	expect_finding(list, 0, "port a: queues");
	expect_finding(list, 1, "port a: mtu");
	expect_finding(list, 2, "port a: unknown parameter colour");
	expect_finding(list, 3, "no number of packets or bytes for rx_packets");
	expect_finding(list, 4, "counts rx_rackets");
	json_decref(list);
}
END_TEST

START_TEST(findings_of_several_records_and_objects_are_all_said)
{
	char more[512], *at;

	a_moves("{'mac': null, 'bypass': null}");
	port("own", "sw0", "{'mac': '02:00:00:00:00:0c'}");
	at = strstr(file, "{\"owner\":\"fdb\"");
	snprintf(more, sizeof(more), "%.*s\n{\"owner\":\"fdb\",\"state\":7}\n{\"owner\":\"fdb\",\"state\":8}",
		 (int)strcspn(at, "\n"), at);
	at = strndup(at, strcspn(at, "\n"));
	replace(at, more);
	free(at);
	replace("{\"end\":3}", "{\"end\":5}");
	replace("\"switch\":\"sw0\"", "\"switch\":\"sw9\"");
	json_t *list = findings("a");

	ck_assert_uint_eq(json_array_size(list), 3);
	expect_finding(list, 0, "no list of learned addresses");
	expect_finding(list, 1, "no list of learned addresses");
	expect_finding(list, 2, "no such switch sw9");
	json_decref(list);
}
END_TEST

START_TEST(every_rule_that_a_row_breaks_is_said)
{
	a_moves(NULL);
	replace("{\"end\":3}", "{\"conf\":{\"mode\":\"untagged\",\"allowed\":\"1\",\"prune\":\"2\"},\"kind\":"
			       "\"vlan\"}\n{\"end\":4}");
	json_t *list = findings("a");

	ck_assert_uint_eq(json_array_size(list), 2);
	expect_finding(list, 0, "vlan a: allowed goes with mode trunk");
	expect_finding(list, 1, "vlan a: prune goes with mode trunk");
	json_decref(list);
}
END_TEST

START_TEST(ten_thousand_addresses_move)
{
	uint8_t mac[6] = {2, 1};

	port("a", "sw0", NULL);
	for (int i = 0; i < 10000; i++) {
		mac[4] = i >> 8;
		mac[5] = i;
		fdb_learn(switch_find("sw0")->fdb, fdb_key(mac, 0), port_find("a")->index, 1000);
	}
	export("a");
	del("port", "a");
	imported("a", "{}");
	ck_assert_uint_eq(fdb_port_count(switch_find("sw0")->fdb, port_find("a")->index), 10000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("save");
	TCase *t = tcase_create("save");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_port_is_made_of_a_file_with_counters_and_addresses);
	tcase_add_test(t, a_port_may_have_another_name_and_device_where_it_goes_to);
	tcase_add_test(t, importing_twice_counts_once);
	tcase_add_test(t, a_port_that_waits_neither_learns_nor_delivers_until_its_state_has_come);
	tcase_add_test(t, the_address_of_a_port_that_waits_stays_where_it_is);
	tcase_add_test(t, a_port_whose_state_does_not_come_goes_on_without);
	tcase_add_test(t, an_address_that_was_known_elsewhere_moves_at_once);
	tcase_add_test(t, what_does_not_fit_is_refused_whole);
	tcase_add_test(t, counters_that_come_twice_are_refused);
	tcase_add_test(t, a_refusal_leaves_a_port_that_is_there_as_it_was);
	tcase_add_test(t, a_port_that_is_there_must_be_the_same);
	tcase_add_test(t, an_address_that_others_have_by_configuration_is_refused);
	tcase_add_test(t, what_others_do_not_own_does_not_come_along);
	tcase_add_test(t, an_entry_that_is_another_ports_here_stays_so);
	tcase_add_test(t, everything_that_does_not_fit_is_said_each_by_itself);
	tcase_add_test(t, findings_of_several_records_and_objects_are_all_said);
	tcase_add_test(t, every_rule_that_a_row_breaks_is_said);
	tcase_add_test(t, ten_thousand_addresses_move);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
