// Switching: who gets a frame, what is learned, what is dropped and why.
#include "house.h"

static void two_ports(void)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("c", "sw0", NULL);
}

START_TEST(unknown_unicast_reaches_all_others)
{
	two_ports();
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
	expect_last("c");
	expect_nothing("a");
	expect_fdb("sw0", 0, MAC_A, "a");
}
END_TEST

START_TEST(learned_unicast_reaches_one)
{
	two_ports();
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("c");
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
	expect_nothing("c");
}
END_TEST

START_TEST(hairpin_is_dropped)
{
	two_ports();
	inject("a", eth(MAC_ALL, MAC_A));
	expect_last("b");
	expect_last("c");
	inject("a", eth(MAC_A, MAC_B));
	expect_drops("a", "hairpin", 1);
}
END_TEST

START_TEST(reserved_group_addresses_are_not_forwarded)
{
	two_ports();
	for (uint8_t last = 0; last < 0x11; last++) {
		const uint8_t dst[6] = {1, 0x80, 0xc2, 0, 0, last};

		inject("a", eth(dst, MAC_A));
	}
	expect_drops("a", "bridge-reserved", 16);
	expect_last("b");
	expect_last("c");
}
END_TEST

START_TEST(group_and_zero_sources_are_dropped)
{
	const uint8_t group[6] = {3, 0, 0, 0, 0, 1}, zero[6] = {0};

	two_ports();
	inject("a", eth(MAC_B, group));
	inject("a", eth(MAC_B, zero));
	expect_drops("a", "invalid-source-mac", 2);
}
END_TEST

START_TEST(switches_are_isolated)
{
	sw("sw0", "internal");
	sw("sw1", "private");
	port("a", "sw0", NULL);
	port("b", "sw1", NULL);
	inject("a", eth(MAC_ALL, MAC_A));
	expect_nothing("b");
	expect_drops("a", "no-destination", 1);
}
END_TEST

START_TEST(an_own_address_refuses_other_sources_and_unknown_unicast)
{
	two_ports();
	port("d", "sw0", "{'mac': '02:00:00:00:00:0d'}");
	const uint8_t mac_d[6] = {2, 0, 0, 0, 0, 0xd};

	inject("a", eth(MAC_C, MAC_A));
	expect_last("b");
	expect_last("c");
	expect_nothing("d");
	inject("a", eth(mac_d, MAC_A));
	expect_last("d");
	inject("d", eth(MAC_A, mac_d));
	expect_last("a");
	inject("d", eth(MAC_A, MAC_B));
	expect_drops("d", "mac-spoofing", 1);
}
END_TEST

START_TEST(uplinks_do_not_forward_to_uplinks)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("u1", "sw0", "{'type': 'uplink'}");
	port("u2", "sw0", "{'type': 'uplink'}");
	inject("u1", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_nothing("u2");
	inject("u2", eth(MAC_B, MAC_C));
	expect_drops("u2", "uplink-to-uplink", 1);
}
END_TEST

START_TEST(more_destinations_than_a_plan_holds)
{
	char name[8];

	sw("sw0", "external");
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		port(name, "sw0", NULL);
	}
	inject("p0", eth(MAC_ALL, MAC_A));
	for (int i = 1; i < 40; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		expect_last(name);
	}
}
END_TEST

START_TEST(a_port_that_is_down_or_full)
{
	two_ports();
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("c");
	ring_up("b", false);
	inject("a", eth(MAC_B, MAC_A));
	expect_drops("a", "port-down", 1);
	ring_up("b", true);
	ring_accept("b", 3);
	inject_many("a", eth(MAC_B, MAC_A), 5);
	for (int i = 0; i < 3; i++)
		expect_last("b");
	expect_drops("a", "tx-full", 2);
}
END_TEST

// The frames around it arrive, in order; also behind those that the queue refuses.
START_TEST(a_frame_that_no_buffer_holds_is_dropped_alone)
{
	two_ports();
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("c");
	ring_room("b", 1000);
	for (int round = 0; round < 2; round++) // by the walk, by a flow
		for (int i = 0; i < 8; i++)
			ring_queue("a", sized(MAC_B, MAC_A, i % 3 == 1 ? 1001 : 100 + i));
	house_rounds();
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 8; i++)
			if (i % 3 != 1)
				ck_assert_uint_eq(ring_take("b")->len, 100 + i);
	expect_drops("a", "tx-unfit", 6);
	expect_drops("a", "tx-full", 0);
	expect_sent("b", 10, 2 * (100 + 102 + 103 + 105 + 106));
	ring_accept("b", 2);
	ring_queue("a", sized(MAC_B, MAC_A, 1400));
	for (int i = 0; i < 4; i++)
		ring_queue("a", sized(MAC_B, MAC_A, 300));
	house_rounds();
	for (int i = 0; i < 2; i++)
		ck_assert_uint_eq(ring_take("b")->len, 300);
	expect_drops("a", "tx-unfit", 7);
	expect_drops("a", "tx-full", 2);
}
END_TEST

START_TEST(mtu_counts_what_is_behind_the_header)
{
	two_ports();
	port("j", "sw0", "{'mtu': 9216}");
	const uint8_t mac_j[6] = {2, 0, 0, 0, 0, 0x1a};

	inject("j", sized(MAC_ALL, mac_j, 1514));
	expect_last("a");
	expect_last("b");
	expect_last("c");
	inject("a", sized(mac_j, MAC_A, 1514));
	expect_last("j");
	inject("a", sized(mac_j, MAC_A, 1515));
	expect_drops("a", "oversize", 1);
	inject("j", sized(MAC_A, mac_j, 1515));
	expect_drops("j", "mtu-exceeded", 1);
	inject("j", sized(MAC_ALL, mac_j, 9230));
	expect_drops("j", "no-destination", 1);
	inject("j", sized(MAC_ALL, mac_j, 9231));
	expect_drops("j", "oversize", 1);
}
END_TEST

START_TEST(borrowed_frames_arrive_whole)
{
	static const size_t pieces[] = {1, 7, 60, 127, 128, 129, 1000};

	two_ports();
	port("j", "sw0", "{'mtu': 9000}");
	port("k", "sw0", "{'mtu': 9000}");
	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		for (size_t len = 14; len < 400; len += len == 14 ? 46 : 67) {
			ring_borrow("a", pieces[i]);
			inject("a", sized(MAC_ALL, MAC_A, len));
			expect_last("b");
			expect_last("c");
			expect_last("j");
			expect_last("k");
		}
	}
	ring_borrow("j", 1024);
	inject("j", sized(MAC_ALL, MAC_B, 9014));
	expect_last("k");
}
END_TEST

START_TEST(removal_forgets_addresses)
{
	two_ports();
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("c");
	del("port", "b");
	expect_fdb("sw0", 0, MAC_B, NULL);
	inject("a", eth(MAC_B, MAC_A));
	expect_last("c");
}
END_TEST

START_TEST(what_no_two_ports_share)
{
	two_ports();
	port("m", "sw0", "{'mac': '02:00:00:00:00:0d'}");
	refused("port", "x", "{'switch': 'sw0', 'type': 'guest', 'device': 'ring:a'}",
		"port x: device ring:a is already used by port a");
	refused("port", "b", "{'switch': 'sw0', 'type': 'guest', 'device': 'ring:a'}",
		"port b: device ring:a is already used by port a");
	refused("port", "x",
		"{'switch': 'sw0', 'type': 'guest', 'device': 'ring:x', 'mac': '02:00:00:00:00:0d'}",
		"port x: switch mac sw0 02:00:00:00:00:0d is already used by port m");
	sw("sw1", "internal");
	port("x", "sw1", "{'mac': '02:00:00:00:00:0d'}"); // another switch is another network
}
END_TEST

START_TEST(what_is_fixed_is_refused)
{
	sw("sw0", "internal");
	port("a", "sw0", NULL);
	refused("switch", "sw0", "{'kind': 'private'}", "switch sw0: its kind and bandwidth mode are fixed");
	refused("port", "a", "{'switch': 'sw0', 'type': 'guest', 'device': 'ring:a', 'queues': 2}",
		"port a: its number of queues is fixed");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("switch");
	TCase *t = tcase_create("switch");

	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, unknown_unicast_reaches_all_others);
	tcase_add_test(t, learned_unicast_reaches_one);
	tcase_add_test(t, hairpin_is_dropped);
	tcase_add_test(t, reserved_group_addresses_are_not_forwarded);
	tcase_add_test(t, group_and_zero_sources_are_dropped);
	tcase_add_test(t, switches_are_isolated);
	tcase_add_test(t, an_own_address_refuses_other_sources_and_unknown_unicast);
	tcase_add_test(t, uplinks_do_not_forward_to_uplinks);
	tcase_add_test(t, more_destinations_than_a_plan_holds);
	tcase_add_test(t, a_port_that_is_down_or_full);
	tcase_add_test(t, a_frame_that_no_buffer_holds_is_dropped_alone);
	tcase_add_test(t, mtu_counts_what_is_behind_the_header);
	tcase_add_test(t, borrowed_frames_arrive_whole);
	tcase_add_test(t, removal_forgets_addresses);
	tcase_add_test(t, what_no_two_ports_share);
	tcase_add_test(t, what_is_fixed_is_refused);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
