// Bytes that nobody vouches for: every cut header has its reason, and random frames are all accounted for.
#include "house.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <string.h>

#include "dp/frame.h"
#include "dp/port.h"

#define N_RANDOM 50000

static uint64_t dropped(const char *name)
{
	struct port_counters n;
	uint64_t sum = 0;

	port_counters_sum(port_find(name), &n);
	for (int d = 1; d < N_DROPS; d++)
		sum += n.dropped[d];
	return sum;
}

static void two_ports(void)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
}

static const struct frame *built(int family, uint8_t proto)
{
	struct frame_spec s = {.has_ip = true, .proto = proto, .sport = 1, .dport = 2};
	uint8_t bytes[256];

	memcpy(s.dst, MAC_B, 6);
	memcpy(s.src, MAC_A, 6);
	s.ip_src.family = s.ip_dst.family = family;
	s.ip_src.bytes[0] = s.ip_dst.bytes[0] = 10;
	frame_build(&s, bytes, sizeof(bytes));
	size_t len = 14 + (family == AF_INET ? 20 : 40) + (proto == 6 ? 20 : 8);

	return from_bytes(bytes, len);
}

START_TEST(every_cut_header_is_dropped)
{
	static const int families[] = {AF_INET, AF_INET6};
	static const uint8_t protos[] = {6, 17};
	uint64_t n = 0;

	two_ports();
	for (int f = 0; f < 2; f++) {
		for (int p = 0; p < 2; p++) {
			const struct frame whole = *built(families[f], protos[p]);

			for (size_t len = 0; len < whole.len; len++) {
				ring_borrow("a", len % 3 == 0 ? 5 : 0);
				inject("a", cut(&whole, len));
				ck_assert_uint_eq(dropped("a"), ++n);
			}
			inject("a", &whole);
			expect_last("b");
		}
	}
}
END_TEST

static void randomize(struct frame *f)
{
	static const uint16_t types[] = {0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x88b5, 0x0060};
	uint16_t type = types[rand() % 7];

	f->len = rand() % 4 == 0 ? rand() % 80 : 14 + rand() % 1600;
	for (size_t i = 0; i < f->len; i++)
		f->bytes[i] = rand() % 3 ? rand() : 0;
	if (f->len < 14)
		return;
	if (rand() % 2)
		memcpy(f->bytes, rand() % 2 ? MAC_A : MAC_B, 6);
	if (rand() % 2)
		memcpy(f->bytes + 6, rand() % 2 ? MAC_A : MAC_C, 6);
	f->bytes[12] = type >> 8;
	f->bytes[13] = type;
	if (f->len > 15 && rand() % 2)
		f->bytes[14] = type == 0x0800 ? 0x45 : 0x60;
}

START_TEST(random_frames_are_all_accounted_for)
{
	static const char *const names[] = {"a", "b", "t", "u"};
	static struct frame f;
	unsigned seed = getenv("SEED") != NULL ? atoi(getenv("SEED")) : 4711;

	two_ports();
	port("t", "sw0", NULL);
	port("u", "sw0", "{'type': 'uplink', 'mtu': 1300}");
	set("vlan", "t", "{'mode': 'trunk', 'allowed': '1-4094'}");
	set("vlan", "b", "{'mode': 'access', 'vlan': 5}");
	srand(seed);
	for (int i = 0; i < N_RANDOM; i++) {
		const char *from = names[rand() % 4];

		ring_borrow(from, rand() % 2 ? 1 + rand() % 200 : 0);
		randomize(&f);
		inject(from, &f);
		for (int k = 0; k < 4; k++)
			while (ring_take(names[k]) != NULL)
				;
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("garbage");
	TCase *t = tcase_create("garbage");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, every_cut_header_is_dropped);
	tcase_add_test(t, random_frames_are_all_accounted_for);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
