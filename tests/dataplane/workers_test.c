// Several workers deliver to one port: nothing is lost unseen, doubled or reordered per sender.
#include "house.h"

#include <string.h>
#include <time.h>

#include "dp/worker.h"
#include "ring_port.h"

#define N_FRAMES_EACH 30000
#define DEADLINE_S    30

struct sender {
	const char *name;
	uint8_t mac[6];
	uint32_t sent, seen, last;
};

static struct sender senders[2] = {{.name = "a", .mac = {2, 0, 0, 0, 0, 0xa}},
				   {.name = "b", .mac = {2, 0, 0, 0, 0, 0xb}}};

static void send_next(struct sender *s)
{
	struct frame *f = eth(MAC_C, s->mac);
	uint32_t seq = ++s->sent;

	memcpy(f->bytes + 20, &seq, sizeof(seq));
	ring_queue(s->name, f);
}

static void take_all(void)
{
	const struct frame *f;

	while ((f = ring_take("c")) != NULL) {
		struct sender *s = &senders[f->bytes[11] == 0xa ? 0 : 1];
		uint32_t seq;

		memcpy(&seq, f->bytes + 20, sizeof(seq));
		ck_assert_msg(seq > s->last, "%s: frame %u came after %u", s->name, seq, s->last);
		s->last = seq;
		s->seen++;
	}
}

static uint64_t accounted(const struct sender *s)
{
	struct port_counters n;
	uint64_t sum = 0;

	port_counters_sum(port_find(s->name), &n);
	for (int d = 0; d < N_DROPS; d++)
		sum += n.dropped[d];
	return n.delivered + sum;
}

static void drain_until_accounted(void)
{
	time_t end = time(NULL) + DEADLINE_S;

	for (int i = 0; i < 2;) {
		take_all();
		if (accounted(&senders[i]) >= senders[i].sent)
			i++;
		ck_assert_msg(time(NULL) < end, "%s: %lu of %u frames are accounted for", senders[i % 2].name,
			      accounted(&senders[i % 2]), senders[i % 2].sent);
	}
	take_all();
}

static void configure(void)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("c", "sw0", "{'mac': '02:00:00:00:00:0c'}");
	ck_assert_uint_ne(port_find("a")->rxqs[0].worker, port_find("b")->rxqs[0].worker);
	for (int i = 0; i < 2; i++)
		senders[i].sent = senders[i].seen = senders[i].last = 0;
}

START_TEST(two_workers_deliver_to_one_port_in_order)
{
	struct port_counters n;
	uint64_t delivered = 0, held = 0;

	configure();
	for (int i = 0; i < N_FRAMES_EACH; i++) {
		send_next(&senders[0]);
		send_next(&senders[1]);
		if (i % 500 == 0)
			drain_until_accounted();
	}
	drain_until_accounted();
	for (int i = 0; i < 2; i++) {
		port_counters_sum(port_find(senders[i].name), &n);
		ck_assert_uint_eq(n.delivered, senders[i].seen);
		delivered += n.delivered;
		held += n.held_in;
	}
	ck_assert_msg(held > 0, "no frame went by the mailbox: the workers never met");
	port_counters_sum(port_find("c"), &n);
	ck_assert_uint_eq(n.tx_packets, delivered);
}
END_TEST

START_TEST(ports_come_and_go_under_traffic)
{
	char name[8];

	configure();
	for (int i = 0; i < 100; i++) {
		for (int k = 0; k < 50; k++) {
			send_next(&senders[0]);
			send_next(&senders[1]);
		}
		snprintf(name, sizeof(name), "x%d", i);
		port(name, "sw0", "{'mtu': 1400}");
		drain_until_accounted();
		del("port", name);
	}
	ck_assert_uint_eq(senders[0].seen, senders[0].sent);
	ck_assert_uint_eq(senders[1].seen, senders[1].sent);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("workers");
	TCase *t = tcase_create("workers");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, two_workers_deliver_to_one_port_in_order);
	tcase_add_test(t, ports_come_and_go_under_traffic);
	suite_add_tcase(s, t);
	return house_run(s, 2);
}
