// Extensions come, change and go while flows are known; ports tell them of their lives, and may be refused.
#include "ext_rig.h"

#include <stdio.h>
#include <string.h>

#include "dp/port.h"
#include "dp/snap.h"

static void drop(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->verdict = EVS_DROP;
}

static void expect_passes(void)
{
	for (int i = 0; i < 3; i++) {
		inject("a", eth(MAC_B, MAC_A));
		expect_last("b");
	}
}

static uint64_t n_dropped;

static void expect_dropped(void)
{
	for (int i = 0; i < 3; i++)
		inject("a", eth(MAC_B, MAC_A));
	n_dropped += 3;
	expect_drops("a", "extension", n_dropped);
}

static void begin(void)
{
	n_dropped = 0;
	three_ports();
	expect_passes();
}

START_TEST(loaded_disabled_enabled_unloaded)
{
	begin();
	hooks[0].flow_in = drop;
	plug("fw", "filter", &hooks[0], NULL);
	expect_dropped();
	plug("fw", "filter", &hooks[0], "'enabled': false");
	ck_assert_str_eq(ext_state_name(ext_find("fw")), "disabled");
	expect_passes();
	plug("fw", "filter", &hooks[0], NULL);
	ck_assert_uint_eq(hooks[0].n_created, 1); // the same instance all along
	expect_dropped();
	unplug("fw");
	expect_passes();
}
END_TEST

START_TEST(upgraded_and_given_another_configuration)
{
	begin();
	hooks[0].flow_in = drop;
	plug("fw", "filter", &hooks[0], NULL);
	expect_dropped();
	plug("fw", "filter2", &hooks[0], NULL);
	ck_assert_str_eq(hooks[0].version, "2.0");
	ck_assert_str_eq(ext_find("fw")->is.version, "2.0");
	expect_dropped();
	hooks[1].flow_in = NULL;
	plug("fw", "filter2", &hooks[1], NULL); // started anew, as its configuration is another
	expect_passes();
	plug("fw", "filter", &hooks[1], NULL); // and back
	ck_assert_str_eq(hooks[1].version, "1.0");
	expect_passes();
}
END_TEST

static int refuse_upgrade(struct hooks *h, const char *version, struct evs_why *why)
{
	(void)h;
	ck_assert_str_eq(version, "1.0");
	snprintf(why->text, sizeof(why->text), "not from that version");
	return -1;
}

START_TEST(an_upgrade_that_is_refused_leaves_the_old_one)
{
	begin();
	hooks[0].flow_in = drop;
	hooks[0].upgrade = refuse_upgrade;
	plug("fw", "filter", &hooks[0], NULL);
	plug_refused("fw", "filter2", &hooks[0], NULL, "ext fw: does not take over: not from that version");
	ck_assert_str_eq(ext_find("fw")->is.version, "1.0");
	expect_dropped();
	ck_assert_uint_eq(hooks[0].n_created, 2);
}
END_TEST

START_TEST(a_file_that_is_not_there)
{
	begin();
	plug_refused("fw", "nothing", &hooks[0], NULL, "ext fw: ");
	expect_passes();
	ck_assert_ptr_null(ext_find("fw"));
}
END_TEST

// What the switch leaves to extensions: of steps on each side, or of ops, of which these have two each.
static int room(bool asks_packets)
{
	const struct snap_port *sp = snap_now()->ports[port_find("a")->index];

	return asks_packets ? 6 : MAX_STEPS - 8 - (sp->n_in > sp->n_out ? sp->n_in : sp->n_out);
}

START_TEST(there_is_room_for_some)
{
	const char *file = _i ? "filter" : "filter_l2";
	char name[8];

	begin();
	const int n = room(_i);

	ck_assert_int_ge(n, _i ? 6 : 12);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		plug(name, file, &hooks[i], NULL);
	}
	expect_passes();
	for (int i = 0; i < n; i++)
		ck_assert_uint_eq(hooks[i].n_in, 1);
	plug("off", file, &hooks[n], "'enabled': false"); // takes no room
	plug_refused("one", file, &hooks[n + 1], NULL,
		     "the extensions of switch sw0 are more than it has room for; disable one");
	plug_refused("off", file, &hooks[n], NULL, "are more than it has room for; disable one");
	expect_passes();
	unplug("f0");
	plug("off", file, &hooks[n], NULL);
	expect_passes();
	ck_assert_uint_gt(hooks[n].n_in, 0);
}
END_TEST

// Ports

static char steps[2048];
static uint32_t refused_step;

static int keep_step(struct hooks *h, uint32_t step, const struct evs_port *p, struct evs_why *why)
{
	static const char *const names[] = {"",           "create",     "nic",      "connect", "update",
					    "disconnect", "nic-delete", "teardown", "delete"};
	size_t n = strlen(steps);

	ck_assert_uint_eq(p->connected, step == EVS_NIC_CONNECT || (step == EVS_NIC_UPDATED && p->connected));
	snprintf(steps + n, sizeof(steps) - n, "%s%s.%s.%s", n > 0 ? " " : "", h->name, p->name, names[step]);
	if (step != refused_step)
		return 0;
	snprintf(why->text, sizeof(why->text), "this one has enough of them");
	return -1;
}

static void expect_steps_now(const char *words)
{
	port("sync", "sw1", NULL); // and with it all jobs before
	del("port", "sync");
	ck_assert_str_eq(steps, words);
	steps[0] = '\0';
}

static void expect_steps(const char *words)
{
	house_settle();
	expect_steps_now(words);
}

static void begin_steps(void)
{
	steps[0] = '\0';
	refused_step = 0;
	sw("sw0", "external");
	sw("sw1", "internal");
	hooks[0].port = hooks[1].port = hooks[2].port = keep_step;
}

START_TEST(a_ports_life_in_order)
{
	begin_steps();
	plug("x", "sender", &hooks[0], NULL);
	port("p", "sw0", NULL);
	expect_steps("x.p.create x.p.nic x.p.connect");
	set("port", "p", "{'type': 'guest', 'switch': 'sw0', 'device': 'ring:p', 'mtu': 2000}");
	expect_steps("x.p.update");
	port_state_set(port_find("p"), PORT_WAITING, "unplugged");
	expect_steps_now("x.p.disconnect");
	port_state_set(port_find("p"), PORT_UP, NULL);
	expect_steps("x.p.connect");
	del("port", "p");
	expect_steps("x.p.disconnect x.p.nic-delete x.p.teardown x.p.delete");
}
END_TEST

START_TEST(who_comes_later_hears_of_those_that_are_there)
{
	begin_steps();
	port("p", "sw0", NULL);
	house_settle();
	plug("x", "sender", &hooks[0], NULL);
	expect_steps("x.p.create x.p.nic x.p.connect");
	plug("x", "sender", &hooks[0], "'enabled': false"); // it hears all the same
	del("port", "p");
	expect_steps("x.p.disconnect x.p.nic-delete x.p.teardown x.p.delete");
}
END_TEST

START_TEST(a_port_that_one_refuses_is_not_made)
{
	begin_steps();
	plug("x", "sender", &hooks[0], NULL);
	plug("y", "sender", &hooks[1], NULL);
	refused_step = _i ? EVS_NIC_CREATE : EVS_PORT_CREATE;
	hooks[0].port = NULL;
	plug("z", "sender", &hooks[2], NULL);
	hooks[2].port = NULL;
	refused("port", "p", "{'type': 'guest', 'switch': 'sw0', 'device': 'ring:p'}",
		"ext y: refuses the port: this one has enough of them");
	expect_steps(_i ? "y.p.create y.p.nic y.p.teardown y.p.delete" : "y.p.create");
	refused_step = 0;
	port("p", "sw0", NULL);
	expect_steps("y.p.create y.p.nic y.p.connect");
}
END_TEST

static int keep_all(struct hooks *h, uint32_t step, const struct evs_port *p, struct evs_why *why)
{
	uint32_t was = refused_step;

	refused_step = 0;
	int ret = keep_step(h, step, p, why);

	refused_step = was;
	return ret;
}

START_TEST(others_hear_the_end_of_what_they_took)
{
	begin_steps();
	hooks[0].port = keep_all;
	plug("x", "sender", &hooks[0], NULL);
	plug("y", "sender", &hooks[1], NULL);
	refused_step = EVS_PORT_CREATE;
	refused("port", "p", "{'type': 'guest', 'switch': 'sw0', 'device': 'ring:p'}", "ext y: ");
	expect_steps("x.p.create x.p.nic y.p.create x.p.nic-delete x.p.teardown x.p.delete");
}
END_TEST

START_TEST(who_refuses_a_port_that_is_there_is_not_loaded)
{
	begin_steps();
	port("p", "sw0", NULL);
	house_settle();
	refused_step = EVS_PORT_CREATE;
	plug_refused("x", "sender", &hooks[0], NULL, "ext x: refuses the port: this one has enough of them");
	ck_assert_uint_eq(hooks[0].n_destroyed, 1);
}
END_TEST

START_TEST(a_port_that_moves_to_another_switch)
{
	begin_steps();
	plug("x", "sender", &hooks[0], NULL);
	port("p", "sw0", NULL);
	expect_steps("x.p.create x.p.nic x.p.connect");
	set("port", "p", "{'type': 'guest', 'switch': 'sw1', 'device': 'ring:p'}");
	expect_steps("x.p.disconnect x.p.nic-delete x.p.teardown x.p.delete");
	set("port", "p", "{'type': 'guest', 'switch': 'sw0', 'device': 'ring:p'}");
	expect_steps("x.p.create x.p.nic x.p.connect");
}
END_TEST

static uint32_t ids[64], n_ids;

static int keep_id(struct hooks *h, uint32_t step, const struct evs_port *p, struct evs_why *why)
{
	(void)h, (void)why;
	if (step == EVS_PORT_CREATE && n_ids < 64)
		ids[n_ids++] = p->id;
	return 0;
}

START_TEST(numbers_are_never_given_again)
{
	begin_steps();
	n_ids = 0;
	hooks[0].port = keep_id;
	plug("x", "sender", &hooks[0], NULL);
	for (int i = 0; i < 20; i++) {
		port("p", "sw0", NULL);
		ck_assert_uint_eq(ids[n_ids - 1], id_of("p"));
		del("port", "p");
	}
	ck_assert_uint_eq(n_ids, 20);
	for (uint32_t i = 0; i < n_ids; i++) {
		ck_assert_uint_ne(ids[i], EVS_NO_PORT);
		for (uint32_t k = 0; k < i; k++)
			ck_assert_uint_ne(ids[i], ids[k]);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ext_life");
	TCase *c = ext_rig_case(s, "life");

	tcase_add_test(c, loaded_disabled_enabled_unloaded);
	tcase_add_test(c, upgraded_and_given_another_configuration);
	tcase_add_test(c, an_upgrade_that_is_refused_leaves_the_old_one);
	tcase_add_test(c, a_file_that_is_not_there);
	tcase_add_loop_test(c, there_is_room_for_some, 0, 2);
	tcase_add_test(c, a_ports_life_in_order);
	tcase_add_test(c, who_comes_later_hears_of_those_that_are_there);
	tcase_add_loop_test(c, a_port_that_one_refuses_is_not_made, 0, 2);
	tcase_add_test(c, others_hear_the_end_of_what_they_took);
	tcase_add_test(c, who_refuses_a_port_that_is_there_is_not_loaded);
	tcase_add_test(c, a_port_that_moves_to_another_switch);
	tcase_add_test(c, numbers_are_never_given_again);
	return ext_rig_run(s);
}
