// Who stands where, and who may do what: captures look on, filters drop, exclude and set fields, in their order.
//
//   a ┐
//   b ├─ sw0      flows: with compiled flows and without
//   c ┘
#include "ext_rig.h"

#include <string.h>

#include "dp/port.h"

static void drop_second_reason(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->verdict = EVS_DROP;
	a->reason = 1;
}

static void drop_for_no_reason(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->verdict = EVS_DROP;
	a->reason = 99;
}

static void begin(bool flows)
{
	house_flows(flows);
	three_ports();
}

START_TEST(captures_filters_forwards_and_back)
{
	begin(_i);
	for (int i = 0; i < 4; i++)
		hooks[i] = (struct hooks){.flow_in = note_in, .flow_out = note_out};
	plug("w", "forward", &hooks[0], NULL);
	plug("f1", "filter", &hooks[1], "'rank': 1");
	plug("f2", "filter_l2", &hooks[2], "'rank': 2");
	plug("c", "capture", &hooks[3], NULL);
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
	expect_notes("c:in f1:in f2:in w:in w:out f2:out f1:out c:out");
	plug("f1", "filter", &hooks[1], "'rank': 3");
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
	expect_notes("c:in f2:in f1:in w:in w:out f1:out f2:out c:out");
	plug("f2", "filter_l2", &hooks[2], "'rank': 3"); // the names decide
	inject("a", eth(MAC_B, MAC_A));
	expect_last("b");
	expect_notes("c:in f1:in f2:in w:in w:out f2:out f1:out c:out");
}
END_TEST

static void note_packets(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)c, (void)n;
	note(h, p[0]->destination != EVS_NO_PORT ? "out" : "in");
}

START_TEST(packet_calls_come_in_the_same_order)
{
	begin(_i);
	for (int i = 0; i < 4; i++)
		hooks[i] = (struct hooks){.flow_in = ask_packets,
					  .flow_out = ask_packets,
					  .packets_in = note_packets,
					  .packets_out = note_packets};
	plug("f2", "filter", &hooks[0], "'rank': 2");
	plug("c", "capture", &hooks[1], NULL);
	plug("f1", "filter", &hooks[2], "'rank': 1");
	plug("w", "forward", &hooks[3], NULL);
	for (int i = 0; i < 3; i++) {
		inject("a", eth(MAC_B, MAC_A));
		expect_last("b");
		expect_notes("c:in f1:in f2:in w:in w:out f2:out f1:out c:out");
	}
}
END_TEST

// What an extension may not answer

static void set_source(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->sets = EVS_SET_SRC;
	memcpy(a->src, MAC_C, 6);
}

static void set_group_source(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->sets = EVS_SET_SRC;
	memcpy(a->src, MAC_ALL, 6);
}

static void set_unknown(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->sets = 64;
}

static void choose_c(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->chosen = true;
	a->n_destinations = 1;
	a->destinations[0] = id_of("c");
}

static void unknown_verdict(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->verdict = 3;
}

static const struct {
	const char *file;
	struct hooks does;
} breaches[] = {
    {"capture", {.flow_in = drop_second_reason}},
    {"capture", {.flow_out = drop_second_reason}},
    {"capture", {.flow_in = set_source}},
    {"capture", {.flow_out = set_source}},
    {"capture", {.flow_in = choose_c}},
    {"capture", {.flow_in = unknown_verdict}},
    {"filter", {.flow_in = choose_c}},
    {"filter", {.flow_in = set_group_source}},
    {"filter", {.flow_in = set_unknown}},
    {"filter", {.flow_out = set_source}},
    {"filter", {.flow_out = choose_c}},
    {"filter", {.flow_out = unknown_verdict}},
    {"filter_l2", {.flow_in = ask_packets}},
    {"filter_l2", {.flow_out = ask_packets}},
    {"forward", {.flow_in = set_group_source}},
    {"forward", {.flow_out = choose_c}},
    {"forward_l2", {.flow_in = ask_packets}},
};
#define N_BREACHES (sizeof(breaches) / sizeof(breaches[0]))

START_TEST(what_a_kind_may_not_answer_is_counted_and_does_nothing)
{
	three_ports();
	hooks[0] = breaches[_i].does;
	plug("x", breaches[_i].file, &hooks[0], NULL);
	for (int i = 0; i < 3; i++) {
		inject("a", eth(MAC_B, MAC_A));
		expect_last("b");
	}
	ck_assert_uint_eq(counted("x").breaches, 1);
	ck_assert_uint_eq(counted("x").drops, 0);
}
END_TEST

static void drop_packets(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)h, (void)c;
	for (uint32_t i = 0; i < n; i++)
		p[i]->verdict = EVS_DROP;
}

static void strange_verdicts(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p,
			     uint32_t n)
{
	(void)h, (void)c;
	for (uint32_t i = 0; i < n; i++)
		p[i]->verdict = 77;
}

START_TEST(packet_verdicts_that_a_kind_may_not_give)
{
	const bool is_capture = _i & 1;

	begin(_i & 2);
	hooks[0] = (struct hooks){.flow_in = ask_packets,
				  .flow_out = ask_packets,
				  .packets_in = is_capture ? drop_packets : strange_verdicts,
				  .packets_out = is_capture ? drop_packets : strange_verdicts};
	plug("x", is_capture ? "capture" : "filter", &hooks[0], NULL);
	inject_many("a", eth(MAC_B, MAC_A), 5);
	for (int i = 0; i < 5; i++)
		expect_last("b");
	ck_assert_uint_eq(counted("x").breaches, 10);
	ck_assert_uint_eq(counted("x").drops, 0);
}
END_TEST

// Dropping and excluding

START_TEST(a_filter_drops_on_the_way_in)
{
	begin(_i);
	hooks[0].flow_in = drop_second_reason;
	plug("fw", "filter", &hooks[0], NULL);
	for (int i = 0; i < 3; i++)
		inject("a", eth(MAC_B, MAC_A));
	expect_drops("a", "extension", 3);
	expect_ext_drops("fw", 1, 3);
	ck_assert_uint_eq(counted("fw").drops, 3);
	ck_assert_uint_eq(hooks[0].n_in, _i ? 1 : 3);
	expect_fdb("sw0", 0, MAC_A, NULL); // what was dropped is not learned
	hooks[0].flow_in = drop_for_no_reason;
	inject("a", eth(MAC_B, MAC_C));
	expect_ext_drops("fw", 0, 1);
}
END_TEST

static void exclude_b(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h;
	a->verdict = f->destination == id_of("b") ? EVS_DROP : EVS_PASS;
}

START_TEST(a_filter_excludes_on_the_way_out)
{
	begin(_i);
	hooks[0].flow_out = exclude_b;
	plug("fw", "filter", &hooks[0], NULL);
	for (int i = 0; i < 3; i++) {
		inject("a", eth(MAC_B, MAC_A));
		inject("a", eth(MAC_ALL, MAC_A));
		expect_last("c");
	}
	expect_drops("a", "extension", 3);
	expect_ext_drops("fw", 0, 6); // and b is passed over in three broadcasts
	expect_fdb("sw0", 0, MAC_A, "a");
}
END_TEST

// A forward extension may exclude on the way out, too; nobody lets in again what another has excluded.
START_TEST(what_is_excluded_stays_excluded)
{
	begin(_i);
	hooks[0].flow_out = exclude_b;
	hooks[1].flow_out = note_out;
	plug("w", "forward", &hooks[0], NULL);
	plug("f", "filter", &hooks[1], NULL);
	inject("a", eth(MAC_B, MAC_A));
	expect_notes("");
	expect_drops("a", "extension", 1);
	inject("a", eth(MAC_C, MAC_A));
	expect_last("c");
	expect_notes("f:out");
}
END_TEST

START_TEST(who_excludes_all_destinations_has_dropped)
{
	begin(_i);
	del("port", "c");
	hooks[0].flow_out = exclude_b;
	plug("fw", "filter", &hooks[0], NULL);
	for (int i = 0; i < 3; i++)
		inject("a", eth(MAC_ALL, MAC_A));
	expect_drops("a", "extension", 3);
	expect_ext_drops("fw", 0, 3);
	ck_assert_uint_eq(hooks[0].n_out, _i ? 1 : 3);
}
END_TEST

static void choose_b_and_d(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->chosen = true;
	a->n_destinations = 2;
	a->destinations[0] = id_of("b");
	a->destinations[1] = id_of("d");
}

START_TEST(what_the_switch_drops_is_no_drop_of_an_extension)
{
	begin(_i);
	port("d", "sw0", "{'mtu': 576}");
	hooks[0].flow_out = exclude_b;
	hooks[1].flow_in = choose_b_and_d;
	plug("fw", "filter", &hooks[0], NULL);
	plug("w", "forward", &hooks[1], NULL);
	inject("a", sized(MAC_ALL, MAC_A, 800));
	expect_drops("a", "mtu-exceeded", 1);
	expect_drops("a", "extension", 0);
	expect_ext_drops("fw", 0, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ext_roles");
	TCase *c = ext_rig_case(s, "roles");

	tcase_add_loop_test(c, captures_filters_forwards_and_back, 0, 2);
	tcase_add_loop_test(c, packet_calls_come_in_the_same_order, 0, 2);
	tcase_add_loop_test(c, what_a_kind_may_not_answer_is_counted_and_does_nothing, 0, N_BREACHES);
	tcase_add_loop_test(c, packet_verdicts_that_a_kind_may_not_give, 0, 4);
	tcase_add_loop_test(c, a_filter_drops_on_the_way_in, 0, 2);
	tcase_add_loop_test(c, a_filter_excludes_on_the_way_out, 0, 2);
	tcase_add_loop_test(c, what_is_excluded_stays_excluded, 0, 2);
	tcase_add_loop_test(c, who_excludes_all_destinations_has_dropped, 0, 2);
	tcase_add_loop_test(c, what_the_switch_drops_is_no_drop_of_an_extension, 0, 2);
	return ext_rig_run(s);
}
