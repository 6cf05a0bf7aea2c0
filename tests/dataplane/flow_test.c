// Flow tables: what is compiled, what a change costs, growth, giving back, listing, and what is never compiled.
#include "house.h"

#include <stdio.h>
#include <string.h>

#include "dp/control.h"
#include "dp/flow.h"
#include "dp/port.h"

#define N_MACS  3000
#define N_TYPES 20

static struct flow_stats stats(const char *name)
{
	struct flow_stats n;

	flow_stats(port_find(name)->rxqs[0].flows, &n);
	return n;
}

static void three_ports(void)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("c", "sw0", NULL);
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("c");
}

static void send_ab(int n)
{
	inject_many("a", eth(MAC_B, MAC_A), n);
	for (int i = 0; i < n; i++)
		expect_last("b");
}

START_TEST(the_second_packet_is_decided_by_a_flow)
{
	three_ports();
	send_ab(1);
	ck_assert_uint_eq(stats("a").hits, 0);
	send_ab(10);
	ck_assert_uint_eq(stats("a").hits, 10);
	ck_assert_uint_eq(stats("a").misses, 1);
}
END_TEST

START_TEST(a_change_of_others_is_looked_at_once_and_walks_nothing_again)
{
	three_ports();
	send_ab(2);
	port("d", "sw0", NULL);
	set("vlan", "c", "{'mode': 'access', 'vlan': 5}");
	send_ab(10);
	ck_assert_uint_eq(stats("a").rechecked, 1);
	ck_assert_uint_eq(stats("a").rewalked, 0);
	ck_assert_uint_eq(stats("a").hits, 11);
}
END_TEST

START_TEST(a_change_of_its_own_ports_walks_once)
{
	three_ports();
	send_ab(2);
	port("b", "sw0", "{'mtu': 1400}");
	send_ab(10);
	ck_assert_uint_eq(stats("a").rewalked, 1);
	ck_assert_uint_eq(stats("a").misses, 1);
}
END_TEST

START_TEST(a_moved_address_is_followed_at_once)
{
	three_ports();
	send_ab(2);
	inject("c", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("b");
	inject("a", eth(MAC_B, MAC_A));
	expect_last("c");
	expect_nothing("b");
}
END_TEST

START_TEST(an_unknown_address_is_flooded_until_it_is_known)
{
	three_ports();
	for (int i = 0; i < 3; i++) {
		inject("a", eth(MAC_C, MAC_A));
		expect_last("b");
		expect_last("c");
	}
	// The first made its own source known, which is news for a flow that rests on an unknown address.
	ck_assert_uint_eq(stats("a").hits, 1);
	inject("c", eth(MAC_ALL, MAC_C));
	expect_last("a");
	expect_last("b");
	inject("a", eth(MAC_C, MAC_A));
	expect_last("c");
	expect_nothing("b");
}
END_TEST

START_TEST(longer_than_a_destination_takes)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", "{'mtu': 1000}");
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	send_ab(2);
	inject("a", sized(MAC_B, MAC_A, 1015));
	expect_drops("a", "mtu-exceeded", 1);
	inject("a", sized(MAC_B, MAC_A, 1014));
	expect_last("b");
}
END_TEST

static void from_many(int n)
{
	for (int i = 0; i < n; i++) {
		const uint8_t mac[6] = {2, 1, 0, 0, i >> 8, i};

		inject("a", eth(MAC_B, mac));
		expect_last("b");
	}
}

// From a to b, each type a flow of its own, all with one decision.
static void of_many_types(const char *to)
{
	for (int i = 0; i < N_TYPES; i++) {
		struct frame *f = eth(MAC_B, MAC_A);

		f->bytes[12] = 0x88;
		f->bytes[13] = 0xb5 + i;
		inject("a", f);
		expect_last(to);
	}
}

START_TEST(flows_share_what_they_decide)
{
	const struct flow_table *t;

	three_ports();
	t = port_find("a")->rxqs[0].flows;
	of_many_types("b");
	ck_assert_uint_eq(flow_count(t), N_TYPES);
	ck_assert_uint_eq(flow_actions(t), 1);
	port("d", "sw0", NULL);
	of_many_types("b");
	ck_assert_uint_eq(stats("a").rechecked, 1);
	ck_assert_uint_eq(stats("a").hits, N_TYPES);
	inject("c", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("b");
	expect_last("d");
	of_many_types("c");
	ck_assert_uint_eq(stats("a").rewalked, N_TYPES);
	ck_assert_uint_eq(flow_actions(t), 1);
}
END_TEST

START_TEST(a_table_grows_and_loses_nothing)
{
	const struct flow_table *t;

	three_ports();
	t = port_find("a")->rxqs[0].flows;
	ck_assert_uint_eq(flow_size(t), FLOW_FIRST);
	for (int rounds = 0; flow_size(t) < 4096; rounds++) {
		from_many(N_MACS);
		house_turn();
		ck_assert_int_lt(rounds, 50);
	}
	from_many(N_MACS);
	ck_assert_uint_eq(flow_count(t), N_MACS);
	uint64_t misses = stats("a").misses;

	from_many(N_MACS);
	ck_assert_uint_eq(stats("a").misses, misses);
	ck_assert_uint_eq(stats("a").evicted, 0);
}
END_TEST

START_TEST(flows_are_listed_with_their_counters)
{
	struct flow_view v;
	uint32_t at = 0;
	int n = 0;

	three_ports();
	send_ab(5);
	while (flow_next(port_find("a")->rxqs[0].flows, &at, &v)) {
		ck_assert_mem_eq(v.dst, MAC_B, 6);
		ck_assert_mem_eq(v.src, MAC_A, 6);
		ck_assert_uint_eq(v.packets, 4);
		ck_assert_uint_eq(v.bytes, 4 * 60);
		ck_assert_uint_eq(v.plan.n_dests, 1);
		ck_assert_uint_eq(v.plan.dests[0].port, port_find("b")->index);
		n++;
	}
	ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(unused_flows_are_given_back)
{
	const struct flow_table *t;

	three_ports();
	t = port_find("a")->rxqs[0].flows;
	from_many(20);
	house_seconds(FLOW_IDLE_S + 1);
	send_ab(64);
	for (int i = 0; i < 64; i++)
		send_ab(1);
	ck_assert_uint_eq(flow_count(t), 1);
	ck_assert_uint_eq(flow_actions(t), 1);
	ck_assert_uint_eq(stats("a").expired, 20);
}
END_TEST

START_TEST(control_protocols_are_never_compiled_and_limited)
{
	struct frame *arp;
	uint8_t body[28] = {0, 1, 8, 0, 6, 4, 0, 1};

	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	arp = eth(MAC_ALL, MAC_A);
	arp->bytes[12] = 0x08;
	arp->bytes[13] = 0x06;
	memcpy(arp->bytes + 14, body, sizeof(body));
	inject_many("a", arp, CONTROL_BURST);
	for (int i = 0; i < CONTROL_BURST; i++)
		expect_last("b");
	ck_assert_uint_eq(stats("a").hits, 0);
	ck_assert_uint_eq(flow_count(port_find("a")->rxqs[0].flows), 0);
	inject_many("a", arp, CONTROL_BURST + 100);
	for (int i = 0; i < CONTROL_BURST; i++)
		expect_last("b");
	expect_drops("a", "control-rate", 100);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("flow");
	TCase *t = tcase_create("flow");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, the_second_packet_is_decided_by_a_flow);
	tcase_add_test(t, a_change_of_others_is_looked_at_once_and_walks_nothing_again);
	tcase_add_test(t, a_change_of_its_own_ports_walks_once);
	tcase_add_test(t, a_moved_address_is_followed_at_once);
	tcase_add_test(t, an_unknown_address_is_flooded_until_it_is_known);
	tcase_add_test(t, longer_than_a_destination_takes);
	tcase_add_test(t, flows_share_what_they_decide);
	tcase_add_test(t, a_table_grows_and_loses_nothing);
	tcase_add_test(t, flows_are_listed_with_their_counters);
	tcase_add_test(t, unused_flows_are_given_back);
	tcase_add_test(t, control_protocols_are_never_compiled_and_limited);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
