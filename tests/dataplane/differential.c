// I1: compiled flows give exactly what the walk gives. The same random traffic and the same configuration changes at
// the same packet numbers, once through flows and once through the walk only: every frame delivered, its order, every
// counter and every drop reason must be equal.
//
// SEED=n and PACKETS=n in the environment choose another run; both are printed.
#include "differential.h"

#include "house.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "dp/flow.h"
#include "dp/frame.h"
#include "dp/port.h"
#include "dp/switch.h"

#define PACKETS_DEFAULT 100000
#define N_PORTS         6
#define N_MACS          10

static const char *const names[N_PORTS] = {"a", "b", "c", "d", "u", "v"};
static uint64_t seed, state;
static unsigned n_packets;
static struct differential_more more;

struct entry {
	uint64_t value;
	unsigned packet; // how many were sent by then
	char what[40];
};

struct record { // of what happened, comparable
	struct entry *at;
	size_t n, room;
};

static struct record records[2], *now;

uint32_t differential_dice(uint32_t n) // splitmix64: the same on every machine
{
	uint64_t z = (state += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ z >> 31) >> 16) % n;
}

static uint32_t dice(uint32_t n)
{
	return differential_dice(n);
}

void differential_say(uint64_t value, const char *what, const char *whose)
{
	if (now->n == now->room) {
		now->room = now->room ? 2 * now->room : 1 << 16;
		now->at = realloc(now->at, now->room * sizeof(*now->at));
	}
	struct entry *e = &now->at[now->n++];

	*e = (struct entry){.value = value, .packet = n_packets};
	snprintf(e->what, sizeof(e->what), "%s %s", what, whose);
}

static uint64_t hash_of(const struct frame *f)
{
	uint64_t h = 0xcbf29ce484222325 ^ f->len;

	for (size_t i = 0; i < f->len; i++)
		h = (h ^ f->bytes[i]) * 0x100000001b3;
	return h;
}

// Traffic

static void some_mac(uint8_t mac[6])
{
	static const uint8_t group[6] = {1, 0, 0x5e, 0, 0, 1};
	uint32_t d = dice(20);

	memcpy(mac, d == 0 ? MAC_ALL : group, 6);
	if (d > 1)
		memcpy(mac, (uint8_t[6]){2, 0, 0, 0, 0, dice(N_MACS)}, 6);
}

static const struct frame *some_frame(void)
{
	struct frame_spec s = {.has_ip = dice(4) > 0};
	static uint8_t bytes[2048];

	some_mac(s.dst);
	some_mac(s.src);
	s.tagged = dice(3) == 0;
	s.vlan = dice(4) * 10;
	s.ip_src.family = s.ip_dst.family = dice(2) ? AF_INET : AF_INET6;
	s.ip_src.bytes[3] = dice(4);
	s.ip_dst.bytes[3] = dice(4);
	s.proto = (uint8_t[]){0, 6, 17}[dice(3)];
	s.sport = dice(5) ? 1000 + dice(4) : 68;
	s.dport = 2000 + dice(4);
	size_t len = frame_build(&s, bytes, sizeof(bytes));

	if (dice(6) == 0)
		len += dice(1500);
	const struct frame *f = from_bytes(bytes, len);

	if (dice(16) == 0)
		f = with_tag(f, dice(2) ? 0x8100 : 0x88a8, dice(4) * 10);
	if (dice(32) == 0)
		f = cut(f, dice(f->len + 1));
	if (dice(64) == 0) { // ARP, and other things that no flow decides
		struct frame *g = from_bytes(f->bytes, f->len);

		if (g->len > 14)
			g->bytes[13] = 0x06;
		f = g;
	}
	return f;
}

// The same but for the end of an address or a port, wherever these stand in it: keys that differ in little.
static const struct frame *some_neighbour(const struct frame *f)
{
	static const uint8_t places[] = {33, 35, 37, 39, 41, 53, 55, 57, 59, 61};
	struct frame *g = from_bytes(f->bytes, f->len);
	uint8_t at = places[dice(sizeof(places))];

	if (at < g->len)
		g->bytes[at] = (g->bytes[at] & ~3) | dice(4);
	return g;
}

static void send_some(void)
{
	const char *from = names[dice(N_PORTS)];
	int n = 1 + dice(40);

	if (port_find(from) == NULL)
		return;
	ring_borrow(from, dice(3) == 0 ? 16 + dice(200) : 0);
	const struct frame *f = some_frame();

	for (int i = 0; i < n; i++) {
		if (dice(3) == 0)
			f = some_frame();
		else if (dice(2) == 0)
			f = some_neighbour(f);
		ring_queue(from, f);
		n_packets++;
	}
	house_rounds();
	for (int i = 0; i < N_PORTS; i++) {
		const struct frame *got;

		while (port_find(names[i]) != NULL && (got = ring_take(names[i])) != NULL)
			differential_say(hash_of(got) * 31 + i, "frame to", names[i]);
	}
}

// Changes

static const char *uplink_or_guest(int i)
{
	return i >= 4 ? "'type': 'uplink'" : "'type': 'guest'";
}

static void some_port(int i)
{
	char text[160];
	int mtu = dice(3) == 0 ? 1000 : 1500;

	if (i < 4 && dice(3) == 0)
		snprintf(text, sizeof(text), "{%s, 'mtu': %d, 'mac': '02:00:00:00:00:0%d'}",
			 uplink_or_guest(i), mtu, i);
	else
		snprintf(text, sizeof(text), "{%s, 'mtu': %d}", uplink_or_guest(i), mtu);
	port(names[i], "sw0", text);
	house_settle();
}

static void some_vlan(int i)
{
	static const char *const modes[] = {"{'mode': 'untagged'}", "{'mode': 'access', 'vlan': 10}",
					    "{'mode': 'access', 'vlan': 20}",
					    "{'mode': 'trunk', 'allowed': '10-30', 'native': 20}",
					    "{'mode': 'trunk', 'allowed': '10,20', 'prune': '20'}"};

	if (i < 4 && port_find(names[i]) != NULL)
		set("vlan", names[i], modes[dice(5)]);
}

static void change_some(void)
{
	int i = dice(N_PORTS);
	struct port *p = port_find(names[i]);

	switch (dice(7)) {
	case 0:
		some_vlan(i);
		break;
	case 1:
		if (p != NULL)
			del("port", names[i]);
		else
			some_port(i);
		break;
	case 2:
		if (p != NULL)
			ring_up(names[i], dice(3) > 0);
		break;
	case 3:
		house_seconds(dice(2) ? 1 : 200);
		break;
	case 4:
		fdb_flush(switch_find("sw0")->fdb, FDB_NO_PORT, -1, false);
		break;
	case 5:
		if (p != NULL)
			some_port(i);
		break;
	default:
		if (p != NULL)
			ring_accept(names[i], dice(2) ? -1 : (int)dice(50));
		break;
	}
}

static void say_counters(void)
{
	if (more.say != NULL)
		more.say();
	for (int i = 0; i < N_PORTS; i++) {
		struct port_counters n;

		if (port_find(names[i]) == NULL)
			continue;
		port_counters_sum(port_find(names[i]), &n);
		for (size_t k = 0; k < offsetof(struct port_counters, dropped) / sizeof(uint64_t); k++)
			differential_say(((uint64_t *)&n)[k], "counter of", names[i]);
		for (int d = 1; d < N_DROPS; d++)
			differential_say(n.dropped[d], drop_name(d), names[i]);
	}
}

static uint64_t hits(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < N_PORTS; i++) {
		struct flow_stats n;

		if (port_find(names[i]) == NULL)
			continue;
		flow_stats(port_find(names[i])->rxqs[0].flows, &n);
		sum += n.hits;
	}
	return sum;
}

static uint64_t run(bool flows, unsigned total)
{
	uint64_t n_hits = 0;

	now = &records[flows];
	now->n = n_packets = 0;
	state = seed;
	house_flows(flows);
	sw("sw0", "external");
	for (int i = 0; i < N_PORTS; i++)
		some_port(i);
	if (more.begin != NULL)
		more.begin();
	while (n_packets < total) {
		send_some();
		if (dice(8) == 0) {
			say_counters();
			n_hits += hits(); // a port's go with the port
			if (more.change != NULL && dice(2) == 0)
				more.change();
			else
				change_some();
		}
	}
	say_counters();
	house_teardown();
	if (more.end != NULL)
		more.end();
	house_setup();
	house_flows(true);
	return n_hits;
}

START_TEST(flows_and_the_walk_agree)
{
	const char *packets = getenv("PACKETS"), *chosen = getenv("SEED");
	unsigned total = packets != NULL ? atoi(packets) : PACKETS_DEFAULT;

	seed = chosen != NULL ? strtoull(chosen, NULL, 0) : 20120904;
	printf("SEED=%lu PACKETS=%u\n", seed, total);
	ck_assert_uint_eq(run(false, total), 0);
	ck_assert_uint_gt(run(true, total), total / 10);
	size_t n = records[0].n < records[1].n ? records[0].n : records[1].n;

	for (size_t i = 0; i < n; i++)
		ck_assert_msg(records[0].at[i].value == records[1].at[i].value,
			      "by packet %u: %s is %lx by the walk; %s is %lx by flows",
			      records[0].at[i].packet, records[0].at[i].what, records[0].at[i].value,
			      records[1].at[i].what, records[1].at[i].value);
	ck_assert_uint_eq(records[0].n, records[1].n);
}
END_TEST

int differential_run(const char *name, const struct differential_more *m)
{
	if (m != NULL)
		more = *m;
	Suite *s = suite_create(name);
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, 0);
	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, flows_and_the_walk_agree);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
