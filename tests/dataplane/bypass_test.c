// Bypasses: a device past the switch is offered while it does all that the port's steps do, and withdrawn else.
//
// The device is a stand-in that writes down what it is told. The feature that puts a meter into the walk of ports whose VM
// is called "metered" takes its place in this program's table of features, and knows nothing of bypasses.
#include "house.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "ctrl/api/err.h"
#include "dp/port.h"
#include "dp/port_steps.h"
#include "dp/snap.h"
#include "dp/vlan.h"

static struct { // writer: jobs thread
	_Atomic int n_told;
	bool offered;
	struct bypass_policy policy;
	_Atomic int n_refusals; // of the next orders
} told;

static bool stand_in_claims(const char *device)
{
	return strcmp(device, "stand-in") == 0;
}

static bool stand_in_honours(const struct port *p, const struct step *s)
{
	(void)p;
	return strcmp(s->name, "meter") != 0;
}

static int stand_in_set(const char *device, const struct bypass_policy *policy, struct err *e)
{
	int rc = told.n_refusals > 0 ? err_set(e, -EIO, "%s does not answer", device) : 0;

	told.n_refusals -= rc != 0;

	told.offered = policy != NULL;
	if (policy != NULL)
		told.policy = *policy;
	told.n_told++;
	return rc;
}

static const struct bypass_driver stand_in = {"test", stand_in_claims, stand_in_honours, stand_in_set};

static enum drop pass(struct walk *k, struct pkt *p, const void *arg)
{
	(void)k, (void)p, (void)arg;
	return DROP_NONE;
}

static int build(const struct port *p, struct snap_port *sp, struct err *e)
{
	(void)e;
	if (strcmp(p->conf.vm, "metered") == 0)
		snap_step_in(sp, STAGE_POLICY_IN, STEP_READS_L2, "meter", pass, NULL);
	return 0;
}

static const struct snap_feature meter = {"meter", build};
const struct snap_feature *const snap_features[] = {&port_feature, &vlan_feature, &meter, NULL};

static void expect_state(const char *port, const char *state, const char *why)
{
	struct timespec tick = {.tv_nsec = 1000000};
	json_t *now = NULL;

	for (int i = 0; i < 5000; i++) {
		json_decref(now);
		now = bypass_show(port_find(port));
		ck_assert_ptr_nonnull(now);
		if (strcmp(json_string_value(json_object_get(now, "state")), state) == 0)
			break;
		house_turn();
		nanosleep(&tick, NULL);
	}
	ck_assert_str_eq(json_string_value(json_object_get(now, "state")), state);
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(now, "why")), why));
	json_decref(now);
}

static void expect_told(int n)
{
	struct timespec tick = {.tv_nsec = 1000000};

	for (int i = 0; i < 5000 && told.n_told < n; i++) {
		house_turn();
		nanosleep(&tick, NULL);
	}
	ck_assert_int_eq(told.n_told, n);
}

static void begin(void)
{
	bypass_driver_register(&stand_in);
	told.n_told = 0;
	told.n_refusals = 0;
	sw("sw0", "internal");
	port("a", "sw0", "{'bypass': 'stand-in'}");
	expect_state("a", "offered", "");
}

START_TEST(a_policy_withdraws_it_and_its_end_offers_it_again)
{
	begin();
	port("a", "sw0", "{'bypass': 'stand-in', 'vm': 'metered'}");
	expect_state("a", "withdrawn", "'meter'");
	ck_assert(!told.offered);
	port("a", "sw0", "{'bypass': 'stand-in'}");
	expect_state("a", "offered", "");
	ck_assert(told.offered);
	ck_assert_int_eq(told.n_told, 3);
}
END_TEST

START_TEST(it_is_told_what_it_does_instead_of_the_walk)
{
	begin();
	ck_assert(!told.policy.has_mac);
	port("a", "sw0", "{'bypass': 'stand-in', 'mac': '02:00:00:00:00:0a'}");
	expect_told(2);
	ck_assert(told.policy.has_mac && told.policy.mac[5] == 0x0a);
	set("vlan", "a", "{'mode': 'access', 'vlan': 7}");
	expect_told(3);
	ck_assert_int_eq(told.policy.vid, 7);
	ck_assert(told.offered);
}
END_TEST

START_TEST(what_concerns_others_is_not_told)
{
	begin();
	port("b", "sw0", NULL);
	port("b", "sw0", "{'vm': 'metered'}");
	port("a", "sw0", "{'bypass': 'stand-in', 'mtu': 1400}");
	expect_state("a", "offered", "");
	// Orders are carried out in turn: one too many would have come before this one.
	port("a", "sw0", "{'bypass': 'stand-in', 'mtu': 1400, 'mac': '02:00:00:00:00:0a'}");
	expect_told(2);
	ck_assert(told.policy.has_mac);
	house_settle(); // the port opens anew
}
END_TEST

START_TEST(a_device_that_fails_is_named_and_tried_again)
{
	begin();
	told.n_refusals = 1;
	port("a", "sw0", "{'bypass': 'stand-in', 'vm': 'metered'}");
	expect_state("a", "failed", "cannot be withdrawn: stand-in does not answer");
	expect_state("a", "withdrawn", "'meter'");
}
END_TEST

START_TEST(a_failure_at_the_end_of_its_port_is_not_its_successors)
{
	begin();
	told.n_refusals = 1;
	changes("{'port': {'a': null}}",
		"{'port': {'a': {'switch': 'sw0', 'type': 'guest', 'device': 'ring:a', "
		"'bypass': 'stand-in'}}}");
	expect_state("a", "offered", "");
	ck_assert_int_eq(told.n_told, 3);
}
END_TEST

START_TEST(a_port_that_waits_for_its_state_has_none)
{
	begin();
	port("w", "sw0", "{'bypass': 'stand-in', 'await-state': 600}");
	expect_state("w", "withdrawn", "waits for its state");
	port("w", "sw0", "{'bypass': 'stand-in'}");
	expect_state("w", "offered", "");
}
END_TEST

START_TEST(it_is_withdrawn_when_its_key_or_its_port_goes)
{
	begin();
	port("a", "sw0", NULL);
	expect_told(2);
	ck_assert(!told.offered);
	ck_assert_ptr_null(bypass_show(port_find("a")));
	port("a", "sw0", "{'bypass': 'stand-in'}");
	expect_state("a", "offered", "");
	del("port", "a");
	expect_told(4);
	ck_assert(!told.offered);
}
END_TEST

START_TEST(unknown_devices_are_refused)
{
	begin();
	refused("port", "b", "{'switch': 'sw0', 'type': 'guest', 'device': 'ring', 'bypass': 'nonsense'}",
		"INTERFACE/NUMBER");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bypass");
	TCase *t = tcase_create("bypass");

	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, a_policy_withdraws_it_and_its_end_offers_it_again);
	tcase_add_test(t, it_is_told_what_it_does_instead_of_the_walk);
	tcase_add_test(t, what_concerns_others_is_not_told);
	tcase_add_test(t, a_device_that_fails_is_named_and_tried_again);
	tcase_add_test(t, a_failure_at_the_end_of_its_port_is_not_its_successors);
	tcase_add_test(t, a_port_that_waits_for_its_state_has_none);
	tcase_add_test(t, it_is_withdrawn_when_its_key_or_its_port_goes);
	tcase_add_test(t, unknown_devices_are_refused);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
