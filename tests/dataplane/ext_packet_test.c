// Packet calls: what they are given, what their verdicts do, what comes of bytes that they change, and of what they must
// not touch.
#include "ext_rig.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "dp/port.h"

static struct evs_packet views[64];
static uint8_t bytes_seen[64][128];
static uint32_t n_views, largest;

static void keep_views(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h;
	ck_assert_uint_eq(c->size, sizeof(*c));
	ck_assert_uint_eq(c->worker, 0);
	ck_assert_ptr_nonnull(c->local);
	++*(uint32_t *)c->local;
	largest = n > largest ? n : largest;
	for (uint32_t i = 0; i < n && n_views < 64; i++) {
		views[n_views] = *p[i];
		memcpy(bytes_seen[n_views++], p[i]->data, p[i]->safe < 128 ? p[i]->safe : 128);
	}
}

static void drop_odd(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	for (uint32_t i = 0; i < n; i++) {
		p[i]->verdict = p[i]->data[20] & 1 ? EVS_DROP : EVS_PASS;
		p[i]->reason = p[i]->data[20] & 2 ? 1 : 0;
	}
}

static struct hooks asks(void)
{
	n_views = largest = 0;
	return (struct hooks){.flow_in = ask_packets, .flow_out = ask_packets};
}

START_TEST(views_say_what_the_packet_is)
{
	house_flows(_i & 1);
	three_ports();
	if (_i & 2)
		ring_borrow("a", 40);
	hooks[0] = asks();
	hooks[0].packets_in = hooks[0].packets_out = keep_views;
	plug("x", "filter", &hooks[0], NULL);
	const struct frame *f = udp(MAC_B, MAC_A, 4, 2, 53);

	for (int i = 0; i < 2; i++) { // the second is of a known flow
		n_views = 0;
		inject("a", f);
		expect_last("b");
		ck_assert_uint_eq(n_views, 2);
		for (int out = 0; out < 2; out++) {
			const struct evs_packet *v = &views[out];

			ck_assert_uint_eq(v->size, sizeof(*v));
			ck_assert_uint_eq(v->length, f->len);
			ck_assert_uint_eq(v->safe, f->len);
			ck_assert_uint_eq(v->source, id_of("a"));
			ck_assert_uint_eq(v->destination, out ? id_of("b") : EVS_NO_PORT);
			ck_assert_uint_eq(v->ether_type, 0x0800);
			ck_assert_uint_eq(v->vlan, 0);
			ck_assert_uint_eq(v->l3, 14);
			ck_assert_uint_eq(v->l4, 34);
			ck_assert_uint_eq(v->ip_version, 4);
			ck_assert_uint_eq(v->ip_proto, IPPROTO_UDP);
			ck_assert(!v->fragment);
			ck_assert_mem_eq(bytes_seen[out], f->bytes, f->len);
		}
	}
}
END_TEST

START_TEST(views_of_tagged_and_long_packets)
{
	three_ports();
	set("vlan", "a", "{'mode': 'trunk', 'allowed': '10', 'native': 1}");
	set("vlan", "b", "{'mode': 'access', 'vlan': 10}");
	ring_borrow("a", 500);
	hooks[0] = asks();
	hooks[0].packets_in = hooks[0].packets_out = keep_views;
	plug("x", "filter", &hooks[0], NULL);
	inject("a", with_tag(sized(MAC_ALL, MAC_A, 1000), 0x8100, 10));
	expect("b", sized(MAC_ALL, MAC_A, 1000));
	ck_assert_uint_eq(n_views, 2);
	ck_assert_uint_eq(views[0].vlan, 10);
	ck_assert_uint_eq(views[0].length, 1004);
	ck_assert_uint_le(views[0].safe, 1004);
	ck_assert_uint_ge(views[0].safe, 128);
	ck_assert_uint_eq(views[1].vlan, 10);
	ck_assert_uint_eq(views[1].destination, id_of("b"));
}
END_TEST

START_TEST(packets_come_in_batches)
{
	three_ports();
	hooks[0] = asks();
	hooks[0].packets_in = keep_views;
	plug("x", "watcher", &hooks[0], NULL);
	inject("a", eth(MAC_B, MAC_A));
	inject_many("a", eth(MAC_B, MAC_A), 40);
	for (int i = 0; i < 41; i++)
		expect_last("b");
	ck_assert_uint_eq(hooks[0].n_packets_in, 41);
	ck_assert_uint_eq(largest, 32);
	ck_assert_uint_eq(counted("x").packets, 82); // and on the way out
	ck_assert_uint_eq(counted("x").flows, 0);
}
END_TEST

static const struct frame *numbered(int i)
{
	struct frame *f = eth(MAC_B, MAC_A);

	f->bytes[20] = i;
	return f;
}

START_TEST(verdicts_are_for_each_packet)
{
	house_flows(_i & 1);
	three_ports();
	hooks[0] = asks();
	*(_i & 2 ? &hooks[0].packets_in : &hooks[0].packets_out) = drop_odd;
	plug("x", "filter", &hooks[0], NULL);
	for (int i = 0; i < 32; i++)
		ring_queue("a", numbered(i));
	house_rounds();
	for (int i = 0; i < 32; i += 2)
		expect("b", numbered(i));
	expect_drops("a", "extension", 16);
	expect_ext_drops("x", 0, 8);
	expect_ext_drops("x", 1, 8);
	ck_assert_uint_eq(counted("x").drops, 16);
}
END_TEST

START_TEST(what_one_drops_the_next_does_not_see)
{
	three_ports();
	hooks[0] = asks();
	hooks[0].packets_in = drop_odd;
	hooks[1] = asks();
	plug("first", "filter", &hooks[0], "'rank': 1");
	plug("second", "filter", &hooks[1], "'rank': 2");
	for (int i = 0; i < 32; i++)
		ring_queue("a", numbered(i));
	house_rounds();
	for (int i = 0; i < 32; i += 2)
		expect("b", numbered(i));
	ck_assert_uint_eq(hooks[0].n_packets_in, 32);
	ck_assert_uint_eq(hooks[1].n_packets_in, 16);
}
END_TEST

START_TEST(what_a_packet_call_drops_is_not_learned)
{
	house_flows(_i);
	three_ports();
	hooks[0] = asks();
	hooks[0].packets_in = drop_odd;
	plug("x", "filter", &hooks[0], NULL);
	inject("a", numbered(1));
	expect_fdb("sw0", 0, MAC_A, NULL);
	inject("a", numbered(2));
	expect_last("b");
	expect_fdb("sw0", 0, MAC_A, "a");
}
END_TEST

static void drop_to_b(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	for (uint32_t i = 0; i < n; i++)
		p[i]->verdict = p[i]->destination == id_of("b") ? EVS_DROP : EVS_PASS;
}

START_TEST(of_several_destinations_some_are_excluded_per_packet)
{
	house_flows(_i & 1);
	three_ports();
	char name[8];

	for (int i = 0; _i & 2 && i < 12; i++) { // more than a plan holds
		snprintf(name, sizeof(name), "p%d", i);
		port(name, "sw0", NULL);
	}
	hooks[0] = asks();
	hooks[0].packets_out = drop_to_b;
	plug("x", "filter", &hooks[0], NULL);
	for (int k = 0; k < 3; k++) {
		inject("a", eth(MAC_ALL, MAC_A));
		expect_last("c");
		for (int i = 0; _i & 2 && i < 12; i++) {
			snprintf(name, sizeof(name), "p%d", i);
			expect_last(name);
		}
	}
	expect_drops("a", "extension", 3);
}
END_TEST

// Bytes that are changed

static void to_c(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	for (uint32_t i = 0; i < n; i++)
		memcpy(p[i]->data, MAC_C, 6);
}

static void group_source(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	for (uint32_t i = 0; i < n; i++)
		p[i]->data[6] |= 1;
}

static void into_vlan_30(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	for (uint32_t i = 0; i < n; i++)
		p[i]->data[15] = 30;
}

static void cut_ip(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	for (uint32_t i = 0; i < n; i++)
		p[i]->data[14] = 0x4f; // a header of 60 bytes, which are not there
}

static struct evs_flow seen_behind;

static void keep_flow(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)a;
	seen_behind = *f;
}

static void modifier(void (*fn)(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p,
				uint32_t n))
{
	hooks[0] = asks();
	hooks[0].flow_out = NULL;
	hooks[0].packets_in = fn;
	plug("m", "modifier", &hooks[0], "'rank': 1");
}

START_TEST(what_comes_behind_sees_the_new_bytes)
{
	house_flows(_i & 1);
	three_ports();
	if (_i & 2)
		ring_borrow("a", 40);
	hooks[1].flow_in = keep_flow;
	plug("next", "filter_l2", &hooks[1], "'rank': 2");
	modifier(to_c);
	for (int i = 0; i < 5; i++) {
		inject("a", sized(MAC_B, MAC_A, 700));
		expect("c", sized(MAC_C, MAC_A, 700));
	}
	ck_assert_mem_eq(seen_behind.dst, MAC_C, 6);
	inject_many("a", eth(MAC_B, MAC_A), 20);
	for (int i = 0; i < 20; i++)
		expect("c", eth(MAC_C, MAC_A));
	ck_assert_uint_eq(hooks[0].n_in, _i & 1 ? 1 : 25); // its own answer is kept
}
END_TEST

START_TEST(the_way_back_is_no_business_of_a_modifier)
{
	three_ports();
	modifier(to_c);
	hooks[0].flow_out = ask_packets;
	hooks[0].packets_out = keep_views;
	inject("a", eth(MAC_B, MAC_A));
	expect("c", eth(MAC_C, MAC_A));
	ck_assert_uint_eq(n_views, 1);
	ck_assert_mem_eq(bytes_seen[0], MAC_C, 6);
}
END_TEST

START_TEST(the_switchs_rules_hold_for_what_was_changed)
{
	house_flows(_i);
	three_ports();
	set("vlan", "a", "{'mode': 'trunk', 'allowed': '10,20', 'native': 1}");
	set("vlan", "b", "{'mode': 'trunk', 'allowed': '10,20,30', 'native': 1}");
	modifier(into_vlan_30);
	for (int i = 0; i < 3; i++)
		inject("a", tagged(MAC_B, MAC_A, 10));
	expect_drops("a", "vlan-not-allowed", 3);
	hooks[0].packets_in = group_source;
	for (int i = 0; i < 3; i++)
		inject("a", tagged(MAC_B, MAC_A, 10));
	expect_drops("a", "invalid-source-mac", 3);
	hooks[0].packets_in = cut_ip;
	inject("a", with_tag(udp(MAC_B, MAC_A, 4, 2, 53), 0x8100, 10)); // writes the tag's protocol away
	hooks[0].packets_in = NULL;
	inject("a", tagged(MAC_B, MAC_A, 10));
	expect_last("b");
}
END_TEST

START_TEST(a_packet_that_is_made_invalid_is_dropped)
{
	house_flows(_i);
	three_ports();
	modifier(cut_ip);
	for (int i = 0; i < 3; i++)
		inject("a", udp(MAC_B, MAC_A, 4, 2, 53));
	expect_drops("a", "ipv4-cut", 3);
}
END_TEST

// Two that modify, one behind the other, and one that drops what they made.
START_TEST(modifiers_in_a_row)
{
	house_flows(_i);
	three_ports();
	modifier(to_c);
	hooks[1] = asks();
	hooks[1].packets_in = drop_odd;
	plug("m2", "modifier", &hooks[1], "'rank': 2");
	hooks[2] = asks();
	hooks[2].packets_in = keep_views;
	plug("see", "filter", &hooks[2], "'rank': 3");
	for (int i = 0; i < 8; i++)
		inject("a", numbered(i));
	for (int i = 0; i < 8; i += 2) {
		struct frame *f = (struct frame *)numbered(i);

		memcpy(f->bytes, MAC_C, 6);
		expect("c", f);
		ck_assert_mem_eq(bytes_seen[i / 2], f->bytes, 60);
	}
	ck_assert_uint_eq(n_views, 4);
	expect_drops("a", "extension", 4);
}
END_TEST

// What no extension may touch

static void write_before(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	p[n - 1]->data[-1] = 0;
}

static void write_behind(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	p[n - 1]->data[p[n - 1]->safe] = 0;
}

START_TEST(who_writes_past_its_bytes_is_taken_out)
{
	const bool closed = _i & 2;

	three_ports();
	modifier(_i & 1 ? write_before : write_behind);
	plug("m", "modifier", &hooks[0], closed ? "'fail': 'closed'" : NULL);
	inject("a", eth(MAC_B, MAC_A));
	const uint32_t calls = hooks[0].n_packets;

	inject("a", eth(MAC_B, MAC_A)); // at once, and before anybody has heard of it
	until_published();
	inject("a", eth(MAC_B, MAC_A));
	for (int i = 0; i < 3 && !closed; i++)
		expect_last("b");
	expect_drops("a", "extension-gone", closed ? 3 : 0);
	ck_assert_uint_eq(hooks[0].n_packets, calls);
	ck_assert_str_eq(ext_state_name(ext_find("m")), "faulted");
	ck_assert_str_eq(ext_find("m")->why, "it wrote past the bytes of a packet that it was given");
	hooks[0].n_destroyed++; // it is not called again
}
END_TEST

START_TEST(without_one_that_fails_closed_no_port_gets_or_sends)
{
	three_ports();
	modifier(write_behind);
	plug("m", "modifier", &hooks[0], "'fail': 'closed'");
	inject("a", eth(MAC_B, MAC_A));
	until_published();
	port("d", "sw0", NULL); // also one that comes later
	inject("d", eth(MAC_B, MAC_C));
	inject("c", eth(MAC_ALL, MAC_C));
	expect_drops("d", "extension-gone", 1);
	expect_drops("c", "extension-gone", 1);
	hooks[0].packets_in = NULL;
	plug("m", "modifier", &hooks[0], NULL); // started anew
	inject("c", eth(MAC_B, MAC_C));
	expect_last("b");
	hooks[0].n_destroyed++;
}
END_TEST

// Sampling

START_TEST(one_packet_in_n_is_given)
{
	const uint32_t rates[] = {2, 10, 100, 1000};
	const uint32_t rate = rates[_i / 2], total = 100000;

	house_flows(_i & 1);
	three_ports();
	hooks[0] = asks();
	hooks[0].flow_out = NULL;
	plug("s", "capture", &hooks[0], NULL);
	hooks[0].host->sample(hooks[0].instance, rate);
	for (uint32_t i = 0; i < total; i += 50) {
		inject_many("a", eth(MAC_B, MAC_A), 50);
		for (int k = 0; k < 50; k++)
			expect_last("b");
	}
	// The distances are even between 1 and 2 rate - 1: the deviation of the number is below sqrt(total / 3 rate).
	double mean = (double)total / rate, bound = 5;

	while (bound * bound < 25 * mean / 3)
		bound++;
	ck_assert_msg(hooks[0].n_packets > mean - bound && hooks[0].n_packets < mean + bound,
		      "%u packets of %u, 1 in %u", hooks[0].n_packets, total, rate);
	ck_assert_uint_eq(counted("s").packets, hooks[0].n_packets);
	hooks[0].host->sample(hooks[0].instance, 0);
	uint32_t before = hooks[0].n_packets;

	inject_many("a", eth(MAC_B, MAC_A), 10);
	for (int k = 0; k < 10; k++)
		expect_last("b");
	ck_assert_uint_eq(hooks[0].n_packets, before + 10);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ext_packet");
	TCase *c = ext_rig_case(s, "packet calls");

	tcase_add_loop_test(c, views_say_what_the_packet_is, 0, 4);
	tcase_add_test(c, views_of_tagged_and_long_packets);
	tcase_add_test(c, packets_come_in_batches);
	tcase_add_loop_test(c, verdicts_are_for_each_packet, 0, 4);
	tcase_add_test(c, what_one_drops_the_next_does_not_see);
	tcase_add_loop_test(c, what_a_packet_call_drops_is_not_learned, 0, 2);
	tcase_add_loop_test(c, of_several_destinations_some_are_excluded_per_packet, 0, 4);
	tcase_add_loop_test(c, what_comes_behind_sees_the_new_bytes, 0, 4);
	tcase_add_test(c, the_way_back_is_no_business_of_a_modifier);
	tcase_add_loop_test(c, the_switchs_rules_hold_for_what_was_changed, 0, 2);
	tcase_add_loop_test(c, a_packet_that_is_made_invalid_is_dropped, 0, 2);
	tcase_add_loop_test(c, modifiers_in_a_row, 0, 2);
	tcase_add_loop_test(c, who_writes_past_its_bytes_is_taken_out, 0, 4);
	tcase_add_test(c, without_one_that_fails_closed_no_port_gets_or_sends);
	tcase_add_loop_test(c, one_packet_in_n_is_given, 0, 8);
	return ext_rig_run(s);
}
