// Forward extensions: where packets go by their choice, and what of the switch's rules still holds.
#include "ext_rig.h"

#include <stdio.h>
#include <string.h>

#include "dp/port.h"

static struct {
	bool flood;
	uint32_t n;
	uint32_t to[16];
} choice;

static void choose(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->chosen = true;
	a->flood = choice.flood;
	a->n_destinations = choice.n;
	memcpy(a->destinations, choice.to, sizeof(a->destinations));
}

static void begin(bool flows)
{
	house_flows(flows);
	three_ports();
	memset(&choice, 0, sizeof(choice));
	hooks[0].flow_in = choose;
	plug("w", "forward_l2", &hooks[0], NULL);
}

static void choose_ports(uint32_t n, uint32_t p0, uint32_t p1, uint32_t p2)
{
	choice.n = n;
	choice.to[0] = p0;
	choice.to[1] = p1;
	choice.to[2] = p2;
	hooks[0].host->revoke(hooks[0].instance, EVS_NO_PORT);
	until_published();
}

#define REPEATED(i) for (int i = 0; i < 3; i++)

START_TEST(one)
{
	begin(_i);
	choose_ports(1, id_of("c"), 0, 0);
	REPEATED(i)
	{
		inject("a", eth(MAC_B, MAC_A));
		expect_last("c");
	}
	ck_assert_uint_eq(counted("w").breaches, 0);
	expect_fdb("sw0", 0, MAC_A, "a");
}
END_TEST

START_TEST(many)
{
	begin(_i);
	choose_ports(2, id_of("c"), id_of("b"), 0);
	REPEATED(i)
	{
		inject("a", eth(MAC_B, MAC_A));
		expect_last("b");
		expect_last("c");
	}
}
END_TEST

START_TEST(none)
{
	begin(_i);
	choose_ports(0, 0, 0, 0);
	REPEATED(i)
	{
		inject("a", eth(MAC_B, MAC_A));
		inject("a", eth(MAC_ALL, MAC_A));
	}
	expect_drops("a", "no-destination", 6);
}
END_TEST

START_TEST(flood)
{
	begin(_i);
	choice.flood = true;
	choose_ports(0, 0, 0, 0);
	port("o", "sw0", "{'mac': '02:00:00:00:00:0d'}"); // gets no unknown unicast
	REPEATED(i)
	{
		inject("a", eth(MAC_B, MAC_A));
		expect_last("b");
		expect_last("c");
	}
	expect_nothing("o");
}
END_TEST

START_TEST(a_port_twice_itself_and_one_that_is_not_there)
{
	begin(_i);
	choose_ports(3, id_of("c"), id_of("c"), 12345678);
	REPEATED(i)
	{
		inject("a", eth(MAC_B, MAC_A));
		expect_last("c");
	}
	choose_ports(2, id_of("a"), id_of("b"), 0);
	REPEATED(i)
	{
		inject("a", eth(MAC_B, MAC_A));
		expect_last("b");
	}
	choose_ports(1, id_of("a"), 0, 0);
	REPEATED(i)
	inject("a", eth(MAC_B, MAC_A));
	expect_drops("a", "hairpin", 3);
	choose_ports(1, EVS_NO_PORT, 0, 0);
	REPEATED(i)
	inject("a", eth(MAC_B, MAC_A));
	expect_drops("a", "no-destination", 3);
	ck_assert_uint_eq(counted("w").breaches, 0);
}
END_TEST

START_TEST(more_than_an_answer_holds)
{
	char name[8];

	begin(_i);
	for (uint32_t i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "p%u", i);
		port(name, "sw0", NULL);
		choice.to[i] = id_of(name);
	}
	choose_ports(8, choice.to[0], choice.to[1], choice.to[2]);
	inject("a", eth(MAC_B, MAC_A));
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		expect_last(name);
	}
	ck_assert_uint_eq(counted("w").breaches, 0);
	choose_ports(200, choice.to[0], choice.to[1], choice.to[2]);
	inject("a", eth(MAC_B, MAC_A));
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		expect_last(name);
	}
	ck_assert_uint_eq(counted("w").breaches, 1);
}
END_TEST

START_TEST(a_port_that_went_and_one_that_came)
{
	begin(_i);
	const uint32_t c = id_of("c");

	choose_ports(2, id_of("b"), c, 0);
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
	expect_last("c");
	del("port", "c");
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
	port("c", "sw0", NULL); // another port, by the old name
	ck_assert_uint_ne(id_of("c"), c);
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
}
END_TEST

START_TEST(ports_of_other_switches_are_out_of_reach)
{
	begin(_i);
	sw("sw1", "internal");
	port("x", "sw1", NULL);
	choose_ports(2, id_of("x"), id_of("b"), 0);
	REPEATED(i)
	{
		inject("a", eth(MAC_ALL, MAC_A));
		expect_last("b");
	}
	choose_ports(1, id_of("x"), 0, 0);
	inject("a", eth(MAC_ALL, MAC_A));
	expect_drops("a", "no-destination", 1);
}
END_TEST

START_TEST(vlans_hold)
{
	begin(_i);
	set("vlan", "b", "{'mode': 'access', 'vlan': 10}");
	choose_ports(1, id_of("b"), 0, 0);
	REPEATED(i)
	inject("a", eth(MAC_B, MAC_A));
	expect_drops("a", "vlan-not-allowed", 3);
	choose_ports(2, id_of("b"), id_of("c"), 0);
	REPEATED(i)
	{
		inject("a", eth(MAC_B, MAC_A));
		expect_last("c");
	}
	set("vlan", "b", "{'mode': 'untagged'}");
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
	expect_last("c");
}
END_TEST

START_TEST(spoofing_is_refused_before)
{
	begin(_i);
	port("o", "sw0", "{'mac': '02:00:00:00:00:0d'}");
	choose_ports(1, id_of("b"), 0, 0);
	inject("o", eth(MAC_B, MAC_A));
	expect_drops("o", "mac-spoofing", 1);
	ck_assert_uint_eq(hooks[0].n_in, 0);
}
END_TEST

START_TEST(uplinks_do_not_forward_to_uplinks)
{
	begin(_i);
	port("u", "sw0", "{'type': 'uplink'}");
	port("v", "sw0", "{'type': 'uplink'}");
	choose_ports(1, id_of("v"), 0, 0);
	REPEATED(i)
	inject("u", eth(MAC_B, MAC_A));
	expect_drops("u", "uplink-to-uplink", 3);
	inject("a", eth(MAC_B, MAC_C));
	expect_last("v");
}
END_TEST

START_TEST(who_does_not_choose_leaves_it_to_the_switch)
{
	begin(_i);
	hooks[0].flow_in = NULL;
	REPEATED(i)
	{
		inject("a", eth(MAC_B, MAC_A));
		expect_last("b");
		inject("a", eth((uint8_t[]){2, 0, 0, 0, 0, 0x55}, MAC_A));
		expect_last("b");
		expect_last("c");
	}
}
END_TEST

START_TEST(a_choice_of_a_port_that_is_down)
{
	begin(_i);
	choose_ports(1, id_of("c"), 0, 0);
	ring_up("c", false);
	REPEATED(i)
	inject("a", eth(MAC_B, MAC_A));
	expect_drops("a", "port-down", 3);
	ring_up("c", true);
	inject("a", eth(MAC_B, MAC_A));
	expect_last("c");
}
END_TEST

START_TEST(one_of_a_switch_at_most_is_enabled)
{
	begin(true);
	plug_refused("w2", "forward", &hooks[1], NULL,
		     "ext w2: switch sw0 has an enabled forward extension, w, and may have one only");
	plug("w2", "forward", &hooks[1], "'enabled': false");
	plug_refused("w2", "forward", &hooks[1], "'enabled': true", "may have one only");
	ck_assert_str_eq(ext_state_name(ext_find("w2")), "disabled");
	plug("w", "forward_l2", &hooks[0], "'enabled': false");
	plug("w2", "forward", &hooks[1], NULL);
	plug_refused("w", "forward_l2", &hooks[0], NULL, "enabled forward extension, w2,");
	unplug("w2");
	plug("w", "forward_l2", &hooks[0], NULL);
	choose_ports(1, id_of("c"), 0, 0);
	inject("a", eth(MAC_B, MAC_A));
	expect_last("c");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ext_forward");
	TCase *c = ext_rig_case(s, "forward");

	tcase_add_loop_test(c, one, 0, 2);
	tcase_add_loop_test(c, many, 0, 2);
	tcase_add_loop_test(c, none, 0, 2);
	tcase_add_loop_test(c, flood, 0, 2);
	tcase_add_loop_test(c, a_port_twice_itself_and_one_that_is_not_there, 0, 2);
	tcase_add_loop_test(c, more_than_an_answer_holds, 0, 2);
	tcase_add_loop_test(c, a_port_that_went_and_one_that_came, 0, 2);
	tcase_add_loop_test(c, ports_of_other_switches_are_out_of_reach, 0, 2);
	tcase_add_loop_test(c, vlans_hold, 0, 2);
	tcase_add_loop_test(c, spoofing_is_refused_before, 0, 2);
	tcase_add_loop_test(c, uplinks_do_not_forward_to_uplinks, 0, 2);
	tcase_add_loop_test(c, who_does_not_choose_leaves_it_to_the_switch, 0, 2);
	tcase_add_loop_test(c, a_choice_of_a_port_that_is_down, 0, 2);
	tcase_add_test(c, one_of_a_switch_at_most_is_enabled);
	return ext_rig_run(s);
}
