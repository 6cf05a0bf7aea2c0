// Workers with nothing to do sleep, and miss nothing: frames, new ports, replaced descriptors, moved queues.
//
//   ring ports with a bell (rings only while armed) ── two workers ── ring ports
//   packet socket ── evs-s0 (tap) ────────────────────────┘            in a namespace of the test's own
#include "house.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "ctrl/api/err.h"
#include "ctrl/api/timer.h"
#include "ctrl/link.h"
#include "ctrl/loop.h"
#include "dp/worker.h"
#include "ring_port.h"

#define N_WORKERS   2
#define DEADLINE_NS 30000000000ull
#define TAP         "evs-s0"

#define wait_for(condition)                                                                      \
	do {                                                                                     \
		uint64_t deadline_ = time_ns() + DEADLINE_NS;                                    \
		while (!(condition)) {                                                           \
			if (time_ns() > deadline_) /* an assertion is a system call each time */ \
				ck_abort_msg("waited in vain for %s", #condition);               \
			loop_turn();                                                             \
		}                                                                                \
	} while (0)

static bool sleeps(uint16_t index)
{
	const struct worker *w = worker_at(index);

	return atomic_load(&w->resting) && __atomic_load_n(&w->hot, __ATOMIC_RELAXED) == NULL &&
	       __atomic_load_n(&w->n_awaited, __ATOMIC_RELAXED) == 0;
}

static void wait_until_all_sleep(void)
{
	wait_for(sleeps(0) && sleeps(1));
}

static void busy_wait_ns(uint64_t ns)
{
	uint64_t end = time_ns() + ns;

	while (time_ns() < end)
		;
}

// Delivered without the control loop's help.
static void passes(const char *from, const char *to, const struct frame *f)
{
	uint64_t deadline = time_ns() + DEADLINE_NS;

	ring_queue(from, f);
	while (ring_delivered(to) == 0) {
		sched_yield();
		if (time_ns() > deadline)
			ck_abort_msg("a frame from %s does not arrive at %s", from, to);
	}
	expect(to, f);
}

static void configure(void)
{
	ring_bells(true);
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", "{'mac': '02:00:00:00:00:0b'}");
}

START_TEST(silent_worker_sleeps_and_a_frame_wakes_it)
{
	configure();
	for (int i = 0; i < 20; i++) {
		wait_until_all_sleep();
		passes("a", "b", eth(MAC_B, MAC_A));
		passes("b", "a", eth(MAC_A, MAC_B));
	}
}
END_TEST

// Gaps lie around the time after which a queue falls asleep, so that frames meet every step of it.
START_TEST(no_frame_is_missed_at_any_step_of_falling_asleep)
{
	unsigned seed = 1;

	configure();
	passes("a", "b", eth(MAC_B, MAC_A));
	for (int i = 0; i < 1000; i++) {
		passes("a", "b", eth(MAC_B, MAC_A));
		busy_wait_ns(190000 + rand_r(&seed) % 25000);
	}
}
END_TEST

START_TEST(frame_that_is_too_early_for_the_bell_is_found)
{
	uint64_t deadline = time_ns() + DEADLINE_NS;

	configure();
	wait_until_all_sleep();
	ring_late("a", eth(MAC_B, MAC_A));
	passes("a", "b", eth(MAC_B, MAC_A));
	while (ring_delivered("b") == 0)
		if (time_ns() > deadline)
			ck_abort_msg("the late frame was not found");
	expect("b", eth(MAC_B, MAC_A));
}
END_TEST

// Without being woken it would see each of them only when its longest rest is over.
START_TEST(new_ports_of_a_sleeping_worker_work_at_once)
{
	configure();
	for (int i = 0; i < 60; i++) {
		wait_until_all_sleep();
		port("c", "sw0", "{'mac': '02:00:00:00:00:0c'}");
		passes("c", "b", eth(MAC_B, MAC_C));
		del("port", "c");
	}
}
END_TEST

static bool was_woken(const struct worker *w)
{
	eventfd_t n;

	return eventfd_read(w->wake, &n) == 0; // workers take its edge and leave its count
}

// Seen by the bell itself, not by the time it takes. A rest that ends by itself in that very moment needs no bell, so
// there are a few tries.
START_TEST(a_publication_wakes_workers_that_rest)
{
	bool woken = false;

	configure();
	for (int i = 0; i < 10 && !woken; i++) {
		wait_until_all_sleep();
		was_woken(worker_at(0)); // of former publications
		set("vlan", "b", i % 2 ? "{'mode': 'untagged'}" : "{'mode': 'access', 'vlan': 10}");
		woken = was_woken(worker_at(0));
	}
	ck_assert_msg(woken, "ten publications woke nobody");
}
END_TEST

START_TEST(silent_queue_is_heard_while_others_are_busy)
{
	const struct worker *w;

	configure();
	port("c", "sw0", NULL); // on the same worker as a
	w = worker_at(port_find("a")->rxqs[0].owner);
	ck_assert_uint_eq(port_find("c")->rxqs[0].owner, w->index);
	wait_until_all_sleep();
	while (__atomic_load_n(&w->n_asleep, __ATOMIC_RELAXED) == 0 || sleeps(w->index))
		passes("a", "b", eth(MAC_B, MAC_A));
	ring_queue("c", eth(MAC_B, MAC_C));
	for (int i = 0; ring_delivered("b") == 0; i++) {
		if (i == 1000000)
			ck_abort_msg("a silent queue is not heard");
		ring_queue("a", cut(eth(MAC_B, MAC_A), 10)); // runts keep the worker busy
		busy_wait_ns(1000);
	}
	expect("b", eth(MAC_B, MAC_C));
}
END_TEST

START_TEST(sleeping_queue_moves_there_and_back_and_is_still_heard)
{
	configure();
	for (int i = 0; i < 20; i++) {
		int to = !port_find("a")->rxqs[0].owner;
		char text[64];

		snprintf(text, sizeof(text), "{'port': 'a', 'worker': %d}", to);
		wait_until_all_sleep();
		set("queue", "a.0", text);
		wait_for(port_find("a")->rxqs[0].owner == to);
		if (i % 3 != 0) // else it moves on while it sleeps
			passes("a", "b", eth(MAC_B, MAC_A));
	}
	passes("a", "b", eth(MAC_B, MAC_A));
}
END_TEST

START_TEST(driver_that_was_opened_again_is_heard)
{
	configure();
	for (int i = 0; i < 20; i++) {
		wait_until_all_sleep();
		changes(i % 2 ? "{'port': {'a': {'switch': 'sw0', 'type': 'guest', 'device': 'ring:a'}}}"
			      : "{'port': {'a': {'switch': 'sw0', 'type': 'guest', 'device': 'ring:a2'}}}",
			"{}");
		house_settle();
		passes("a", "b", eth(MAC_B, MAC_A));
	}
}
END_TEST

static _Atomic uint32_t credit, n_asked;

static uint16_t some_credit(struct worker *w, struct rxq *q, uint16_t n)
{
	uint32_t has = atomic_load(&credit);

	(void)w, (void)q;
	atomic_fetch_add(&n_asked, 1);
	n = n < has ? n : has;
	atomic_fetch_sub(&credit, n);
	return n;
}

START_TEST(queue_gives_what_its_credit_allows_and_does_not_sleep_on_the_rest)
{
	configure();
	wait_until_all_sleep();
	atomic_store(&credit, 0);
	port_find("a")->rxqs[0].credit = some_credit;
	for (int i = 0; i < 5; i++)
		ring_queue("a", eth(MAC_B, MAC_A));
	uint32_t before = atomic_load(&n_asked);

	wait_for(atomic_load(&n_asked) > before + 1000);
	expect_nothing("b");
	atomic_store(&credit, 3);
	wait_for(ring_delivered("b") == 3);
	before = atomic_load(&n_asked);
	wait_for(atomic_load(&n_asked) > before + 1000);
	ck_assert_uint_eq(ring_delivered("b"), 3);
	port_find("a")->rxqs[0].credit = NULL;
	wait_for(ring_delivered("b") == 5);
	for (int i = 0; i < 5; i++)
		expect("b", eth(MAC_B, MAC_A));
}
END_TEST

// The interface's own chatter (neighbour discovery) goes to b, too.
static void expect_from_tap(const struct frame *f)
{
	uint64_t deadline = time_ns() + DEADLINE_NS;
	const struct frame *got;

	do {
		if (time_ns() > deadline)
			ck_abort_msg("a frame from the interface does not arrive");
		got = ring_take("b");
	} while (got == NULL || got->len != f->len || memcmp(got->bytes, f->bytes, f->len) != 0);
}

static void tap_send(const struct frame *f)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(TAP), .sll_halen = 6};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	ck_assert(sendto(fd, f->bytes, f->len, 0, (struct sockaddr *)&at, sizeof(at)) == (ssize_t)f->len);
	close(fd);
}

START_TEST(interface_made_again_while_its_worker_sleeps_is_heard)
{
	const struct port *t;

	struct err e = {0};

	ck_assert_int_eq(link_init(&e), 0);
	configure();
	set("port", "t", "{'switch': 'sw0', 'type': 'host', 'ifname': '" TAP "'}");
	wait_for(port_find("t")->state == PORT_UP);
	t = port_find("t");
	for (int i = 0; i < 3; i++) {
		unsigned before = if_nametoindex(TAP);

		wait_until_all_sleep();
		tap_send(eth(MAC_B, MAC_C));
		expect_from_tap(eth(MAC_B, MAC_C));
		ck_assert_int_eq(system("ip link del " TAP), 0);
		wait_for(if_nametoindex(TAP) != 0 && if_nametoindex(TAP) != before && t->state == PORT_UP);
	}
	wait_until_all_sleep();
	tap_send(eth(MAC_B, MAC_C));
	expect_from_tap(eth(MAC_B, MAC_C));
	del("port", "t");
	link_fini();
	while (ring_take("a") != NULL || ring_take("b") != NULL)
		;
}
END_TEST

static bool can_make_interfaces(void)
{
	return geteuid() == 0 && access("/dev/net/tun", W_OK) == 0 && unshare(CLONE_NEWNET) == 0;
}

int main(void)
{
	Suite *s = suite_create("sleep");
	TCase *t = tcase_create("sleep");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, silent_worker_sleeps_and_a_frame_wakes_it);
	tcase_add_test(t, no_frame_is_missed_at_any_step_of_falling_asleep);
	tcase_add_test(t, frame_that_is_too_early_for_the_bell_is_found);
	tcase_add_test(t, new_ports_of_a_sleeping_worker_work_at_once);
	tcase_add_test(t, a_publication_wakes_workers_that_rest);
	tcase_add_test(t, silent_queue_is_heard_while_others_are_busy);
	tcase_add_test(t, sleeping_queue_moves_there_and_back_and_is_still_heard);
	tcase_add_test(t, driver_that_was_opened_again_is_heard);
	tcase_add_test(t, queue_gives_what_its_credit_allows_and_does_not_sleep_on_the_rest);
	if (can_make_interfaces())
		tcase_add_test(t, interface_made_again_while_its_worker_sleeps_is_heard);
	else
		printf(
		    "sleep_test: the interface's part is SKIPPED: needs root, namespaces and /dev/net/tun\n");
	suite_add_tcase(s, t);
	return house_run(s, N_WORKERS);
}
