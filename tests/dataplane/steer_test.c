// Receive steering: a guest with several queue pairs gets a flow's frames on the pair on which it last sent that flow
// (virtio 1.2, 5.1.6.5.5).
//
//   a, four queue pairs ── sw0 ── b
#include "house.h"

#include <string.h>

#define IPV4_SRC 26 // of an untagged frame
#define SRC_PORT 34
#define FLOWS    64
#define N_QUEUES 4

static struct frame *udp(bool from_a, uint16_t flow)
{
	static const uint8_t ip[] = {0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0};
	struct frame *f = from_a ? eth(MAC_B, MAC_A) : eth(MAC_A, MAC_B);
	const uint8_t here[4] = {10, 0, 0, 1}, there[4] = {10, 0, 0, 2};
	uint8_t ports[2][2] = {{(uint8_t)(flow >> 8), (uint8_t)flow}, {0x13, 0x88}};

	memcpy(f->bytes + 12, "\x08\x00", 2);
	memcpy(f->bytes + 14, ip, sizeof(ip));
	memcpy(f->bytes + IPV4_SRC, from_a ? here : there, 4);
	memcpy(f->bytes + IPV4_SRC + 4, from_a ? there : here, 4);
	memcpy(f->bytes + SRC_PORT, ports[from_a ? 0 : 1], 2);
	memcpy(f->bytes + SRC_PORT + 2, ports[from_a ? 1 : 0], 2);
	memcpy(f->bytes + SRC_PORT + 4, "\x00\x1a\x00\x00", 4); // length, no checksum
	return f;
}

static void a_sends(uint16_t flow, uint16_t queue)
{
	ring_send_on("a", queue);
	inject("a", udp(true, flow));
	expect_last("b");
}

static uint16_t a_receives_on(uint16_t flow)
{
	inject("b", udp(false, flow));
	expect_last("a");
	return ring_received_on("a");
}

static void begin(void)
{
	sw("sw0", "internal");
	port("a", "sw0", "{'queues': 4}");
	port("b", "sw0", NULL);
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
}

START_TEST(a_flow_comes_back_on_the_pair_it_was_sent_on)
{
	begin();
	for (uint16_t queue = 0; queue < N_QUEUES; queue++) {
		a_sends(7, queue);
		ck_assert_int_eq(a_receives_on(7), queue);
		ck_assert_int_eq(a_receives_on(7), queue);
	}
}
END_TEST

// Slots are shared by flows: most of so few have one of their own.
START_TEST(flows_keep_their_pairs_apart)
{
	int n_right = 0;

	begin();
	for (uint16_t flow = 0; flow < FLOWS; flow++)
		a_sends(1000 + flow * 7, flow % N_QUEUES);
	for (uint16_t flow = 0; flow < FLOWS; flow++)
		n_right += a_receives_on(1000 + flow * 7) == flow % N_QUEUES;
	ck_assert_int_ge(n_right, FLOWS * 3 / 4);
}
END_TEST

START_TEST(flows_that_the_guest_never_sent_are_spread)
{
	bool used[N_QUEUES] = {false};

	begin();
	a_sends(1, 0); // its address is known
	for (uint16_t flow = 0; flow < FLOWS; flow++)
		used[a_receives_on(2000 + flow)] = true;
	for (int i = 0; i < N_QUEUES; i++)
		ck_assert(used[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("steer");
	TCase *c = tcase_create("steer");

	tcase_add_checked_fixture(c, house_setup, house_teardown);
	tcase_add_test(c, a_flow_comes_back_on_the_pair_it_was_sent_on);
	tcase_add_test(c, flows_keep_their_pairs_apart);
	tcase_add_test(c, flows_that_the_guest_never_sent_are_spread);
	suite_add_tcase(s, c);
	return house_run(s, 0);
}
