// Flow calls: what they are given, how often they are made, when their answers are asked for again; the fields that they
// set.
#include "ext_rig.h"

#include <netinet/in.h>
#include <string.h>

#include "dp/port.h"

static struct evs_flow last_in, last_out;

static void keep_in(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)a;
	last_in = *f;
}

static void keep_out(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)a;
	last_out = *f;
}

static struct hooks *keeper(const char *file)
{
	hooks[0] = (struct hooks){.flow_in = keep_in, .flow_out = keep_out};
	plug("x", file, &hooks[0], NULL);
	return &hooks[0];
}

// What is given

static void expect_no_ports(const struct evs_flow *f)
{
	ck_assert(!f->has_ports);
	ck_assert_uint_eq(f->sport, 0);
	ck_assert_uint_eq(f->dport, 0);
}

static void expect_no_ip(const struct evs_flow *f)
{
	static const uint8_t none[16];

	ck_assert_uint_eq(f->ip_version, 0);
	ck_assert_uint_eq(f->ip_proto, 0);
	ck_assert_mem_eq(f->ip_src, none, 16);
	ck_assert_mem_eq(f->ip_dst, none, 16);
}

static void expect_ethernet(const struct evs_flow *f, uint16_t vlan, uint8_t priority)
{
	ck_assert_uint_eq(f->size, sizeof(*f));
	ck_assert_uint_eq(f->source, id_of("a"));
	ck_assert_mem_eq(f->dst, MAC_B, 6);
	ck_assert_mem_eq(f->src, MAC_A, 6);
	ck_assert_uint_eq(f->ether_type, 0x0800);
	ck_assert_uint_eq(f->vlan, vlan);
	ck_assert_uint_eq(f->priority, priority);
	ck_assert(!f->trace);
}

START_TEST(what_was_not_declared_is_not_given)
{
	static const char *const files[] = {"filter_l2", "filter_l3", "filter_l4"};

	three_ports();
	keeper(files[_i]);
	inject("a", udp(MAC_B, MAC_A, 4, 2, 53));
	expect_last("b");
	expect_ethernet(&last_in, 0, 0);
	expect_ethernet(&last_out, 0, 0);
	ck_assert_uint_eq(last_in.destination, EVS_NO_PORT);
	ck_assert_uint_eq(last_out.destination, id_of("b"));
	if (_i < 2)
		expect_no_ports(&last_in);
	if (_i == 0) {
		expect_no_ip(&last_in);
		expect_no_ip(&last_out);
		return;
	}
	ck_assert_uint_eq(last_in.ip_version, 4);
	ck_assert_uint_eq(last_in.ip_proto, IPPROTO_UDP);
	ck_assert_mem_eq(last_in.ip_src, ((uint8_t[]){10, 0, 0, 1}), 4);
	ck_assert_mem_eq(last_out.ip_dst, ((uint8_t[]){10, 0, 0, 2}), 4);
	if (_i == 2) {
		ck_assert(last_out.has_ports);
		ck_assert_uint_eq(last_in.sport, 1000);
		ck_assert_uint_eq(last_out.dport, 53);
	}
}
END_TEST

START_TEST(addresses_of_ipv6_are_whole)
{
	three_ports();
	keeper("filter_l3");
	inject("a", udp(MAC_B, MAC_A, 6, 7, 53));
	expect_last("b");
	ck_assert_uint_eq(last_in.ip_version, 6);
	ck_assert_mem_eq(last_in.ip_dst, ((uint8_t[16]){[0] = 0xfd, [15] = 7}), 16);
}
END_TEST

START_TEST(a_tag_is_seen_by_its_meaning)
{
	three_ports();
	set("vlan", "a", "{'mode': 'trunk', 'allowed': '10', 'native': 1}");
	set("vlan", "b", "{'mode': 'access', 'vlan': 10}");
	inject("b", eth(MAC_ALL, MAC_B));
	expect("a", tagged(MAC_ALL, MAC_B, 10));
	keeper("filter_l4");
	const struct frame *f = udp(MAC_B, MAC_A, 4, 2, 53);

	inject("a", with_tag(f, 0x8100, 5 << 13 | 10));
	expect("b", f);
	expect_ethernet(&last_in, 10, 5);
	expect_ethernet(&last_out, 10, 5);
	ck_assert_uint_eq(last_in.dport, 53);
}
END_TEST

// How often

// 4 addresses × 4 ports of the same two Ethernet addresses, each five times.
static void sixteen_flows(void)
{
	for (int i = 0; i < 80; i++) {
		inject("a", udp(MAC_B, MAC_A, 4, 2 + i % 4, 50 + i / 4 % 4));
		expect_last("b");
	}
}

START_TEST(flows_share_answers_by_what_is_declared)
{
	static const struct {
		const char *file;
		uint32_t calls;
	} cases[] = {{"filter_l2", 1}, {"filter_l3", 4}, {"filter_l4", 16}};

	three_ports();
	struct hooks *h = keeper(cases[_i].file);

	sixteen_flows();
	ck_assert_uint_eq(h->n_in, cases[_i].calls);
	ck_assert_uint_eq(h->n_out, cases[_i].calls);
	ck_assert_uint_eq(counted("x").flows, 2 * cases[_i].calls);
}
END_TEST

START_TEST(answers_are_kept_until_they_are_taken_back)
{
	three_ports();
	struct hooks *h = keeper("filter_l3");

	sixteen_flows();
	ck_assert_uint_eq(h->n_in, 4);
	// What is none of this switch's business, or not of these ports'.
	sw("sw1", "internal");
	port("x", "sw1", NULL);
	set("vlan", "c", "{'mode': 'access', 'vlan': 10}");
	del("port", "x");
	sixteen_flows();
	ck_assert_uint_eq(h->n_in, 4);
	h->host->revoke(h->instance, _i ? id_of("a") : EVS_NO_PORT);
	until_published();
	sixteen_flows();
	ck_assert_uint_eq(h->n_in, 8);
	ck_assert_uint_eq(h->n_out, 8);
}
END_TEST

static void drop(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->verdict = EVS_DROP;
}

START_TEST(what_is_taken_back_is_decided_anew)
{
	three_ports();
	struct hooks *h = keeper("filter_l2");

	for (int i = 0; i < 3; i++) {
		h->flow_in = i % 2 ? drop : keep_in;
		h->host->revoke(h->instance, EVS_NO_PORT);
		until_published();
		inject("a", eth(MAC_B, MAC_A));
		if (i % 2 == 0)
			expect_last("b");
	}
	expect_drops("a", "extension", 1);
}
END_TEST

// Fields that are set

static void set_address(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->sets = EVS_SET_DST | EVS_SET_SRC;
	memcpy(a->dst, MAC_C, 6);
	memcpy(a->src, ((uint8_t[]){2, 0, 0, 0, 0, 0x77}), 6);
}

START_TEST(addresses_that_are_set_are_those_that_count)
{
	const uint8_t new_source[6] = {2, 0, 0, 0, 0, 0x77};

	house_flows(_i);
	three_ports();
	hooks[0].flow_in = set_address;
	hooks[1] = (struct hooks){.flow_in = keep_in, .flow_out = keep_out};
	plug("nat", "filter_l2", &hooks[0], "'rank': 1");
	plug("next", "filter_l2", &hooks[1], "'rank': 2");
	for (int i = 0; i < 3; i++) {
		inject("a", eth(MAC_B, MAC_A));
		expect("c", eth(MAC_C, new_source));
	}
	ck_assert_mem_eq(last_in.dst, MAC_C, 6); // whoever comes behind sees what it will be
	ck_assert_mem_eq(last_in.src, new_source, 6);
	ck_assert_mem_eq(last_out.dst, MAC_C, 6);
	expect_fdb("sw0", 0, new_source, "a");
	expect_fdb("sw0", 0, MAC_A, NULL);
}
END_TEST

static void set_dscp(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->sets = EVS_SET_DSCP;
	a->dscp = 46;
}

static uint32_t sum_of(const uint8_t *from, size_t n)
{
	uint32_t s = 0;

	for (size_t i = 0; i < n; i += 2)
		s += from[i] << 8 | from[i + 1];
	return (s & 0xffff) + (s >> 16);
}

START_TEST(dscp_that_is_set_has_a_right_checksum)
{
	three_ports();
	hooks[0].flow_in = set_dscp;
	plug("marker", "filter_l2", &hooks[0], NULL);
	for (int i = 0; i < 64; i++) {
		struct frame *f = (struct frame *)udp(MAC_B, MAC_A, 4, 2, 1000 + i);

		f->bytes[15] = 3 | i << 2; // ECN stays
		f->bytes[24] = f->bytes[25] = 0;
		uint16_t sum = ~sum_of(f->bytes + 14, 20);

		f->bytes[24] = sum >> 8;
		f->bytes[25] = sum;
		inject("a", f);
		const struct frame *got = ring_take("b");

		ck_assert_ptr_nonnull(got);
		ck_assert_uint_eq(got->bytes[15], 46 << 2 | 3);
		ck_assert_uint_eq(sum_of(got->bytes + 14, 20), 0xffff);
		ck_assert_mem_eq(got->bytes + 26, f->bytes + 26, f->len - 26);
	}
	ck_assert_uint_eq(hooks[0].n_in, 1);
}
END_TEST

START_TEST(dscp_of_ipv6)
{
	three_ports();
	hooks[0].flow_in = set_dscp;
	plug("marker", "filter_l2", &hooks[0], NULL);
	for (int i = 0; i < 3; i++) {
		struct frame *f = (struct frame *)udp(MAC_B, MAC_A, 6, 2, 53);

		f->bytes[14] = 0x6f; // class 0xf7, flow label
		f->bytes[15] = 0x7c;
		inject("a", f);
		const struct frame *got = ring_take("b");

		ck_assert_ptr_nonnull(got);
		ck_assert_uint_eq(got->bytes[14], 0x60 | 46 >> 2);
		ck_assert_uint_eq(got->bytes[15], (46 << 6 & 0xc0) | 0x30 | 0xc);
	}
}
END_TEST

static void set_destination_b(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->sets = EVS_SET_DST;
	memcpy(a->dst, MAC_B, 6);
}

static void see_addresses(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	memcpy(last_in.dst, p[n - 1]->data, 6);
}

// Whoever is given packets sees them as those before it have set them, and as those behind it have not yet.
START_TEST(packet_calls_see_what_was_set_before_them)
{
	house_flows(_i);
	three_ports();
	hooks[0].flow_in = set_address;
	hooks[1] = (struct hooks){.flow_in = ask_packets, .packets_in = see_addresses};
	hooks[2].flow_in = set_destination_b;
	plug("nat", "filter_l2", &hooks[0], "'rank': 1");
	plug("watch", "filter", &hooks[1], "'rank': 2");
	plug("nat2", "filter_l2", &hooks[2], "'rank': 3");
	for (int i = 0; i < 3; i++) {
		inject("a", eth(MAC_ALL, MAC_A));
		ck_assert_mem_eq(last_in.dst, MAC_C, 6);
		expect("b", eth(MAC_B, (uint8_t[]){2, 0, 0, 0, 0, 0x77}));
	}
	plug("watch", "filter", &hooks[1], "'rank': 0");
	for (int i = 0; i < 3; i++) {
		inject("a", eth(MAC_ALL, MAC_A));
		ck_assert_mem_eq(last_in.dst, MAC_ALL, 6);
		expect("b", eth(MAC_B, (uint8_t[]){2, 0, 0, 0, 0, 0x77}));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ext_flow");
	TCase *c = ext_rig_case(s, "flow calls");

	tcase_add_loop_test(c, what_was_not_declared_is_not_given, 0, 3);
	tcase_add_test(c, addresses_of_ipv6_are_whole);
	tcase_add_test(c, a_tag_is_seen_by_its_meaning);
	tcase_add_loop_test(c, flows_share_answers_by_what_is_declared, 0, 3);
	tcase_add_loop_test(c, answers_are_kept_until_they_are_taken_back, 0, 2);
	tcase_add_test(c, what_is_taken_back_is_decided_anew);
	tcase_add_loop_test(c, addresses_that_are_set_are_those_that_count, 0, 2);
	tcase_add_test(c, dscp_that_is_set_has_a_right_checksum);
	tcase_add_test(c, dscp_of_ipv6);
	tcase_add_loop_test(c, packet_calls_see_what_was_set_before_them, 0, 2);
	return ext_rig_run(s);
}
