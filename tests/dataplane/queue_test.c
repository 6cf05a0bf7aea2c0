// A receive queue is handed from worker to worker under load: nothing is lost, doubled or reordered, and what it learned
// goes with it.
//
// A thread sends stamped frames from two ports to a third, with a bounded number on the way, so that no queue overflows and
// each stamp must be the one after the last.
#include "house.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "ctrl/api/err.h"
#include "ctrl/change.h"
#include "ctrl/engine.h"
#include "ctrl/loop.h"
#include "dp/flow.h"
#include "dp/worker.h"
#include "ring_port.h"

#define N_MOVES    1000
#define MAX_ON_WAY 200 // of one sender; both together fit into a mailbox
#define DEADLINE_S 60
#define FEW_MISSES 64 // first packets, and what a recheck walks again: not one per move

static struct sender {
	const char *name;
	uint8_t mac[6];
	_Atomic uint32_t sent, seen;
	uint32_t last;
} senders[2] = {{.name = "a", .mac = {2, 0, 0, 0, 0, 0xa}}, {.name = "b", .mac = {2, 0, 0, 0, 0, 0xb}}};
static pthread_t feeder;
static _Atomic bool stop;

static void send_next(struct sender *s, struct frame *f)
{
	uint32_t seq = s->sent + 1;

	memcpy(f->bytes + 6, s->mac, 6);
	memcpy(f->bytes + 20, &seq, sizeof(seq));
	ring_queue(s->name, f);
	s->sent = seq;
}

static void *feed(void *arg)
{
	struct frame f = *eth(MAC_C, MAC_A);

	(void)arg;
	while (!stop) {
		bool idle = true;

		for (int i = 0; i < 2; i++) {
			if (senders[i].sent - senders[i].seen >= MAX_ON_WAY)
				continue;
			send_next(&senders[i], &f);
			idle = false;
		}
		if (idle)
			sched_yield();
	}
	return NULL;
}

static void take_all(void)
{
	const struct frame *f;

	while ((f = ring_take("c")) != NULL) {
		struct sender *s = &senders[f->bytes[11] == 0xa ? 0 : 1];
		uint32_t seq;

		memcpy(&seq, f->bytes + 20, sizeof(seq));
		ck_assert_msg(seq == s->last + 1, "%s: frame %u came after %u", s->name, seq, s->last);
		s->last = seq;
		s->seen++;
	}
}

// Until n more frames of the sender have come.
static void take_more(struct sender *s, uint32_t n)
{
	time_t end = time(NULL) + DEADLINE_S;
	uint32_t goal = s->seen + n;

	while (s->seen < goal) {
		take_all();
		ck_assert_msg(time(NULL) < end, "%s: %u of %u frames came, %u were sent", s->name, s->seen,
			      goal, s->sent);
	}
}

static void load_start(void)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("c", "sw0", "{'mac': '02:00:00:00:00:0c'}");
	for (int i = 0; i < 2; i++)
		senders[i].sent = senders[i].seen = senders[i].last = 0;
	stop = false;
	pthread_create(&feeder, NULL, feed, NULL);
	take_more(&senders[0], 1);
	take_more(&senders[1], 1);
}

static void load_stop(void)
{
	stop = true;
	pthread_join(feeder, NULL);
	for (int i = 0; i < 2; i++)
		take_more(&senders[i], senders[i].sent - senders[i].seen);
}

static struct rxq *queue_of(const char *name)
{
	return &port_find(name)->rxqs[0];
}

static void place(const char *port_name, uint16_t worker)
{
	char name[80], text[80];

	snprintf(name, sizeof(name), "%s.0", port_name);
	snprintf(text, sizeof(text), "{'port': '%s', 'worker': %u}", port_name, worker);
	set("queue", name, text);
	ck_assert_uint_eq(queue_of(port_name)->owner, worker);
}

static void check_counters(const struct sender *s)
{
	const struct port *p = port_find(s->name);
	struct port_counters n;

	port_counters_sum(p, &n);
	ck_assert_uint_eq(n.rx_packets, s->sent);
	ck_assert_uint_eq(n.delivered, s->sent);
	ck_assert_uint_eq(p->rxqs[0].packets, s->sent);
}

START_TEST(a_thousand_moves_lose_double_and_reorder_nothing)
{
	const struct port *p;
	struct flow_stats f;

	load_start();
	for (int i = 0; i < N_MOVES; i++) {
		place("a", i % 2);
		take_more(&senders[0], 1); // by the new one
	}
	load_stop();
	// A flow stays on its receiver's queue.
	ck_assert_uint_eq(worker_at(0)->hash_seed, worker_at(1)->hash_seed);
	p = port_find("a");
	for (int w = 0; w < 2; w++)
		ck_assert_uint_ge(p->counters[w]->rx_packets, N_MOVES / 2 - 1);
	check_counters(&senders[0]);
	check_counters(&senders[1]);
	flow_stats(p->rxqs[0].flows, &f);
	ck_assert_uint_eq(f.hits + f.misses, senders[0].sent);
	ck_assert_msg(f.misses <= FEW_MISSES, "%lu packets found no flow: the table did not move along",
		      f.misses);
}
END_TEST

START_TEST(both_queues_change_places_in_one_request)
{
	load_start();
	for (int i = 0; i < 100; i++) {
		bool odd = i % 2;

		changes(
		    odd ? "{'queue': {'a.0': {'port': 'a', 'worker': 0}, 'b.0': {'port': 'b', 'worker': 1}}}"
			: "{'queue': {'a.0': {'port': 'a', 'worker': 1}, 'b.0': {'port': 'b', 'worker': 0}}}",
		    "{'queue': {'b.0': {'port': 'b', 'worker': 1}}}");
		ck_assert_uint_eq(queue_of("a")->owner, !odd);
		ck_assert_uint_eq(queue_of("b")->owner, 1);
		take_more(&senders[0], 1);
		take_more(&senders[1], 1);
	}
	load_stop();
	check_counters(&senders[0]);
	check_counters(&senders[1]);
}
END_TEST

// Workers come and go

static struct err answer;

static void add_turn(void *core)
{
	worker_add(NULL, *(int *)core, &answer);
}

static void del_turn(void *index)
{
	worker_del(NULL, *(int *)index, &answer);
}

static void turn(void (*fn)(void *arg), int number)
{
	answer = (struct err){0};
	engine_queue(fn, &number);
	while (!engine_is_idle())
		loop_turn();
}

// The workers of these tests run on all CPUs that they may have: one goes, then it comes back.
START_TEST(a_worker_that_goes_leaves_its_queues_and_one_that_comes_back_gets_them)
{
	load_start();
	place("a", 1);
	int core = worker_at(1)->core;

	for (int i = 0; i < 20; i++) {
		turn(del_turn, 1);
		ck_assert_msg(answer.code == 0, "%s", answer.text);
		ck_assert_ptr_null(worker_at(1));
		ck_assert_uint_eq(workers_n(), 1);
		ck_assert_uint_eq(queue_of("a")->owner, 0);
		ck_assert_uint_eq(queue_of("b")->owner, 0);
		take_more(&senders[0], 100);
		turn(add_turn, core);
		ck_assert_msg(answer.code == 0, "%s", answer.text);
		ck_assert_uint_eq(queue_of("a")->owner, 1);
		take_more(&senders[0], 100);
	}
	load_stop();
	check_counters(&senders[0]);
	check_counters(&senders[1]);
}
END_TEST

START_TEST(worker_indices_may_have_gaps)
{
	load_start();
	int core = worker_at(0)->core;

	turn(del_turn, 0);
	ck_assert_ptr_null(worker_at(0));
	ck_assert_uint_eq(workers_n(), 2);
	port("d", "sw0", NULL);
	for (const char *p = "abcd"; *p; p++)
		ck_assert_uint_eq(queue_of((char[]){*p, '\0'})->owner, 1);
	take_more(&senders[0], 100);
	turn(add_turn, core);
	ck_assert_ptr_nonnull(worker_at(0));
	place("d", 0);
	place("b", 0);
	take_more(&senders[1], 100);
	load_stop();
	ck_assert_ptr_nonnull(port_find("d")->counters[0]);
	check_counters(&senders[1]);
}
END_TEST

START_TEST(what_cannot_be_is_refused)
{
	sw("sw0", "external");
	port("a", "sw0", "{'queues': 2}");
	refused("queue", "a.2", "{'port': 'a', 'worker': 0}", "port a has 2 queues");
	refused("queue", "a", "{'port': 'a', 'worker': 0}", "its name must be a, a dot and a number");
	refused("queue", "a.00", "{'port': 'a', 'worker': 0}", "its name must be");
	refused("queue", "b.0", "{'port': 'b', 'worker': 0}", "no such port");
	turn(del_turn, 7);
	ck_assert_str_eq(answer.text, "worker 7: no such worker; 'worker show' lists them");
	turn(add_turn, worker_at(1)->core);
	ck_assert_msg(strstr(answer.text, "is that of worker 1") != NULL, "%s", answer.text);
	turn(add_turn, 1000);
	ck_assert_msg(strstr(answer.text, "CPU 1000 does not exist") != NULL, "%s", answer.text);
}
END_TEST

START_TEST(the_last_worker_stays)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	int core = worker_at(1)->core;

	turn(del_turn, 1);
	turn(del_turn, 0);
	ck_assert_str_eq(answer.text, "worker 0: it is the only one; add another first");
	turn(add_turn, core);
	ck_assert_msg(answer.code == 0, "%s", answer.text);
}
END_TEST

START_TEST(a_place_waits_for_its_worker_and_goes_with_its_port)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	uint16_t before = queue_of("a")->owner;

	set("queue", "a.0", "{'port': 'a', 'worker': 9}");
	ck_assert_uint_eq(queue_of("a")->owner, before);
	del("port", "a");
	port("a", "sw0", NULL);
	house_settle();
	place("a", 1);
	place("a", 0);
	del("queue", "a.0");
	ck_assert_uint_eq(queue_of("a")->owner, 0);
}
END_TEST

static void refused_turn(void *arg)
{
	struct change *ch = change_new(NULL);

	(void)arg;
	change_put(ch, "queue", "a.0", json_pack("{s:s, s:i}", "port", "a", "worker", !queue_of("a")->owner));
	change_put(ch, "port", "x",
		   json_pack("{s:s, s:s, s:s}", "type", "guest", "switch", "sw0", "device", "ring:x"));
	change_submit(ch, &answer);
}

START_TEST(a_refused_change_moves_nothing)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	uint16_t before = queue_of("a")->owner;

	ring_refuse(true);
	turn(refused_turn, 0);
	ring_refuse(false);
	ck_assert_ptr_null(port_find("x"));
	ck_assert_uint_eq(queue_of("a")->worker, before);
	set("switch", "sw1", "{'kind': 'private'}"); // another snapshot
	ck_assert_uint_eq(queue_of("a")->owner, before);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("queue");
	TCase *t = tcase_create("queue");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, a_thousand_moves_lose_double_and_reorder_nothing);
	tcase_add_test(t, both_queues_change_places_in_one_request);
	tcase_add_test(t, a_worker_that_goes_leaves_its_queues_and_one_that_comes_back_gets_them);
	tcase_add_test(t, worker_indices_may_have_gaps);
	tcase_add_test(t, what_cannot_be_is_refused);
	tcase_add_test(t, the_last_worker_stays);
	tcase_add_test(t, a_refused_change_moves_nothing);
	tcase_add_test(t, a_place_waits_for_its_worker_and_goes_with_its_port);
	suite_add_tcase(s, t);
	return house_run(s, 2);
}
