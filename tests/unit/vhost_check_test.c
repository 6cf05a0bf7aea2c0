// Messages of a vhost-user front end: what is refused, on both sides of each bound, and what is left to the library then.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "hv/vhost_check.h"

#define MAX_ADDRESS (1ULL << 47)

static const struct vhost_known split = {.n_rings = 4}, packed = {.n_rings = 4, .packed = true},
				running = {.n_rings = 4, .running = true};

static struct vhost_message message(uint32_t request, uint32_t size)
{
	return (struct vhost_message){.request = request, .flags = 1, .size = size};
}

static void expect_fine(struct vhost_message m, const struct vhost_known *k)
{
	struct vhost_message before = m;
	const char *wrong = vhost_check(&m, k);

	ck_assert_msg(wrong == NULL, "request %u: %s", m.request, wrong);
	ck_assert_mem_eq(&m, &before, sizeof(m));
}

// Returns what became of it.
static struct vhost_message expect_refused(struct vhost_message m, const struct vhost_known *k,
					   const char *part)
{
	const char *wrong = vhost_check(&m, k);

	ck_assert_msg(wrong != NULL && strstr(wrong, part) != NULL, "request %u: %s", m.request,
		      wrong ? wrong : "fine");
	return m;
}

static struct vhost_message memory(uint32_t n)
{
	struct vhost_message m = message(VHOST_MSG_SET_MEM_TABLE, 8 + n * sizeof(struct vhost_region));

	m.memory.n = n;
	for (uint32_t i = 0; i < n && i < VHOST_REGIONS; i++)
		m.memory.regions[i] = (struct vhost_region){
		    .gpa = i * 0x1000, .size = 0x1000, .uva = 0x100000 + i * 0x1000, .offset = i * 0x1000};
	return m;
}

static void expect_no_memory(struct vhost_message m, const char *part)
{
	m = expect_refused(m, &split, part);
	ck_assert_uint_eq(m.memory.n, UINT32_MAX);
}

START_TEST(one_to_eight_regions_side_by_side_are_fine)
{
	expect_fine(memory(1), &split);
	expect_fine(memory(VHOST_REGIONS), &split);
	expect_no_memory(memory(0), "no or too many regions");
	expect_no_memory(memory(VHOST_REGIONS + 1), "no or too many regions");
}
END_TEST

START_TEST(a_memory_table_is_as_long_as_its_regions)
{
	struct vhost_message m = memory(2);

	m.size--;
	expect_no_memory(m, "no or too many regions");
	m.size += 2;
	expect_fine(m, &split);
	m.size = 7;
	expect_no_memory(m, "no or too many regions");
}
END_TEST

START_TEST(regions_do_not_overlap)
{
	struct vhost_message m = memory(2);

	m.memory.regions[1].gpa--;
	expect_no_memory(m, "overlap");
	m = memory(2);
	m.memory.regions[1].uva--;
	expect_no_memory(m, "overlap");
	m = memory(2);
	m.memory.regions[1].offset = 0; // one file twice is the front end's affair
	expect_fine(m, &split);
	m = memory(3);
	m.memory.regions[2].gpa = 0;
	expect_no_memory(m, "overlap");
}
END_TEST

START_TEST(regions_do_not_wrap_round)
{
	struct vhost_message m = memory(1);

	m.memory.regions[0].size = 0;
	expect_no_memory(m, "empty or wraps");
	m = memory(1);
	m.memory.regions[0].gpa = UINT64_MAX - 0x1000;
	expect_fine(m, &split);
	m.memory.regions[0].gpa++;
	expect_no_memory(m, "empty or wraps");
	m = memory(1);
	m.memory.regions[0].uva = UINT64_MAX - 0x1000;
	expect_fine(m, &split);
	m.memory.regions[0].uva++;
	expect_no_memory(m, "empty or wraps");
	m = memory(1);
	m.memory.regions[0].offset = UINT64_MAX - 0xfff;
	expect_no_memory(m, "empty or wraps");
	m.memory.regions[0].offset = MAX_ADDRESS - 0x1000;
	expect_fine(m, &split);
	m.memory.regions[0].offset++;
	expect_no_memory(m, "empty or wraps");
}
END_TEST

static struct vhost_message state(uint32_t request, uint32_t ring, uint32_t num)
{
	struct vhost_message m = message(request, request == VHOST_MSG_SET_VRING_ADDR ? 40 : 8);

	m.state.index = ring;
	m.state.num = num;
	return m;
}

START_TEST(a_ring_has_a_power_of_two_of_entries_unless_packed)
{
	static const uint32_t good[] = {1, 2, 256, 32768}, odd[] = {3, 255, 257, 32767},
			      bad[] = {0, 32769, 65536, UINT32_MAX};

	for (int i = 0; i < 4; i++) {
		expect_fine(state(VHOST_MSG_SET_VRING_NUM, 0, good[i]), &split);
		expect_fine(state(VHOST_MSG_SET_VRING_NUM, 0, good[i]), &packed);
		expect_fine(state(VHOST_MSG_SET_VRING_NUM, 0, odd[i]), &packed);
		expect_refused(state(VHOST_MSG_SET_VRING_NUM, 0, odd[i]), &split, "power of two");
		expect_refused(state(VHOST_MSG_SET_VRING_NUM, 0, bad[i]), &packed, "power of two");
		ck_assert_uint_eq(
		    expect_refused(state(VHOST_MSG_SET_VRING_NUM, 0, bad[i]), &split, "power of two")
			.state.num,
		    UINT32_MAX);
	}
}
END_TEST

START_TEST(a_ring_in_use_keeps_its_size)
{
	expect_refused(state(VHOST_MSG_SET_VRING_NUM, 1, 256), &running, "ring in use");
	expect_fine(state(VHOST_MSG_SET_VRING_BASE, 1, 256), &running);
}
END_TEST

START_TEST(only_rings_of_the_port_are_named)
{
	static const uint32_t by_state[] = {VHOST_MSG_SET_VRING_NUM, VHOST_MSG_SET_VRING_ADDR,
					    VHOST_MSG_SET_VRING_BASE, VHOST_MSG_GET_VRING_BASE,
					    VHOST_MSG_SET_VRING_ENABLE},
			      by_mask[] = {VHOST_MSG_SET_VRING_KICK, VHOST_MSG_SET_VRING_CALL,
					   VHOST_MSG_SET_VRING_ERR};

	for (int i = 0; i < 5; i++) {
		expect_fine(state(by_state[i], 3, 64), &split);
		expect_refused(state(by_state[i], 4, 64), &split, "a ring that the port does not have");
		expect_refused(state(by_state[i], UINT32_MAX, 64), &split,
			       "a ring that the port does not have");
	}
	for (int i = 0; i < 3; i++) {
		struct vhost_message m = message(by_mask[i], 8);

		m.u64 = 0x103; // without a descriptor
		ck_assert_int_eq(vhost_ring_of(&m), 3);
		expect_fine(m, &split);
		m.u64 = 0x104;
		expect_refused(m, &split, "a ring that the port does not have");
	}
}
END_TEST

START_TEST(messages_without_a_ring_name_none)
{
	struct vhost_message m = message(VHOST_MSG_SET_FEATURES, 8);

	m.u64 = UINT64_MAX;
	ck_assert_int_eq(vhost_ring_of(&m), -1);
	expect_fine(m, &split);
}
END_TEST

START_TEST(a_cut_message_is_refused_and_its_rest_not_used)
{
	static const struct {
		uint32_t request, bytes;
	} least[] = {
	    {VHOST_MSG_SET_VRING_ADDR, 40},
	    {VHOST_MSG_SET_FEATURES, 8},
	    {VHOST_MSG_SET_PROTOCOL_FEATURES, 8},
	    {VHOST_MSG_SET_VRING_NUM, 8},
	    {VHOST_MSG_SET_VRING_BASE, 8},
	    {VHOST_MSG_GET_VRING_BASE, 8},
	    {VHOST_MSG_SET_VRING_ENABLE, 8},
	    {VHOST_MSG_SET_VRING_KICK, 8},
	    {VHOST_MSG_SET_VRING_CALL, 8},
	    {VHOST_MSG_SET_VRING_ERR, 8},
	    {VHOST_MSG_SEND_RARP, 8},
	    {VHOST_MSG_NET_SET_MTU, 8},
	    {VHOST_MSG_SET_STATUS, 8},
	};

	for (size_t i = 0; i < sizeof(least) / sizeof(least[0]); i++) {
		struct vhost_message m = message(least[i].request, least[i].bytes - 1);

		m.state.num = 64;
		m.bytes[20] = 0xa5;
		m = expect_refused(m, &split, "a message was cut");
		ck_assert_uint_eq(m.bytes[20], 0);
		ck_assert(least[i].request == VHOST_MSG_SET_VRING_NUM || m.u64 == 0);
		m = message(least[i].request, least[i].bytes);
		m.state.num = 64;
		expect_fine(m, &split);
	}
}
END_TEST

static struct vhost_message dirty_log(uint64_t bytes, uint64_t offset)
{
	struct vhost_message m = message(VHOST_MSG_SET_LOG_BASE, 16);

	m.log.size = bytes;
	m.log.offset = offset;
	return m;
}

START_TEST(a_dirty_log_has_bytes_and_begins_at_0)
{
	expect_fine(dirty_log(1, 0), &split);
	ck_assert_uint_eq(expect_refused(dirty_log(0, 0), &split, "dirty log").size, 0);
	ck_assert_uint_eq(expect_refused(dirty_log(4096, 1), &split, "dirty log").size, 0);
	struct vhost_message m = dirty_log(4096, 0);

	m.size = 15;
	ck_assert_uint_eq(expect_refused(m, &split, "cut").size, 0);
}
END_TEST

START_TEST(what_was_not_offered_is_refused)
{
	static const uint32_t requests[] = {VHOST_MSG_IOTLB_MSG,       VHOST_MSG_POSTCOPY_ADVISE,
					    VHOST_MSG_POSTCOPY_LISTEN, VHOST_MSG_POSTCOPY_END,
					    VHOST_MSG_GET_INFLIGHT_FD, VHOST_MSG_SET_INFLIGHT_FD};

	for (int i = 0; i < 6; i++)
		expect_refused(message(requests[i], 40), &split, "not offered");
	struct vhost_message m =
	    expect_refused(message(VHOST_MSG_SET_INFLIGHT_FD, 24), &split, "not offered");

	ck_assert_uint_eq(m.in_flight.size, 4096);
	ck_assert_uint_eq(m.in_flight.n_queues, 0);
}
END_TEST

START_TEST(unknown_requests_are_the_librarys)
{
	expect_fine(message(0, 0), &split);
	expect_fine(message(41, 0), &split);
	expect_fine(message(UINT32_MAX, UINT32_MAX), &split);
}
END_TEST

// What is not known is taken for one that does.
START_TEST(rings_are_let_go_for_whatever_changes_memory_rings_or_features)
{
	static const uint32_t harmless[] = {VHOST_MSG_GET_FEATURES,
					    VHOST_MSG_SET_OWNER,
					    VHOST_MSG_SET_VRING_ERR,
					    VHOST_MSG_GET_PROTOCOL_FEATURES,
					    VHOST_MSG_SET_PROTOCOL_FEATURES,
					    VHOST_MSG_GET_QUEUE_NUM,
					    VHOST_MSG_SEND_RARP,
					    VHOST_MSG_NET_SET_MTU,
					    VHOST_MSG_SET_STATUS,
					    VHOST_MSG_GET_STATUS};

	for (uint32_t request = 0; request < 64; request++) {
		bool touches = true;

		for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
			touches &= harmless[i] != request;
		ck_assert_msg(vhost_touches_rings(request) == touches, "request %u", request);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_check");
	TCase *t = tcase_create("vhost_check");

	tcase_add_test(t, one_to_eight_regions_side_by_side_are_fine);
	tcase_add_test(t, a_memory_table_is_as_long_as_its_regions);
	tcase_add_test(t, regions_do_not_overlap);
	tcase_add_test(t, regions_do_not_wrap_round);
	tcase_add_test(t, a_ring_has_a_power_of_two_of_entries_unless_packed);
	tcase_add_test(t, a_ring_in_use_keeps_its_size);
	tcase_add_test(t, only_rings_of_the_port_are_named);
	tcase_add_test(t, messages_without_a_ring_name_none);
	tcase_add_test(t, a_cut_message_is_refused_and_its_rest_not_used);
	tcase_add_test(t, a_dirty_log_has_bytes_and_begins_at_0);
	tcase_add_test(t, what_was_not_offered_is_refused);
	tcase_add_test(t, unknown_requests_are_the_librarys);
	tcase_add_test(t, rings_are_let_go_for_whatever_changes_memory_rings_or_features);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
