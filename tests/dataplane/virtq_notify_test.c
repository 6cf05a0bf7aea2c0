// Virtqueues, split and packed: interrupts and notifications, and the log of what was written for migration.
//
// Each test runs once per kind of ring (_i).
#include "guest_ring.h"

#include <check.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dp/worker.h"

#define MANY 5000

static struct worker worker;
static struct pkt packets[PKT_BURST];
static struct iovec rest[PKT_BURST];
static uint8_t frame[3000];

static struct pkt *frame_of(uint16_t i, uint32_t len)
{
	pkt_init_borrowed(&packets[i], &(struct iovec){frame, len}, 1, &rest[i], 0);
	return &packets[i];
}

// Notifications

static void add_and_put(struct guest_ring *g, uint16_t n)
{
	struct guest_buffer b = {GUEST_SEAM, 100};
	struct pkt *p[PKT_BURST];
	uint16_t id;
	uint32_t len;

	for (uint16_t i = 0; i < n; i++) {
		p[i] = frame_of(i, 60);
		ck_assert_int_ge(gring_add(g, &b, 1, true, false), 0);
	}
	ck_assert_uint_eq(gring_put(g, p, n), n);
	while (gring_used(g, &id, &len))
		;
}

static bool called(const struct guest_ring *g)
{
	eventfd_t n;

	return eventfd_read(g->q.call, &n) == 0;
}

START_TEST(a_guest_that_wants_no_interrupts_gets_none)
{
	struct guest_ring g;

	gring_open(&g, _i, 100 - 36 * !_i);
	g.q.call = eventfd(0, EFD_NONBLOCK);
	add_and_put(&g, 3);
	ck_assert(called(&g));
	gring_want(&g, false);
	add_and_put(&g, 3);
	ck_assert(!called(&g));
	gring_want(&g, true);
	add_and_put(&g, 1);
	ck_assert(called(&g));
	close(g.q.call);
	gring_close(&g);
}
END_TEST

// Waits for every distance, in rings that wrap: called exactly with the batch that passes the entry.
START_TEST(a_guest_is_called_when_the_entry_it_waits_for_is_passed)
{
	struct guest_ring g;

	gring_open(&g, _i, _i ? 37 : 64);
	gring_start_at(&g, _i ? 30 : 65500, true);
	g.q.call = eventfd(0, EFD_NONBLOCK);
	g.q.event_idx = true;
	gring_want_at(&g, 30);
	add_and_put(&g, 1);
	ck_assert(called(&g)); // the first time in any case
	for (int i = 0; i < MANY; i++) {
		uint16_t distance = rand() % 30, batch = 1 + rand() % 10;

		gring_want_at(&g, distance);
		for (int waited = 0; waited <= distance; waited += batch) {
			add_and_put(&g, batch);
			ck_assert_int_eq(called(&g), waited + batch > distance);
		}
		add_and_put(&g, batch); // passed already
		ck_assert(!called(&g));
	}
	close(g.q.call);
	gring_close(&g);
}
END_TEST

static void told(bool packed, bool event_idx)
{
	struct guest_ring g;
	struct guest_buffer b = {GUEST_SEAM, 100};
	struct pkt p;
	uint16_t id;
	uint32_t len;

	gring_open(&g, packed, packed ? 3 : 4);
	g.q.event_idx = event_idx;
	for (int i = 0; i < 20; i++) {
		gring_notify(&g, true);
		ck_assert(gring_would_notify(&g));
		gring_notify(&g, false);
		// A split ring's index is passed once more.
		ck_assert_int_eq(gring_would_notify(&g), event_idx && !packed);
		gring_add(&g, &b, 1, false, false);
		ck_assert(!gring_would_notify(&g));
		ck_assert_uint_eq(gring_take(&worker, &g, &p, 1), 1);
		gring_give_back(&g);
		ck_assert(gring_used(&g, &id, &len));
	}
	gring_close(&g);
}

START_TEST(the_guest_is_told_whether_to_notify)
{
	told(_i, false);
	told(_i, true);
}
END_TEST

// Logging

#define LOGGED    (2 * GUEST_REGION)
#define PAGE      4096
#define LOG_BYTES ((GUEST_MEMORY + LOGGED) / PAGE / 8)
#define SPARE     2 // pages that are logged though what was written was there before

static uint8_t before[LOGGED];
static alignas(uint64_t) uint8_t dirty[LOG_BYTES];

static void log_start(void)
{
	for (int i = 0; i < 2; i++)
		memcpy(before + i * GUEST_REGION, gring_memory.regions[i].va, GUEST_REGION);
	memset(dirty, 0, sizeof(dirty));
}

static bool is_changed(uint64_t at)
{
	return memcmp(before + at, gring_memory.regions[at / GUEST_REGION].va + at % GUEST_REGION, PAGE) != 0;
}

// Whatever page has changed was logged, and hardly any other.
static void log_expect(void)
{
	uint32_t n_changed = 0, n_logged = 0;

	for (uint64_t at = 0; at < LOGGED; at += PAGE) {
		uint64_t page = (GUEST_MEMORY + at) / PAGE;
		bool is_logged = dirty[page / 8] >> page % 8 & 1;

		n_logged += is_logged;
		if (!is_changed(at))
			continue;
		n_changed++;
		ck_assert_msg(is_logged, "page %lx changed unnoticed", page);
	}
	ck_assert_uint_gt(n_changed, 0);
	ck_assert_uint_le(n_logged, n_changed + SPARE);
}

START_TEST(pages_that_are_written_are_logged)
{
	struct guest_ring g;
	struct guest_buffer whole = {GUEST_SEAM - 3000, 2900}, over = {GUEST_SEAM - 50, 3000};
	struct pkt p[3], *put[3] = {frame_of(0, 60), frame_of(1, 1500), frame_of(2, 2950)};

	gring_open(&g, _i, _i ? 7 : 4);
	gring_memory.log = dirty;
	gring_memory.log_bytes = sizeof(dirty);
	g.q.log = true;
	for (int round = 0; round < 5; round++) {
		uint16_t id;
		uint32_t len;

		g.q.event_idx = _i && round > 2;
		for (int i = 0; i < 3; i++)
			gring_add(&g, i < 2 ? &whole : &over, 1, true, false);
		memset(frame, round + 1, sizeof(frame));
		for (int i = 0; i < 3; i++)
			frame_of(i, put[i]->len);
		log_start();
		ck_assert_uint_eq(gring_put(&g, put, 3), 3);
		log_expect();
		while (gring_used(&g, &id, &len))
			;
		for (int i = 0; i < 3; i++)
			gring_add(&g, &whole, 1, false, i == 1);
		log_start();
		ck_assert_uint_eq(gring_take(&worker, &g, p, 3), 3);
		gring_give_back(&g);
		log_expect();
		while (gring_used(&g, &id, &len))
			;
		gring_notify(&g, round & 1);
		log_start();
		gring_notify(&g, !(round & 1));
		log_expect();
	}
	gring_memory.log = NULL;
	gring_close(&g);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtq_notify");
	TCase *t = tcase_create("virtq_notify");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, gring_init, NULL);
	tcase_add_loop_test(t, a_guest_that_wants_no_interrupts_gets_none, 0, 2);
	tcase_add_loop_test(t, a_guest_is_called_when_the_entry_it_waits_for_is_passed, 0, 2);
	tcase_add_loop_test(t, the_guest_is_told_whether_to_notify, 0, 2);
	tcase_add_loop_test(t, pages_that_are_written_are_logged, 0, 2);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}
