// The bundled capture's pcapng writer, byte by byte against the format, and its lanes.
#include "ext/capture/pcapng.c"

#include <check.h>
#include <stdlib.h>

#include "ext/capture/lane.c"

static uint32_t word(const uint8_t *bytes, size_t at)
{
	uint32_t v;

	memcpy(&v, bytes + at, sizeof(v));
	return v;
}

static uint8_t room[4096];

// Every block says its length twice, and that is a multiple of 4.
static void check_block(const struct pcapng *o, size_t at, uint32_t type)
{
	uint32_t length = word(o->bytes, at + 4);

	ck_assert_uint_eq(word(o->bytes, at), type);
	ck_assert_uint_eq(length % 4, 0);
	ck_assert_uint_eq(at + length, o->n);
	ck_assert_uint_eq(word(o->bytes, o->n - 4), length);
}

START_TEST(section_begins_with_the_byte_order)
{
	struct pcapng o = {room, 0, sizeof(room)};

	ck_assert(pcapng_section(&o, "abcde"));
	check_block(&o, 0, 0x0a0d0d0a);
	ck_assert_uint_eq(word(room, 8), 0x1a2b3c4d);
	ck_assert_uint_eq(word(room, 12), 1);
	ck_assert_uint_eq(word(room, 16), UINT32_MAX);
	ck_assert_uint_eq(word(room, 20), UINT32_MAX);
	ck_assert_uint_eq(word(room, 24), 4 | 5 << 16);
	ck_assert_mem_eq(room + 28, "abcde\0\0\0", 8);
}
END_TEST

START_TEST(interface_has_nanoseconds_and_filter)
{
	struct pcapng o = {room, 0, sizeof(room)};

	ck_assert(pcapng_interface(&o, "vm1", "what", "ip", 100));
	check_block(&o, 0, 1);
	ck_assert_uint_eq(word(room, 8), 1);
	ck_assert_uint_eq(word(room, 12), 100);
	ck_assert_mem_eq(room + 16, "\2\0\3\0vm1\0", 8);
	ck_assert_mem_eq(room + 24, "\3\0\4\0what", 8);
	ck_assert_mem_eq(room + 32, "\11\0\1\0\11\0\0\0", 8);
	ck_assert_mem_eq(room + 40, "\13\0\3\0\0ip\0", 8);
	ck_assert_uint_eq(word(room, 48), 0);
}
END_TEST

START_TEST(packet_has_time_lengths_comment_and_direction)
{
	struct pcapng o = {room, 0, sizeof(room)};
	const struct pcapng_packet p = {.interface = 1,
					.time_ns = 0x123456789abcdef0,
					.bytes = "frame",
					.captured = 5,
					.length = 1500,
					.direction = PCAPNG_OUTBOUND,
					.comment = "why"};

	ck_assert(pcapng_packet(&o, &p));
	check_block(&o, 0, 6);
	ck_assert_uint_eq(word(room, 8), 1);
	ck_assert_uint_eq(word(room, 12), 0x12345678);
	ck_assert_uint_eq(word(room, 16), 0x9abcdef0);
	ck_assert_uint_eq(word(room, 20), 5);
	ck_assert_uint_eq(word(room, 24), 1500);
	ck_assert_mem_eq(room + 28, "frame\0\0\0", 8);
	ck_assert_mem_eq(room + 36, "\1\0\3\0why\0", 8);
	ck_assert_mem_eq(room + 44, "\2\0\4\0\2\0\0\0", 8);
}
END_TEST

START_TEST(statistics_count)
{
	struct pcapng o = {room, 0, sizeof(room)};

	ck_assert(pcapng_statistics(&o, 1, 7, 10, 3));
	check_block(&o, 0, 5);
	ck_assert_uint_eq(word(room, 16), 7);
	ck_assert_uint_eq(word(room, 20), 4 | 8 << 16);
	ck_assert_uint_eq(word(room, 24), 10);
	ck_assert_uint_eq(word(room, 32), 5 | 8 << 16);
	ck_assert_uint_eq(word(room, 36), 3);
}
END_TEST

START_TEST(block_without_room_is_left_out)
{
	uint8_t frame[200] = {0};
	const struct pcapng_packet p = {.bytes = frame, .captured = sizeof(frame), .length = 200};

	for (size_t n = 0; n < 400; n++) {
		struct pcapng o = {malloc(n + 1), 0, n};

		if (!pcapng_packet(&o, &p))
			ck_assert_uint_eq(o.n, 0);
		ck_assert_uint_le(o.n, n);
		free(o.bytes);
	}
}
END_TEST

START_TEST(long_comment_is_cut)
{
	char comment[3000];
	const struct pcapng_packet p = {.bytes = "", .comment = comment};
	struct pcapng o = {room, 0, sizeof(room)};

	memset(comment, 'x', sizeof(comment));
	comment[sizeof(comment) - 1] = '\0';
	ck_assert(pcapng_packet(&o, &p));
	check_block(&o, 0, 6);
}
END_TEST

START_TEST(lane_gives_back_all_in_order)
{
	struct lane l = {0};
	uint32_t in = 0, out = 0;

	ck_assert(lane_open(&l));
	// several times around, with lengths that do not divide the ring
	while (in < 20000) {
		struct record *r;

		while ((r = lane_room(&l, 1 + in * 7919 % 9000)) != NULL) {
			r->length = in++;
			memset(r->frame, (int)r->length, r->bytes - sizeof(*r));
			lane_push(&l, r);
		}
		ck_assert_uint_gt(in, out);
		for (uint32_t half = (in - out) / 2 + 1; half > 0; half--) {
			const struct record *first = lane_first(&l);

			ck_assert_ptr_nonnull(first);
			ck_assert_uint_eq(first->length, out++);
			ck_assert_uint_eq(first->frame[first->bytes - sizeof(*first) - 1],
					  first->length & 255);
			lane_pop(&l, first);
		}
	}
	while (lane_first(&l) != NULL) {
		ck_assert_uint_eq(lane_first(&l)->length, out++);
		lane_pop(&l, lane_first(&l));
	}
	ck_assert_uint_eq(in, out);
	lane_close(&l);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pcapng");
	TCase *t = tcase_create("all");

	tcase_add_test(t, section_begins_with_the_byte_order);
	tcase_add_test(t, interface_has_nanoseconds_and_filter);
	tcase_add_test(t, packet_has_time_lengths_comment_and_direction);
	tcase_add_test(t, statistics_count);
	tcase_add_test(t, block_without_room_is_left_out);
	tcase_add_test(t, long_comment_is_cut);
	tcase_add_test(t, lane_gives_back_all_in_order);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}
