// Run-time state of a port travels: counters and learned addresses, by name and never by number.
#include "house.h"

#include "dp/port.h"
#include "dp/save.h"

static void hooks(json_t *(*save)(const char *), int (*restore)(const char *, const json_t *, struct err *),
		  const char *from, const char *to)
{
	struct err e = {0};
	json_t *state = save(from);

	ck_assert_ptr_nonnull(state);
	ck_assert_msg(restore(to, state, &e) == 0, "%s", e.text);
	json_decref(state);
}

START_TEST(counters_and_addresses_move_to_another_port)
{
	struct port_counters n;

	sw("sw0", "internal");
	sw("sw1", "internal");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("x", "sw1", NULL);
	inject("a", eth(MAC_ALL, MAC_A));
	expect_last("b");
	inject("a", cut(eth(MAC_ALL, MAC_A), 9));
	hooks(port_save, port_restore, "a", "x");
	hooks(fdb_save, fdb_restore, "a", "x");
	port_counters_sum(port_find("x"), &n);
	ck_assert_uint_eq(n.rx_packets, 2);
	ck_assert_uint_eq(n.rx_bytes, 69);
	ck_assert_uint_eq(n.delivered, 1);
	expect_drops("x", "runt", 1);
	expect_fdb("sw1", 0, MAC_A, "x");
}
END_TEST

START_TEST(state_that_does_not_fit_is_refused_whole)
{
	static const char *const bad[] = {"{}", "[]", "{\"rx_packets\": \"many\"}"};
	struct err e = {0};

	sw("sw0", "internal");
	port("a", "sw0", NULL);
	for (int i = 0; i < 3; i++) {
		json_t *state = json_loads(bad[i], 0, NULL);

		ck_assert_int_lt(port_restore("a", state, &e), 0);
		json_decref(state);
	}
	json_t *state = port_save("a");

	json_object_set_new(json_object_get(state, "dropped"), "no-such-reason", json_integer(1));
	ck_assert_int_lt(port_restore("a", state, &e), 0);
	ck_assert_int_lt(port_restore("nobody", state, &e), 0);
	json_decref(state);
	state = json_loads("[{\"mac\": \"03:00:00:00:00:01\", \"vlan\": 0}]", 0, NULL);
	ck_assert_int_lt(fdb_restore("a", state, &e), 0);
	json_decref(state);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("save");
	TCase *t = tcase_create("save");

	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, counters_and_addresses_move_to_another_port);
	tcase_add_test(t, state_that_does_not_fit_is_refused_whole);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
