// The link watcher, on interfaces in a network namespace of the test's own.
#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctrl/api/err.h"
#include "ctrl/api/link.h"
#include "ctrl/link.h"
#include "ctrl/loop.h"

#define DEADLINE_NS 10000000000ull

#define wait_for(condition)                                                                        \
	do {                                                                                       \
		uint64_t deadline_ = time_ns() + DEADLINE_NS;                                      \
		while (!(condition)) {                                                             \
			ck_assert_msg(time_ns() < deadline_, "waited in vain for %s", #condition); \
			loop_turn();                                                               \
		}                                                                                  \
	} while (0)

static void sh(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

static void tick(void *arg)
{
	(void)arg;
}

static struct link_info seen;
static unsigned n_seen;

static void link_seen(const struct link_info *info, void *arg)
{
	(void)arg;
	seen = *info;
	n_seen++;
}

START_TEST(a_watch_tells_every_change)
{
	struct link_watch *lw = link_watch_start("va", link_seen, NULL);

	n_seen = 0;
	wait_for(n_seen == 1);
	ck_assert_int_eq(seen.ifindex, 0);
	sh("ip link add va type veth peer name vb");
	wait_for(seen.ifindex == (int)if_nametoindex("va") && seen.mtu == 1500 && !seen.up);
	ck_assert_str_eq(seen.ifname, "va");
	sh("ip link set va up");
	wait_for(seen.up && !seen.running);
	sh("ip link set vb up");
	wait_for(seen.running);
	sh("ip link set va mtu 1200");
	wait_for(seen.mtu == 1200);
	sh("ip link set va address 02:00:00:00:00:77");
	wait_for(seen.mac[5] == 0x77);
	sh("ip link set va down; ip link set va name vc");
	wait_for(seen.ifindex == 0);
	sh("ip link set vc name va");
	wait_for(seen.ifindex != 0);
	sh("ip link del va");
	wait_for(seen.ifindex == 0);
	link_watch_stop(lw);
}
END_TEST

static struct link_watch *twins[2];

static void stop_both(const struct link_info *info, void *arg)
{
	(void)info, (void)arg;
	n_seen++;
	link_watch_stop(twins[0]);
	link_watch_stop(twins[1]);
	twins[0] = twins[1] = NULL;
}

START_TEST(a_watch_may_stop_itself_and_others)
{
	n_seen = 0;
	twins[0] = link_watch_start("va", stop_both, NULL);
	twins[1] = link_watch_start("va", stop_both, NULL);
	ck_assert_uint_eq(n_seen, 0);
	wait_for(n_seen == 1);
	for (int i = 0; i < 20; i++)
		loop_turn();
	ck_assert_uint_eq(n_seen, 1);
}
END_TEST

// The kernel drops messages when nobody reads them; nothing may be missed for that.
START_TEST(a_watch_survives_lost_messages)
{
	struct link_watch *lw;

	sh("ip link add va type veth peer name vb");
	lw = link_watch_start("va", link_seen, NULL);
	n_seen = 0;
	wait_for(n_seen == 1);
	sh("for i in $(seq 1500); do echo link set vb mtu $((1000 + i)); done | ip -batch -");
	sh("ip link set va mtu 1111");
	wait_for(seen.mtu == 1111);
	link_watch_stop(lw);
	sh("ip link del va");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("link");
	TCase *t = tcase_create("link");

	tcase_add_test(t, a_watch_tells_every_change);
	tcase_add_test(t, a_watch_may_stop_itself_and_others);
	tcase_add_test(t, a_watch_survives_lost_messages);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	struct err e = {0};
	struct timer *ticker;
	SRunner *runner;
	int n_failed;

	if (unshare(CLONE_NEWNET) < 0) { // before there are other threads
		fprintf(stderr, "SKIP: link_test: needs a network namespace: run it as root\n");
		return 0;
	}
	if (loop_init(&e) < 0 || link_init(&e) < 0) {
		fprintf(stderr, "link_test: %s\n", e.text);
		return 1;
	}
	ticker = timer_start("tick", 0, 1000, tick, NULL);
	runner = srunner_create(suite());
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	timer_stop(ticker);
	link_fini();
	loop_fini();
	return n_failed ? 1 : 0;
}
