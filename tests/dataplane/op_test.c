// Ops: what is asked for each packet, also of a compiled flow, whose state lives outside the flow.
//
//   a ── sw0 ── b, c        a's op drops each third packet, b's each second
//
// The table of features of this program takes the place of the daemon's.
#include "house.h"

#include <stddef.h>
#include <string.h>

#include "dp/port.h"
#include "dp/port_steps.h"
#include "dp/snap.h"
#include "dp/vlan.h"
#include "dp/walk.h"

static struct counter {
	uint32_t n, every;
} from_a = {.every = 3}, to_b = {.every = 2};

static void take_each(struct worker *w, struct pkt *pkts, uint8_t *drops, uint16_t n,
		      const struct snap_port *dst, void *state)
{
	struct counter *c = state;

	(void)w, (void)pkts, (void)dst;
	for (uint16_t i = 0; i < n; i++)
		if (drops[i] == DROP_NONE && ++c->n % c->every == 0)
			drops[i] = DROP_MAC_SPOOFING;
}

static enum drop ask_in(struct walk *k, struct pkt *p, const void *arg)
{
	(void)p;
	k->plan.ops |= *(const uint16_t *)arg;
	return DROP_NONE;
}

static enum drop ask_out(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
			 const void *arg)
{
	(void)k, (void)p, (void)dst;
	d->ops |= *(const uint16_t *)arg;
	return DROP_NONE;
}

static int build(const struct port *p, struct snap_port *sp, struct err *e)
{
	static uint16_t bit_a, bit_b;

	(void)e;
	if (strcmp(p->conf.name, "a") == 0) {
		bit_a = snap_op(sp, take_each, &from_a);
		snap_step_in(sp, STAGE_FILTER_IN, STEP_READS_L2, "meter", ask_in, &bit_a);
	}
	if (strcmp(p->conf.name, "b") == 0) {
		bit_b = snap_op(sp, take_each, &to_b);
		snap_step_out(sp, STAGE_FILTER_OUT, STEP_READS_L2, "policer", ask_out, &bit_b);
	}
	return 0;
}

static const struct snap_feature ops = {"ops", build};
const struct snap_feature *const snap_features[] = {&port_feature, &vlan_feature, &ops, NULL};

static void begin(bool flows)
{
	house_flows(flows);
	sw("sw0", "internal");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("c", "sw0", NULL);
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("c");
	from_a.n = to_b.n = 0;
}

// 1 … 12: a's op drops 3, 6, 9, 12; of the eight others b's drops each second.
START_TEST(each_packet_of_a_flow_is_asked)
{
	begin(_i);
	for (int i = 1; i <= 12; i++)
		inject("a", eth(MAC_B, MAC_A));
	ck_assert_uint_eq(from_a.n, 12);
	ck_assert_uint_eq(to_b.n, 8);
	for (int i = 0; i < 4; i++)
		expect_last("b");
	expect_nothing("b");
	expect_drops("a", "mac-spoofing", 8);
}
END_TEST

START_TEST(packets_of_one_burst_are_asked_one_by_one)
{
	begin(_i);
	inject_many("a", eth(MAC_B, MAC_A), 30);
	ck_assert_uint_eq(from_a.n, 30);
	ck_assert_uint_eq(to_b.n, 20);
	for (int i = 0; i < 10; i++)
		expect_last("b");
	expect_nothing("b");
}
END_TEST

START_TEST(of_several_copies_one_is_taken)
{
	begin(_i);
	for (int i = 1; i <= 6; i++)
		inject("a", eth(MAC_ALL, MAC_A));
	for (int i = 0; i < 4; i++)
		expect_last("c");
	for (int i = 0; i < 2; i++)
		expect_last("b");
	expect_nothing("b");
	expect_drops("a", "mac-spoofing", 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("op");
	TCase *c = tcase_create("op");

	tcase_add_checked_fixture(c, house_setup, house_teardown);
	tcase_add_loop_test(c, each_packet_of_a_flow_is_asked, 0, 2);
	tcase_add_loop_test(c, packets_of_one_burst_are_asked_one_by_one, 0, 2);
	tcase_add_loop_test(c, of_several_copies_one_is_taken, 0, 2);
	suite_add_tcase(s, c);
	return house_run(s, 0);
}
