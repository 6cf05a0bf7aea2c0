// Frames that extensions send: where they enter, who sees them, how they are accounted (the house checks each test's sum).
#include "ext_rig.h"

#include <string.h>

#include "dp/inject.h"
#include "dp/port.h"

static const uint8_t MAC_S[6] = {2, 0, 0, 0, 0, 0x5e};

static bool send(struct hooks *h, const struct frame *f, uint32_t from, uint32_t to)
{
	bool taken = h->host->send(h->instance, f->bytes, f->len, from, to);

	for (int i = 0; i < 3; i++)
		house_turn(); // what other threads send goes by way of the control thread
	house_rounds();
	return taken;
}

static void three_filters(void)
{
	for (int i = 0; i < 3; i++)
		hooks[i] = (struct hooks){.flow_in = note_in, .flow_out = note_out};
	plug("up", "filter_l2", &hooks[0], "'rank': 1");
	plug("me", "filter_l2", &hooks[1], "'rank': 2");
	plug("low", "filter_l2", &hooks[2], "'rank': 3");
}

START_TEST(from_a_port_it_enters_behind_its_sender)
{
	house_flows(_i);
	three_ports();
	three_filters();
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), id_of("a"), EVS_NO_PORT));
	expect("b", eth(MAC_B, MAC_S));
	expect_notes("low:in low:out me:out up:out");
	expect_fdb("sw0", 0, MAC_S, "a"); // as if that port had sent it
}
END_TEST

// One that looks at nothing on the way in has its place all the same.
START_TEST(one_that_only_sends_has_a_place)
{
	three_ports();
	three_filters();
	plug("me", "sender", &hooks[1], "'rank': 2");
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), id_of("a"), EVS_NO_PORT));
	expect("b", eth(MAC_B, MAC_S));
	expect_notes("low:in low:out up:out");
}
END_TEST

static void drop(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->verdict = EVS_DROP;
}

START_TEST(what_follows_applies_to_it)
{
	three_ports();
	port("o", "sw0", "{'mac': '02:00:00:00:00:0d'}");
	three_filters();
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), id_of("o"), EVS_NO_PORT));
	expect_drops("o", "mac-spoofing", 1);
	hooks[2].flow_in = drop;
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), id_of("a"), EVS_NO_PORT));
	expect_drops("a", "extension", 1);
	expect_ext_drops("low", 0, 1);
}
END_TEST

static struct evs_flow seen;

static void keep(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)a;
	seen = *f;
	note(h, "out");
}

START_TEST(from_nobody_it_goes_to_its_destination)
{
	three_ports();
	port("o", "sw0", "{'mac': '02:00:00:00:00:0d'}");
	set("vlan", "o", "{'mode': 'access', 'vlan': 10}"); // no policy for sources hinders it
	three_filters();
	hooks[0].flow_out = keep;
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), EVS_NO_PORT, id_of("o")));
	expect("o", eth(MAC_B, MAC_S));
	expect_notes("low:out me:out up:out"); // on the way out everybody sees it
	ck_assert_uint_eq(seen.source, EVS_NO_PORT);
	ck_assert_uint_eq(seen.destination, id_of("o"));
	expect_fdb("sw0", 0, MAC_S, NULL);
	ck_assert(send(&hooks[1], tagged(MAC_B, MAC_S, 10), EVS_NO_PORT, id_of("a")));
	expect("a", tagged(MAC_B, MAC_S, 10));
}
END_TEST

START_TEST(from_nobody_it_may_be_excluded_and_counts)
{
	three_ports();
	three_filters();
	hooks[2].flow_out = drop;
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), EVS_NO_PORT, id_of("b")));
	expect_drops("b", "extension", 1);
	expect_ext_drops("low", 0, 1);
	hooks[2].flow_out = NULL;
	ck_assert(send(&hooks[1], sized(MAC_B, MAC_S, 2000), EVS_NO_PORT, id_of("b")));
	expect_drops("b", "mtu-exceeded", 1);
	ring_up("b", false);
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), EVS_NO_PORT, id_of("b")));
	expect_drops("b", "port-down", 1);
}
END_TEST

static void keep_source(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c, (void)n;
	seen.source = p[0]->source;
}

START_TEST(captures_see_what_nobody_has_sent)
{
	three_ports();
	hooks[0] = (struct hooks){.flow_out = ask_packets, .packets_out = keep_source};
	plug("c", "capture", &hooks[0], NULL);
	seen.source = 1;
	ck_assert(send(&hooks[0], eth(MAC_B, MAC_S), EVS_NO_PORT, id_of("b")));
	expect("b", eth(MAC_B, MAC_S));
	ck_assert_uint_eq(hooks[0].n_packets, 1);
	ck_assert_uint_eq(seen.source, EVS_NO_PORT);
	ck_assert(!send(&hooks[0], eth(MAC_B, MAC_S), id_of("a"), EVS_NO_PORT)); // it may not
}
END_TEST

START_TEST(what_is_no_frame_is_not_taken)
{
	three_ports();
	three_filters();
	ck_assert(!send(&hooks[1], cut(eth(MAC_B, MAC_S), 13), id_of("a"), EVS_NO_PORT));
	ck_assert(!send(&hooks[1], sized(MAC_B, MAC_S, 9239), id_of("a"), EVS_NO_PORT));
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), 12345678, EVS_NO_PORT)); // it may just have gone
	ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), EVS_NO_PORT, 12345678));
	expect_notes("");
}
END_TEST

START_TEST(ports_of_other_switches_are_out_of_reach)
{
	three_ports();
	three_filters();
	sw("sw1", "internal");
	port("x", "sw1", NULL);
	port("y", "sw1", NULL);
	send(&hooks[1], eth(MAC_ALL, MAC_S), id_of("x"), EVS_NO_PORT);
	send(&hooks[1], eth(MAC_ALL, MAC_S), EVS_NO_PORT, id_of("y"));
	expect_nothing("x");
	expect_nothing("y");
}
END_TEST

// A clone of each packet to c, from within its flow or packet call.
static void clone_to_c(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	uint8_t copy[128];

	(void)c;
	for (uint32_t i = 0; i < n; i++) {
		memcpy(copy, p[i]->data, p[i]->safe);
		memcpy(copy, MAC_C, 6);
		ck_assert(h->host->send(h->instance, copy, p[i]->length, p[i]->source, EVS_NO_PORT));
	}
}

START_TEST(a_packet_call_may_send)
{
	house_flows(_i);
	three_ports();
	hooks[0] = (struct hooks){.flow_in = ask_packets, .packets_in = clone_to_c};
	plug("x", "filter", &hooks[0], NULL);
	inject_many("a", eth(MAC_B, MAC_A), 20);
	for (int i = 0; i < 20; i++) {
		expect("b", eth(MAC_B, MAC_A));
		expect("c", eth(MAC_C, MAC_A));
	}
	ck_assert_uint_eq(hooks[0].n_packets, 20); // it does not see its own
}
END_TEST

static uint32_t n_taken;

static void flood_the_queue(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p,
			    uint32_t n)
{
	(void)c, (void)n;
	for (int i = 0; i < 2 * INJECT_RING; i++)
		n_taken += h->host->send(h->instance, p[0]->data, p[0]->length, EVS_NO_PORT, id_of("b"));
}

START_TEST(a_full_queue_takes_no_more)
{
	three_ports();
	n_taken = 0;
	hooks[0] = (struct hooks){.flow_in = ask_packets, .packets_in = flood_the_queue};
	plug("x", "filter", &hooks[0], NULL);
	inject("a", eth(MAC_C, MAC_A));
	expect_last("c");
	ck_assert_uint_gt(n_taken, 0);
	ck_assert_uint_lt(n_taken, 2 * INJECT_RING);
	for (uint32_t i = 0; i < n_taken; i++)
		expect("b", eth(MAC_C, MAC_A));
}
END_TEST

START_TEST(to_a_receiver_that_is_full)
{
	three_ports();
	three_filters();
	ring_accept("b", 1);
	for (int i = 0; i < 3; i++)
		ck_assert(send(&hooks[1], eth(MAC_B, MAC_S), EVS_NO_PORT, id_of("b")));
	expect("b", eth(MAC_B, MAC_S));
	expect_drops("b", "tx-full", 2);
}
END_TEST

START_TEST(one_that_is_disabled_sends_nothing)
{
	three_ports();
	three_filters();
	plug("me", "filter_l2", &hooks[1], "'rank': 2, 'enabled': false");
	send(&hooks[1], eth(MAC_B, MAC_S), id_of("a"), EVS_NO_PORT);
	send(&hooks[1], eth(MAC_B, MAC_S), EVS_NO_PORT, id_of("b"));
	expect_nothing("b");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ext_send");
	TCase *c = ext_rig_case(s, "send");

	tcase_add_loop_test(c, from_a_port_it_enters_behind_its_sender, 0, 2);
	tcase_add_test(c, one_that_only_sends_has_a_place);
	tcase_add_test(c, what_follows_applies_to_it);
	tcase_add_test(c, from_nobody_it_goes_to_its_destination);
	tcase_add_test(c, from_nobody_it_may_be_excluded_and_counts);
	tcase_add_test(c, captures_see_what_nobody_has_sent);
	tcase_add_test(c, what_is_no_frame_is_not_taken);
	tcase_add_test(c, ports_of_other_switches_are_out_of_reach);
	tcase_add_loop_test(c, a_packet_call_may_send, 0, 2);
	tcase_add_test(c, a_full_queue_takes_no_more);
	tcase_add_test(c, to_a_receiver_that_is_full);
	tcase_add_test(c, one_that_is_disabled_sends_nothing);
	return ext_rig_run(s);
}
