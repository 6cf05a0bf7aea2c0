// A trace tells the truth: its outcome is what happens when the same frame really comes, and it changes nothing.
#include "house.h"

#include <stdlib.h>
#include <string.h>

#include "dp/parse.h"
#include "dp/port.h"
#include "dp/snap.h"
#include "dp/walk.h"

#define N_FRAMES 4000

static const char *const names[] = {"a", "b", "c", "t", "u"};
#define N_NAMES 5

static struct trace trace;
static struct walk walk;

static enum drop traced(const char *from, const struct frame *f)
{
	static struct pkt p;
	static uint8_t bytes[PKT_HEADROOM + FRAME_BYTES];
	struct port *in = port_find(from);

	memset(&trace, 0, sizeof(trace));
	memset(&p, 0, sizeof(p));
	memcpy(bytes + PKT_HEADROOM, f->bytes, f->len);
	p.data = bytes + PKT_HEADROOM;
	p.len = p.head_len = f->len;
	p.src = in->index;
	walk = (struct walk){.snap = snap_now(), .trace = &trace};
	walk.in = walk.snap->ports[in->index];
	walk.sw = walk.snap->switches[in->switch_index];
	enum drop drop = parse(&p);

	if (drop == DROP_NONE) {
		walk_packet(&walk, &p, 0);
		drop = walk.plan.drop;
	}
	return drop;
}

static bool goes_to(const char *name)
{
	uint16_t index = port_find(name)->index;

	for (uint32_t i = 0; i < trace.n; i++)
		if (trace.notes[i].stage == STAGE_TRANSMIT && trace.notes[i].port == index &&
		    trace.notes[i].drop == DROP_NONE)
			return true;
	return false;
}

static uint64_t dropped_for(const char *name, enum drop reason)
{
	struct port_counters n;

	port_counters_sum(port_find(name), &n);
	return n.dropped[reason];
}

static uint64_t everything(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < N_NAMES; i++) {
		struct port_counters n;

		port_counters_sum(port_find(names[i]), &n);
		for (size_t k = 0; k < sizeof(n) / sizeof(uint64_t); k++)
			sum += ((uint64_t *)&n)[k];
	}
	return sum;
}

static const struct frame *some_frame(void)
{
	uint8_t dst[6] = {2, 0, 0, 0, 0, rand() % 6}, src[6] = {2, 0, 0, 0, 0, rand() % 6};
	const struct frame *f = sized(rand() % 5 ? dst : MAC_ALL, src, 14 + rand() % 1700);

	if (rand() % 2)
		f = with_tag(f, rand() % 8 ? 0x8100 : 0x88a8, rand() % 4 * 10);
	if (rand() % 8 == 0)
		f = with_tag(f, 0x8100, rand() % 4 * 10);
	return f;
}

START_TEST(traces_match_what_happens)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", "{'mac': '02:00:00:00:00:05'}");
	port("c", "sw0", NULL);
	port("t", "sw0", "{'mtu': 1600}");
	port("u", "sw0", "{'type': 'uplink', 'mtu': 1700}");
	set("vlan", "c", "{'mode': 'access', 'vlan': 10}");
	set("vlan", "t", "{'mode': 'trunk', 'allowed': '10-20', 'native': 20}");
	srand(1);
	for (int i = 0; i < N_FRAMES; i++) {
		const char *from = names[rand() % N_NAMES];
		const struct frame *f = some_frame();
		uint64_t before = everything();
		enum drop drop = traced(from, f);

		ck_assert_uint_eq(everything(), before);
		uint64_t had = dropped_for(from, drop);

		inject(from, f);
		if (drop != DROP_NONE)
			ck_assert_msg(dropped_for(from, drop) == had + 1, "frame %d: the trace says %s", i,
				      drop_name(drop));
		for (int k = 0; k < N_NAMES; k++)
			ck_assert_msg((ring_take(names[k]) != NULL) ==
					  (drop == DROP_NONE && goes_to(names[k])),
				      "frame %d from %s: the trace is wrong about %s", i, from, names[k]);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace");
	TCase *t = tcase_create("trace");

	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, traces_match_what_happens);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
