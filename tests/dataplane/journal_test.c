// The journal of packed rings: whoever works on a ring is killed at any instruction, and a successor takes the ring up from
// the journal. The victim is a child that is run step by step; at each step that changed something the ring is looked
// at as if it had died there.
#include "guest_ring.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/api/err.h"
#include "dp/worker.h"
#include "hv/journal.h"

#define SIZE       16
#define TOLD       0x8000 // what a front end repeats that knows no better
#define FRAME      100
#define MAX_CHAINS SIZE

static char dir[64];
static struct worker worker;
static struct journal journal;
static uint8_t frame[4096];

static void setup(void)
{
	struct err e = {0};
	const char *tmp = getenv("TMPDIR");

	gring_init();
	snprintf(dir, sizeof(dir), "%s/evs-journal-XXXXXX", tmp != NULL ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(journal_open(dir, &e), 0);
	journal_find(&journal, "vm1", 0);
	ck_assert_ptr_nonnull(journal.record);
	journal.told = TOLD;
}

static void teardown(void)
{
	char path[128];

	journal_leave(&journal);
	snprintf(path, sizeof(path), "%s/rings.1", dir);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}

// A ring that somebody works on, with its record, at any position.
static void ring_open(struct guest_ring *g, uint16_t at, bool wrap)
{
	gring_open(g, true, SIZE);
	gring_start_at(g, at, wrap);
	packed_notify(&g->q, false);
	journal_follow(&journal, &g->q, false);
}

// What is left of a switch's own knowledge when another takes its place.
static void forget(struct virtq *q)
{
	q->next = q->done = q->n_lent = 0;
	q->next_wrap = q->done_wrap = true;
	q->position = NULL;
}

// Scenarios: what the guest has made available, and a burst that works on it

struct chains {
	uint16_t n;
	uint16_t pieces[MAX_CHAINS];
	bool write, indirect;
	bool mergeable;
	uint32_t frame; // bytes of each that is put
	uint16_t burst; // frames
};

static const struct chains scenarios[] = {
    {.n = 6, .pieces = {1, 1, 1, 1, 1, 1}, .burst = 4},
    {.n = 5, .pieces = {2, 1, 3, 3, 1}, .burst = 4},
    {.n = 4, .pieces = {3, 3, 3, 3}, .burst = 4},
    {.n = 3, .pieces = {2, 3, 2}, .indirect = true, .burst = 3},
    {.n = 6, .pieces = {1, 1, 1, 1, 1, 1}, .write = true, .frame = FRAME, .burst = 5},
    {.n = 5, .pieces = {2, 1, 3, 2, 1}, .write = true, .frame = FRAME, .burst = 4},
    {.n = 12,
     .pieces = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
     .write = true,
     .mergeable = true,
     .frame = 400,
     .burst = 2},
};

static void chains_add(struct guest_ring *g, const struct chains *c)
{
	for (uint16_t i = 0; i < c->n; i++) {
		struct guest_buffer b[4];

		for (uint16_t k = 0; k < c->pieces[i]; k++)
			b[k] = (struct guest_buffer){gring_alloc(140, 1), 140};
		ck_assert_int_ge(gring_add(g, b, c->pieces[i], c->write, c->indirect), 0);
	}
}

static uint16_t work(struct guest_ring *g, const struct chains *c, uint16_t burst)
{
	static struct pkt pkts[PKT_BURST];
	struct pkt *to[PKT_BURST];
	uint16_t n;

	g->q.mergeable = c->mergeable;
	if (!c->write) {
		n = packed_take(&worker, &g->q, pkts, burst, 7);
		packed_give_back(&g->q);
		return n;
	}
	for (uint16_t i = 0; i < burst; i++) {
		struct iovec none = {frame, 0};

		pkt_init_borrowed(&pkts[i], &none, 1, NULL, 7);
		pkts[i].data = frame;
		pkts[i].len = pkts[i].head_len = c->frame;
		to[i] = &pkts[i];
	}
	return packed_put(&g->q, to, burst);
}

// The driver's memory of a ring, to be brought back.
struct copy {
	struct guest_ring g;
	uint16_t free_ids[SIZE], n_desc[SIZE];
};

static void copy_take(struct copy *c, const struct guest_ring *g)
{
	c->g = *g;
	memcpy(c->free_ids, g->free_ids, sizeof(c->free_ids));
	memcpy(c->n_desc, g->n_desc, sizeof(c->n_desc));
}

static void copy_restore(struct guest_ring *g, const struct copy *c)
{
	*g = c->g;
	memcpy(g->free_ids, c->free_ids, sizeof(c->free_ids));
	memcpy(g->n_desc, c->n_desc, sizeof(c->n_desc));
}

// Each id completes once: gring_used() insists.
static uint16_t used_all(struct guest_ring *g, uint16_t *n_whole)
{
	uint16_t n = 0, id;
	uint32_t len;

	for (*n_whole = 0; gring_used(g, &id, &len); n++)
		*n_whole += len > 0;
	return n;
}

// What the driver has been shown already: nothing before the first one of a burst.
static uint16_t whole_shown(const struct guest_ring *g)
{
	const uint16_t mask = 1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED;
	uint16_t n = 0, at = g->used;
	bool wrap = g->used_wrap;

	for (; at != g->next; at = (at + 1) % SIZE) {
		uint16_t flags = g->q.packed[at].flags;
		bool is_used = (flags & mask) == (wrap ? mask : 0);

		if (!is_used && at == g->used)
			break;
		n += flags & VRING_DESC_F_WRITE && is_used;
		wrap ^= at + 1 == SIZE;
	}
	return n;
}

// The ring is taken up, everything that is available is completed, and the ring goes round a few times.
static void expect_goes_on(struct guest_ring *g, const struct chains *c)
{
	uint16_t n, whole = whole_shown(g), n_whole;

	forget(&g->q);
	ck_assert(journal_resume(&journal, &g->q));
	n = used_all(g, &n_whole);
	ck_assert_uint_le(n, c->n);
	ck_assert_uint_eq(n_whole, whole); // a burst is shown whole, or none of it
	while (n < c->n) {
		uint16_t before = n;

		if (work(g, c, 1) == 0)
			break;
		n += used_all(g, &n_whole);
		ck_assert_uint_gt(n, before);
	}
	ck_assert(n == c->n || c->mergeable);
	for (int i = 0; i < 4 * SIZE; i++) {
		struct guest_buffer b = {gring_alloc(1024, 1), 1024};

		if (g->n_free_desc > 0)
			ck_assert_int_ge(gring_add(g, &b, 1, c->write, false), 0);
		ck_assert_uint_eq(work(g, c, 1), 1);
		ck_assert_uint_gt(used_all(g, &n_whole), 0);
	}
	ck_assert_uint_eq(g->q.fault, VIRTQ_FINE);
}

static void peek(pid_t child, const struct guest_ring *g, void *to)
{
	struct iovec from = {g->q.packed, SIZE * sizeof(*g->q.packed)}, into = {to, from.iov_len};

	ck_assert_int_eq(process_vm_readv(child, &into, 1, &from, 1, 0), from.iov_len);
}

// Runs `scenario` in a child. Returns how many moments differed.
static int die_everywhere(struct guest_ring *g, const struct chains *c)
{
	struct vring_packed_desc seen[SIZE], now[SIZE];
	const uint32_t *position = g->q.position;
	uint32_t position_seen = *position;
	struct copy before;
	int status, moments = 0;
	pid_t child;

	copy_take(&before, g);
	memcpy(seen, g->q.packed, sizeof(seen));
	child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(work(g, c, c->burst) != c->burst);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	while (WIFSTOPPED(status)) {
		peek(child, g, now);
		if (moments == 0 || memcmp(now, seen, sizeof(now)) != 0 || *position != position_seen) {
			memcpy(seen, now, sizeof(seen));
			position_seen = *position;
			memcpy(g->q.packed, now, sizeof(now));
			expect_goes_on(g, c);
			copy_restore(g, &before);
			moments++;
		}
		ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
	}
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	memcpy(g->q.packed, seen, sizeof(seen));
	return moments;
}

START_TEST(a_ring_goes_on_wherever_its_worker_was_killed)
{
	const struct chains *c = &scenarios[_i];

	for (uint16_t at = 0; at < SIZE; at += 3) {
		struct guest_ring g;

		ring_open(&g, at, at % 2);
		chains_add(&g, c);
		ck_assert_int_gt(die_everywhere(&g, c), c->burst);
		expect_goes_on(&g, c); // after the last step
		gring_close(&g);
		gring_init();
	}
}
END_TEST

// The word of a record, as journal_note() makes it.
static void word_set(struct virtq *q, uint16_t from, bool from_wrap, uint16_t to, bool to_wrap)
{
	*q->position = from | from_wrap << 15 | to << 16 | (uint32_t)to_wrap << 31;
}

START_TEST(a_record_is_not_believed_when_the_ring_is_another)
{
	struct guest_ring g, other;
	struct journal nobody = {0}, neighbour = {0};

	ring_open(&g, 5, false);
	struct virtq q = g.q;

	forget(&q);
	ck_assert(journal_resume(&journal, &q));
	ck_assert(q.next == 5 && !q.next_wrap && q.done == 5 && !q.done_wrap);
	journal.told = 7; // it was told of another position meanwhile
	ck_assert(!journal_resume(&journal, &q));
	journal.told = 5; // it knows the position by itself
	ck_assert(journal_resume(&journal, &q));
	journal.told = TOLD;
	q.size = SIZE / 2;
	ck_assert(!journal_resume(&journal, &q));
	q = g.q;
	gring_open(&other, true, SIZE);
	packed_notify(&other.q, false);
	ck_assert(!journal_resume(&journal, &other.q)); // it lies elsewhere
	ck_assert(!journal_resume(&nobody, &q));
	journal_find(&neighbour, "vm1", 1);
	neighbour.told = TOLD;
	ck_assert(!journal_resume(&neighbour, &q));
	journal_leave(&neighbour);
	memset(q.device_event, 0, sizeof(*q.device_event)); // its driver has made it anew
	ck_assert(!journal_resume(&journal, &q));
	packed_notify(&q, true); // and any event word that we write says that it is the old one
	ck_assert(journal_resume(&journal, &q));
	journal_end(&journal);
	ck_assert(!journal_resume(&journal, &q));
	gring_close(&g);
	gring_close(&other);
}
END_TEST

START_TEST(any_record_and_any_ring_do_no_harm)
{
	struct guest_ring g;
	uint64_t end;

	srand(1);
	ring_open(&g, 0, true);
	end = gring_end();
	gring_write(end, &(uint64_t){0x1122334455667788}, 8);
	for (int i = 0; i < 100000; i++) {
		struct virtq q = g.q;

		for (uint16_t k = 0; k < SIZE; k++)
			g.q.packed[k] = (struct vring_packed_desc){rand(), rand(), rand(), rand()};
		word_set(&g.q, rand() % (SIZE + 2), rand() % 2, rand() % (SIZE + 2), rand() % 2);
		forget(&q);
		if (journal_resume(&journal, &q))
			ck_assert(q.next < SIZE && q.done == q.next && q.done_wrap == q.next_wrap);
	}
	uint64_t behind;

	gring_read(&behind, end, 8);
	ck_assert_uint_eq(behind, 0x1122334455667788);
	gring_close(&g);
}
END_TEST

START_TEST(records_outlive_the_process_and_belong_to_a_name)
{
	struct journal again = {.told = TOLD}, others[40] = {0};
	struct err e = {0};
	struct guest_ring g;
	char name[16];

	ring_open(&g, 3, true);
	journal_leave(&journal);
	ck_assert_int_eq(journal_open(dir, &e), 0); // as a successor does
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "other%d", i / 2);
		journal_find(&others[i], name, i % 2);
		for (int k = 0; k < i; k++)
			ck_assert_ptr_ne(others[i].record, others[k].record);
	}
	journal_find(&again, "vm1", 0);
	forget(&g.q);
	ck_assert(journal_resume(&again, &g.q));
	ck_assert(g.q.next == 3 && g.q.next_wrap);
	for (int i = 0; i < 40; i++)
		journal_leave(&others[i]);
	journal_leave(&again);
	journal_find(&journal, "vm1", 0);
	gring_close(&g);
}
END_TEST

START_TEST(a_directory_that_is_not_there_is_said)
{
	struct err e = {0};

	ck_assert_int_ne(journal_open("/nowhere", &e), 0);
	ck_assert_ptr_nonnull(strstr(e.text, "ring journal /nowhere/rings.1: "));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("journal");
	TCase *t = tcase_create("journal");
	SRunner *r = srunner_create(s);

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_ring_goes_on_wherever_its_worker_was_killed, 0, RTE_DIM(scenarios));
	tcase_add_test(t, a_record_is_not_believed_when_the_ring_is_another);
	tcase_add_test(t, any_record_and_any_ring_do_no_harm);
	tcase_add_test(t, records_outlive_the_process_and_belong_to_a_name);
	tcase_add_test(t, a_directory_that_is_not_there_is_said);
	tcase_set_timeout(t, 120);
	suite_add_tcase(s, t);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}
