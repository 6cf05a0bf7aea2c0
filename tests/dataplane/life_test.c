// Lives of ports that cross each other: changes that come together, and changes while a driver is being opened.
#include "house.h"

#include <semaphore.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/jobs.h"
#include "ctrl/change.h"
#include "ctrl/engine.h"
#include "ctrl/loop.h"
#include "dp/fdb.h"
#include "dp/port.h"
#include "dp/switch.h"

#define RING(name) "'type': 'guest', 'switch': 'sw0', 'device': 'ring:" name "'"

static void until_open(const char *name)
{
	while (!port_find(name)->open)
		loop_turn();
}

START_TEST(addresses_change_places)
{
	sw("sw0", "external");
	port("a", "sw0", "{'mac': '02:00:00:00:00:0a'}");
	port("b", "sw0", "{'mac': '02:00:00:00:00:0b'}");
	port("c", "sw0", NULL);
	changes("{'port': {'a': {" RING("a") ", 'mac': '02:00:00:00:00:0b'},"
					     " 'b': {" RING("b") ", 'mac': '02:00:00:00:00:0a'}}}",
		NULL);
	expect_fdb("sw0", 0, MAC_A, "b");
	expect_fdb("sw0", 0, MAC_B, "a");
	until_open("a");
	until_open("b");
}
END_TEST

START_TEST(an_address_goes_to_a_successor)
{
	sw("sw0", "external");
	port("a", "sw0", "{'mac': '02:00:00:00:00:0a'}");
	changes("{'port': {'a': null, 'b': {" RING("b") ", 'mac': '02:00:00:00:00:0a'}}}", NULL);
	expect_fdb("sw0", 0, MAC_A, "b");
	changes("{'port': {'b': null}}", "{'port': {'c': {" RING("c") ", 'mac': '02:00:00:00:00:0a'}}}");
	expect_fdb("sw0", 0, MAC_A, "c");
}
END_TEST

#define ENTRY(port) \
	"'sw0/0/02:00:00:00:00:0c': {'switch': 'sw0', 'mac': '02:00:00:00:00:0c', 'port': '" port "'}"

START_TEST(a_static_entry_that_is_replaced_stays)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	changes("{'fdb': {" ENTRY("a") "}}", NULL);
	changes("{'fdb': {'sw0/0/02:00:00:00:00:0c': null}}", "{'fdb': {" ENTRY("a") "}}");
	expect_fdb("sw0", 0, MAC_C, "a");
	changes("{'fdb': {'sw0/0/02:00:00:00:00:0c': null}}", "{'fdb': {" ENTRY("b") "}}");
	expect_fdb("sw0", 0, MAC_C, "b");
}
END_TEST

// As a worker does that has not seen yet that the port has gone to the other switch.
START_TEST(a_switch_does_not_deliver_to_ports_of_another)
{
	sw("sw0", "external");
	sw("sw1", "external");
	port("a", "sw0", NULL);
	port("b", "sw1", NULL);
	fdb_learn(switch_find("sw0")->fdb, fdb_key(MAC_B, 0), port_find("b")->index, 1000);
	inject("a", eth(MAC_B, MAC_A));
	expect_nothing("b");
	expect_drops("a", "no-destination", 1);
}
END_TEST

START_TEST(a_port_that_has_moved_gets_nothing_of_its_old_switch)
{
	sw("sw0", "external");
	sw("sw1", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("c", "sw1", NULL);
	set("port", "b", "{'type': 'guest', 'switch': 'sw1', 'device': 'ring:b'}");
	until_open("b");
	inject("a", eth(MAC_ALL, MAC_A));
	expect_nothing("b");
	inject("c", eth(MAC_ALL, MAC_C));
	expect_last("b");
	del("port", "b");
	inject("a", eth(MAC_ALL, MAC_A));
}
END_TEST

START_TEST(a_port_moves_and_leaves_its_address_behind)
{
	sw("sw0", "external");
	sw("sw1", "external");
	port("a", "sw0", "{'mac': '02:00:00:00:00:0a'}");
	port("b", "sw0", NULL);
	changes("{'port': {'a': {'type': 'guest', 'switch': 'sw1', 'device': 'ring:a', 'mac': "
		"'02:00:00:00:00:0a'},"
		" 'b': {" RING("b") ", 'mac': '02:00:00:00:00:0a'}}}",
		NULL);
	expect_fdb("sw0", 0, MAC_A, "b");
	expect_fdb("sw1", 0, MAC_A, "a");
	changes("{'switch': {'sw0': null}, 'port': {'b': {'type': 'guest', 'switch': 'sw1', 'device': "
		"'ring:b'}}}",
		NULL);
	until_open("a");
	until_open("b");
}
END_TEST

static sem_t jobs_may_go;

static void jobs_wait(void *arg)
{
	(void)arg;
	while (sem_wait(&jobs_may_go) < 0)
		;
}

static void jobs_stop(void)
{
	sem_init(&jobs_may_go, 0, 0);
	job_run("test", jobs_wait, NULL, NULL);
}

static void until_state(const char *name, enum port_state s)
{
	while (port_find(name)->state != s)
		loop_turn();
}

static int nothing(void *arg, struct err *e)
{
	(void)arg;
	(void)e;
	return 0;
}

static void moved(const struct err *e, void *arg)
{
	(void)e;
	*(bool *)arg = true;
}

static void move_turn(void *done)
{
	struct change *ch = change_new_quiet(moved, done);
	struct err e = {0};

	change_put(ch, "port", "a",
		   json_pack("{s:s, s:s, s:s}", "type", "guest", "switch", "sw0", "device", "ring:a2"));
	change_job(ch, nothing, NULL); // behind the opening that is under way
	ck_assert_msg(change_submit(ch, &e) == 0, "%s", e.text);
}

static const char *device_now(const char *name)
{
	return json_string_value(json_object_get(conf_get(NULL, "port", name), "device"));
}

// Its driver could not be opened, and is being opened again.
static void port_being_opened(void)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	ring_refuse(true);
	set("port", "a", "{" RING("a1") "}");
	until_state("a", PORT_FAILED);
	ring_hold(true);
	while (!ring_is_opening())
		loop_turn();
	ring_refuse(false);
}

START_TEST(a_change_while_the_driver_is_being_opened)
{
	bool done = false;

	port_being_opened();
	engine_queue(move_turn, &done);
	while (strcmp(device_now("a"), "ring:a2") != 0)
		loop_turn();
	ring_hold(false);
	while (!done || !engine_is_idle())
		loop_turn();
	until_state("a", PORT_UP);
	port("b", "sw0", NULL);
	inject("a", eth(MAC_ALL, MAC_A));
	expect_last("b");
}
END_TEST

START_TEST(a_removal_while_the_driver_is_being_opened)
{
	port_being_opened();
	del("port", "a");
	ring_hold(false);
}
END_TEST

START_TEST(an_mtu_of_a_port_that_is_removed)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	ring_refuse(true);
	set("port", "a", "{" RING("a1") "}");
	until_state("a", PORT_FAILED);
	jobs_stop();
	set("port", "a", "{" RING("a1") ", 'mtu': 2000}");
	del("port", "a");
	sem_post(&jobs_may_go);
	ring_refuse(false);
	port("b", "sw0", NULL); // and with it all jobs before
}
END_TEST

// vhost-user says up from a thread of its own, as long as the old connection lives.
START_TEST(nothing_is_sent_to_a_driver_that_is_not_open)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	ring_refuse(true);
	set("port", "a", "{" RING("a1") "}");
	until_state("a", PORT_FAILED);
	ring_up("a", true);
	inject("b", eth(MAC_ALL, MAC_B));
	expect_drops("b", "tx-full", 1);
	ring_refuse(false);
	until_open("a");
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
}
END_TEST

START_TEST(a_reason_with_any_bytes_can_be_shown)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port_state_set(port_find("a"), PORT_FAILED, "interface %s", "\xff");
	ck_assert_str_eq(port_find("a")->why, "interface ?");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("life");
	TCase *t = tcase_create("life");

	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, addresses_change_places);
	tcase_add_test(t, an_address_goes_to_a_successor);
	tcase_add_test(t, a_static_entry_that_is_replaced_stays);
	tcase_add_test(t, a_switch_does_not_deliver_to_ports_of_another);
	tcase_add_test(t, a_port_that_has_moved_gets_nothing_of_its_old_switch);
	tcase_add_test(t, a_port_moves_and_leaves_its_address_behind);
	tcase_add_test(t, a_change_while_the_driver_is_being_opened);
	tcase_add_test(t, a_removal_while_the_driver_is_being_opened);
	tcase_add_test(t, an_mtu_of_a_port_that_is_removed);
	tcase_add_test(t, nothing_is_sent_to_a_driver_that_is_not_open);
	tcase_add_test(t, a_reason_with_any_bytes_can_be_shown);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
