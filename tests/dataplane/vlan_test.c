// VLAN modes: what is accepted, where it goes, how it leaves.
#include "house.h"

static void vlans(void)
{
	sw("sw0", "external");
	port("u", "sw0", "{'type': 'uplink'}");
	port("plain", "sw0", NULL);
	port("acc10", "sw0", NULL);
	port("acc20", "sw0", NULL);
	port("trunk", "sw0", NULL);
	set("vlan", "acc10", "{'mode': 'access', 'vlan': 10}");
	set("vlan", "acc20", "{'mode': 'access', 'vlan': 20}");
	set("vlan", "trunk", "{'mode': 'trunk', 'allowed': '10-12,30', 'native': 30, 'prune': '12'}");
}

START_TEST(untagged_stays_among_untagged)
{
	vlans();
	inject("plain", eth(MAC_ALL, MAC_A));
	expect_last("u");
	expect_nothing("acc10");
	expect_nothing("trunk");
	expect_fdb("sw0", 0, MAC_A, "plain");
}
END_TEST

START_TEST(access_leaves_tagged_by_uplink_and_trunk)
{
	vlans();
	inject("acc10", eth(MAC_ALL, MAC_A));
	expect("u", tagged(MAC_ALL, MAC_A, 10));
	expect("trunk", tagged(MAC_ALL, MAC_A, 10));
	expect_nothing("acc20");
	expect_fdb("sw0", 10, MAC_A, "acc10");
}
END_TEST

START_TEST(copies_of_a_frame_have_each_their_own_tag)
{
	vlans();
	port("more10", "sw0", NULL);
	set("vlan", "more10", "{'mode': 'access', 'vlan': 10}");
	inject("trunk", tagged(MAC_ALL, MAC_B, 10));
	expect("u", tagged(MAC_ALL, MAC_B, 10));
	expect("acc10", eth(MAC_ALL, MAC_B));
	expect("more10", eth(MAC_ALL, MAC_B));
	// The first one makes the trunk, where the second gets its tag, the first port that the burst is sent to.
	ring_queue("acc10", eth(MAC_B, MAC_A));
	ring_queue("acc10", eth(MAC_ALL, MAC_A));
	house_rounds();
	expect("trunk", tagged(MAC_B, MAC_A, 10));
	expect("trunk", tagged(MAC_ALL, MAC_A, 10));
	expect("u", tagged(MAC_ALL, MAC_A, 10));
	expect("more10", eth(MAC_ALL, MAC_A));
}
END_TEST

START_TEST(uplink_tag_is_removed_for_access)
{
	vlans();
	inject("u", tagged(MAC_ALL, MAC_A, 20));
	expect("acc20", eth(MAC_ALL, MAC_A));
	expect_nothing("acc10");
	expect_nothing("trunk");
}
END_TEST

START_TEST(tags_are_refused_on_untagged_and_access_ports)
{
	vlans();
	inject("plain", tagged(MAC_ALL, MAC_A, 10));
	inject("acc10", tagged(MAC_ALL, MAC_A, 10));
	inject("acc10", with_tag(eth(MAC_ALL, MAC_A), 0x88a8, 0));
	inject("acc10", with_tag(tagged(MAC_ALL, MAC_A, 20), 0x8100, 0));
	expect_drops("plain", "vlan-tagged", 1);
	expect_drops("acc10", "vlan-tagged", 3);
}
END_TEST

START_TEST(priority_tags_count_as_untagged)
{
	vlans();
	inject("acc10", with_tag(eth(MAC_ALL, MAC_A), 0x8100, 5 << 13));
	expect("u", with_tag(eth(MAC_ALL, MAC_A), 0x8100, 5 << 13 | 10));
	expect("trunk", with_tag(eth(MAC_ALL, MAC_A), 0x8100, 5 << 13 | 10));
	inject("plain", with_tag(eth(MAC_ALL, MAC_A), 0x8100, 5 << 13));
	expect("u", eth(MAC_ALL, MAC_A));
}
END_TEST

START_TEST(trunk_native_allowed_and_prune)
{
	vlans();
	inject("trunk", eth(MAC_ALL, MAC_A)); // native 30
	expect("u", tagged(MAC_ALL, MAC_A, 30));
	inject("u", tagged(MAC_ALL, MAC_B, 30));
	expect("trunk", eth(MAC_ALL, MAC_B));
	inject("trunk", tagged(MAC_ALL, MAC_A, 11));
	expect("u", tagged(MAC_ALL, MAC_A, 11));
	inject("trunk", tagged(MAC_ALL, MAC_A, 12));
	inject("trunk", tagged(MAC_ALL, MAC_A, 99));
	expect_drops("trunk", "vlan-not-allowed", 2);
	inject("u", tagged(MAC_ALL, MAC_B, 12));
	expect_drops("u", "no-destination", 1);
}
END_TEST

START_TEST(prune_wins_over_native)
{
	vlans();
	set("vlan", "trunk", "{'mode': 'trunk', 'allowed': '30', 'native': 30, 'prune': '30'}");
	inject("trunk", eth(MAC_ALL, MAC_A));
	expect_drops("trunk", "vlan-not-allowed", 1);
}
END_TEST

START_TEST(a_trunk_without_native_takes_no_untagged_frames)
{
	vlans();
	set("vlan", "trunk", "{'mode': 'trunk', 'allowed': '10-12'}");
	inject("trunk", eth(MAC_ALL, MAC_A));
	expect_drops("trunk", "vlan-not-allowed", 1);
	inject("plain", eth(MAC_ALL, MAC_B));
	expect_last("u");
	expect_nothing("trunk");
}
END_TEST

START_TEST(double_tags_cannot_hop)
{
	vlans();
	// Outer tag = native: stripping it would put the inner one in front.
	inject("u", with_tag(tagged(MAC_ALL, MAC_A, 20), 0x8100, 30));
	inject("u", with_tag(tagged(MAC_ALL, MAC_A, 20), 0x8100, 10));
	expect("trunk", with_tag(tagged(MAC_ALL, MAC_A, 20), 0x8100, 10));
	expect_drops("u", "no-destination", 1);
	inject("trunk", with_tag(tagged(MAC_ALL, MAC_B, 20), 0x8100, 11));
	expect("u", with_tag(tagged(MAC_ALL, MAC_B, 20), 0x8100, 11));
}
END_TEST

START_TEST(service_tags_are_not_carried)
{
	vlans();
	inject("u", with_tag(eth(MAC_ALL, MAC_A), 0x88a8, 10));
	inject("trunk", with_tag(eth(MAC_ALL, MAC_A), 0x9100, 10));
	expect_drops("u", "vlan-tpid", 1);
	expect_drops("trunk", "vlan-tpid", 1);
	inject("u", with_tag(eth(MAC_ALL, MAC_A), 0x8100, 4095));
	expect_drops("u", "vlan-not-allowed", 1);
}
END_TEST

START_TEST(a_known_destination_in_another_vlan_is_another_address)
{
	vlans();
	inject("acc10", eth(MAC_ALL, MAC_A));
	expect("u", tagged(MAC_ALL, MAC_A, 10));
	expect("trunk", tagged(MAC_ALL, MAC_A, 10));
	inject("acc20", eth(MAC_A, MAC_B));
	expect("u", tagged(MAC_A, MAC_B, 20));
	expect_nothing("acc10");
}
END_TEST

START_TEST(a_trunk_with_an_own_address_is_known_in_every_vlan_it_has)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 0xd};

	vlans();
	port("t2", "sw0", "{'mac': '02:00:00:00:00:0d'}");
	set("vlan", "t2", "{'mode': 'trunk', 'allowed': '10,20', 'native': 0}");
	inject("acc10", eth(mac, MAC_A));
	expect("t2", tagged(mac, MAC_A, 10));
	inject("acc20", eth(mac, MAC_A));
	expect("t2", tagged(mac, MAC_A, 20));
	inject("plain", eth(mac, MAC_A));
	expect("t2", eth(mac, MAC_A)); // native is the untagged VLAN
	inject("u", tagged(mac, MAC_B, 30));
	expect("trunk", eth(mac, MAC_B)); // unknown in VLAN 30
}
END_TEST

START_TEST(a_trunks_own_address_is_not_learned_elsewhere)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 0xd};

	vlans();
	inject("u", tagged(MAC_A, mac, 10)); // before the guest came here
	expect("acc10", eth(MAC_A, mac));
	expect("trunk", tagged(MAC_A, mac, 10));
	expect_fdb("sw0", 10, mac, "u");
	port("t2", "sw0", "{'mac': '02:00:00:00:00:0d'}");
	set("vlan", "t2", "{'mode': 'trunk', 'allowed': '10,20', 'native': 0}");
	inject("acc10", eth(mac, MAC_A));
	expect("t2", tagged(mac, MAC_A, 10));
	inject("u", tagged(MAC_A, mac, 10));
	expect("acc10", eth(MAC_A, mac));
	inject("acc10", eth(mac, MAC_A));
	expect("t2", tagged(mac, MAC_A, 10));
}
END_TEST

START_TEST(a_changed_mode_takes_effect_at_once)
{
	vlans();
	set("vlan", "acc10", "{'mode': 'access', 'vlan': 20}");
	inject("acc20", eth(MAC_ALL, MAC_A));
	expect("acc10", eth(MAC_ALL, MAC_A));
	expect("u", tagged(MAC_ALL, MAC_A, 20));
	del("vlan", "acc10");
	inject("plain", eth(MAC_ALL, MAC_A));
	expect_last("acc10");
	expect_last("u");
}
END_TEST

START_TEST(borrowed_frames_are_tagged_too)
{
	vlans();
	ring_borrow("acc10", 9);
	inject("acc10", sized(MAC_ALL, MAC_A, 1000));
	expect("u", with_tag(sized(MAC_ALL, MAC_A, 1000), 0x8100, 10));
	expect("trunk", with_tag(sized(MAC_ALL, MAC_A, 1000), 0x8100, 10));
	ring_borrow("u", 9);
	inject("u", with_tag(sized(MAC_ALL, MAC_B, 1000), 0x8100, 20));
	expect("acc20", sized(MAC_ALL, MAC_B, 1000));
}
END_TEST

START_TEST(impossible_modes_are_refused)
{
	vlans();
	refused("vlan", "u", "{'mode': 'access', 'vlan': 10}", "an uplink carries every VLAN");
	refused("vlan", "acc10", "{'mode': 'access'}", "needs a vlan");
	refused("vlan", "acc10", "{'mode': 'untagged', 'vlan': 3}", "vlan goes with mode access");
	refused("vlan", "acc10", "{'mode': 'trunk'}", "allowed");
	refused("vlan", "nobody", "{'mode': 'untagged'}", "no such port");
}
END_TEST

// More members than a worker's batches: untagged ones are sent before the last trunk is looked at.
START_TEST(priority_stays_for_the_last_member)
{
	struct frame *f = with_tag(eth(MAC_ALL, MAC_A), 0x8100, 0xa000 | 10);
	char name[16];

	sw("sw0", "external");
	port("in", "sw0", NULL);
	set("vlan", "in", "{'mode': 'trunk', 'allowed': '10'}");
	for (int i = 0; i < 66; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		port(name, "sw0", NULL);
		set("vlan", name, "{'mode': 'access', 'vlan': 10}");
	}
	port("out", "sw0", NULL);
	set("vlan", "out", "{'mode': 'trunk', 'allowed': '10'}");
	inject("in", f);
	expect("out", f);
	for (int i = 0; i < 66; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		expect(name, eth(MAC_ALL, MAC_A));
	}
}
END_TEST

// As they left, whatever tag they came with; also of a batch that the receiver takes a part of.
START_TEST(counted_bytes_are_those_that_left)
{
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 0x1f};

	vlans();
	inject("trunk", tagged(MAC_ALL, MAC_B, 10));
	expect_last("u");
	expect("acc10", eth(MAC_ALL, MAC_B));
	expect_sent("u", 1, 64);
	expect_sent("acc10", 1, 60);
	inject_many("acc10", sized(MAC_B, MAC_A, 100), 3);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(ring_take("trunk")->len, 104);
	expect_sent("trunk", 3, 3 * 104);
	inject_many("trunk", with_tag(sized(MAC_A, MAC_B, 200), 0x8100, 10), 3);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(ring_take("acc10")->len, 200);
	expect_sent("acc10", 4, 60 + 3 * 200);
	inject("plain", eth(MAC_ALL, MAC_C));
	expect_last("u");
	ring_accept("plain", 2);
	inject_many("u", sized(MAC_C, other, 300), 5);
	for (int i = 0; i < 2; i++)
		expect_last("plain");
	expect_sent("plain", 2, 600);
	expect_drops("u", "tx-full", 3);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vlan");
	TCase *t = tcase_create("vlan");

	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, untagged_stays_among_untagged);
	tcase_add_test(t, access_leaves_tagged_by_uplink_and_trunk);
	tcase_add_test(t, copies_of_a_frame_have_each_their_own_tag);
	tcase_add_test(t, uplink_tag_is_removed_for_access);
	tcase_add_test(t, tags_are_refused_on_untagged_and_access_ports);
	tcase_add_test(t, priority_tags_count_as_untagged);
	tcase_add_test(t, trunk_native_allowed_and_prune);
	tcase_add_test(t, prune_wins_over_native);
	tcase_add_test(t, a_trunk_without_native_takes_no_untagged_frames);
	tcase_add_test(t, double_tags_cannot_hop);
	tcase_add_test(t, service_tags_are_not_carried);
	tcase_add_test(t, a_known_destination_in_another_vlan_is_another_address);
	tcase_add_test(t, a_trunk_with_an_own_address_is_known_in_every_vlan_it_has);
	tcase_add_test(t, a_trunks_own_address_is_not_learned_elsewhere);
	tcase_add_test(t, a_changed_mode_takes_effect_at_once);
	tcase_add_test(t, borrowed_frames_are_tagged_too);
	tcase_add_test(t, impossible_modes_are_refused);
	tcase_add_test(t, priority_stays_for_the_last_member);
	tcase_add_test(t, counted_bytes_are_those_that_left);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
