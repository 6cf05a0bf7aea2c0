// Virtqueues against guests that break the rules: each fault is found, gives no packet and touches nothing;
// and a guest that changes everything while it is being read harms only itself.
//
// Each test runs once per kind of ring (_i). Memory is allocated exactly, so that ASan sees what goes beyond.
#include "guest_ring.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "dp/worker.h"

#define AROUND     1000
#define LOOKS      3000
#define DEADLINE_S 60
#define NEXT       VRING_DESC_F_NEXT
#define WRITE      VRING_DESC_F_WRITE
#define TABLE      VRING_DESC_F_INDIRECT

static struct worker worker;

// A ring with one chain, good or bad

struct one {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags;
	uint16_t next; // split
};

static void entry_set(void *at, bool packed, struct one d, uint16_t more)
{
	struct vring_desc split = {d.gpa, d.len, d.flags, d.next};
	struct vring_packed_desc p = {d.gpa, d.len, 1, d.flags | more};

	memcpy(at, packed ? (void *)&p : (void *)&split, 16);
}

// Descriptors 0 .. n-1 as given, of which the first is available.
static void lay(struct guest_ring *g, const struct one *d, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		entry_set(&g->q.desc[i], g->packed, d[i], 1 << VRING_PACKED_DESC_F_AVAIL);
	if (!g->packed) {
		g->q.avail->ring[0] = 0;
		g->q.avail->idx = 1;
	}
}

static void table_lay(uint64_t gpa, bool packed, const struct one *d, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		entry_set(gring_va(gpa + i * 16ul), packed, d[i], 0);
}

static uint64_t everything(void)
{
	return gring_sum(GUEST_MEMORY, gring_end() - GUEST_MEMORY) ^
	       gring_sum(GUEST_SEAM - AROUND, 2 * AROUND) ^ gring_sum(GUEST_ISLAND, GUEST_ISLAND_BYTES);
}

static void expect_fault(struct guest_ring *g, bool write, enum virtq_fault fault)
{
	static struct iovec rest;
	static uint8_t frame[500];
	struct pkt p, *put = &p;
	uint64_t before = everything();

	if (write) {
		pkt_init_borrowed(&p, &(struct iovec){frame, sizeof(frame)}, 1, &rest, 0);
		ck_assert_uint_eq(gring_put(g, &put, 1), 0);
	} else {
		ck_assert_uint_eq(gring_take(&worker, g, &p, 1), 0);
		gring_give_back(g);
	}
	ck_assert_uint_eq(g->q.fault, fault);
	ck_assert_uint_eq(everything(), before);
	ck_assert_uint_eq(g->q.next, 0);
	ck_assert_uint_eq(g->q.done, 0);
}

static void expect_fault_of(bool packed, bool write, const struct one *d, uint16_t n, enum virtq_fault fault)
{
	struct guest_ring g;

	gring_open(&g, packed, 4);
	lay(&g, d, n);
	expect_fault(&g, write, fault);
	gring_close(&g);
}

START_TEST(entries_beyond_the_ring)
{
	struct guest_ring g;

	for (int write = 0; write < 2; write++) {
		gring_open(&g, false, 4);
		g.q.avail->idx = 5;
		expect_fault(&g, write, VIRTQ_INDEX);
		gring_close(&g);
		for (uint32_t head = 4; head <= UINT16_MAX; head = head * 2 + 1) {
			gring_open(&g, false, 4);
			g.q.avail->idx = 1;
			g.q.avail->ring[0] = head;
			expect_fault(&g, write, VIRTQ_HEAD);
			gring_close(&g);
		}
	}
}
END_TEST

START_TEST(buffers_outside_memory)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {
	    {0, 600},
	    {GUEST_MEMORY - 1, 600},
	    {GUEST_MEMORY - 600, 600},
	    {GUEST_SEAM + GUEST_REGION - 400, 600},
	    {GUEST_SEAM + GUEST_REGION, 600},
	    {GUEST_ISLAND - 1, 600},
	    {GUEST_ISLAND + GUEST_ISLAND_BYTES - 400, 512},
	    {UINT64_MAX, 600},
	    {UINT64_MAX - 599, 600},
	    {1ull << 63, 600},
	};

	for (size_t i = 0; i < RTE_DIM(bad); i++)
		for (uint16_t write = 0; write <= WRITE; write += WRITE) {
			uint64_t t = gring_alloc(32, 16);
			struct one d[2] = {{GUEST_SEAM, 20, write | NEXT, 1},
					   {bad[i].gpa, bad[i].len, write}};

			expect_fault_of(_i, write, d + 1, 1, VIRTQ_OUTSIDE);
			expect_fault_of(_i, write, d, 2, VIRTQ_OUTSIDE);
			table_lay(t, _i, d, 2);
			expect_fault_of(_i, write, &(struct one){t, 32, TABLE}, 1, VIRTQ_OUTSIDE);
			// The table itself.
			expect_fault_of(_i, write, &(struct one){bad[i].gpa, 512, TABLE}, 1, VIRTQ_OUTSIDE);
		}
}
END_TEST

START_TEST(buffers_of_the_wrong_direction)
{
	for (uint16_t write = 0; write <= WRITE; write += WRITE) {
		uint64_t t = gring_alloc(32, 16);
		uint16_t wrong = write ^ WRITE;
		struct one d[2] = {{GUEST_SEAM, 20, write | NEXT, 1}, {GUEST_SEAM, 600, wrong}};

		expect_fault_of(_i, write, d + 1, 1, VIRTQ_DIRECTION);
		expect_fault_of(_i, write, d, 2, VIRTQ_DIRECTION);
		if (_i && !write)
			continue; // virtq_test.c: tables of sent frames may say that they are writable
		table_lay(t, _i, d, 2);
		expect_fault_of(_i, write, &(struct one){t, 32, TABLE}, 1, VIRTQ_DIRECTION);
	}
}
END_TEST

START_TEST(chains_that_do_not_end)
{
	for (uint16_t write = 0; write <= WRITE; write += WRITE) {
		uint16_t on = write | NEXT;
		struct one loop[4] = {{GUEST_SEAM, 1, on, 1},
				      {GUEST_SEAM, 0, on, 2},
				      {GUEST_SEAM, 1, on, 3},
				      {GUEST_SEAM, 1, on, 0}};
		uint64_t t = gring_alloc(64, 16);

		expect_fault_of(_i, write, loop, 4, VIRTQ_CHAIN);
		if (_i)
			continue;
		loop[3].next = 4; // beyond the ring, and beyond the table
		expect_fault_of(_i, write, loop, 4, VIRTQ_CHAIN);
		table_lay(t, false, loop, 4);
		expect_fault_of(_i, write, &(struct one){t, 64, TABLE}, 1, VIRTQ_CHAIN);
		loop[3].next = 1;
		table_lay(t, false, loop, 4);
		expect_fault_of(_i, write, &(struct one){t, 64, TABLE}, 1, VIRTQ_CHAIN);
	}
}
END_TEST

START_TEST(frames_of_too_many_pieces)
{
	uint16_t n = VIRTQ_MAX_PIECES + 1;
	uint64_t t = gring_alloc(n * 16, 16);

	for (uint16_t i = 0; i < n; i++)
		table_lay(t + i * 16ul, _i, &(struct one){GUEST_SEAM, 1, i + 1 < n ? NEXT : 0, i + 1}, 1);
	expect_fault_of(_i, false, &(struct one){t, n * 16, TABLE}, 1, VIRTQ_CHAIN);
}
END_TEST

START_TEST(tables_of_a_wrong_form)
{
	uint64_t t = gring_alloc(64, 16);

	for (int write = 0; write < 2; write++) {
		static const uint32_t lengths[] = {0, 8, 15, 17, 24, 16 * 32769, UINT32_MAX, UINT32_MAX - 15};

		for (size_t i = 0; i < RTE_DIM(lengths); i++)
			expect_fault_of(_i, write, &(struct one){t, lengths[i], TABLE}, 1, VIRTQ_INDIRECT);
		expect_fault_of(_i, write, &(struct one){t, 16, TABLE | NEXT, 1}, 1, VIRTQ_INDIRECT);
		if (!_i) {
			table_lay(t, false, &(struct one){t, 16, TABLE}, 1);
			expect_fault_of(_i, write, &(struct one){t, 16, TABLE}, 1, VIRTQ_INDIRECT);
		}
	}
}
END_TEST

START_TEST(frames_of_impossible_lengths)
{
	static const struct {
		uint32_t len[2];
		enum virtq_fault fault;
	} bad[] = {
	    {{0, 0}, VIRTQ_SHORT},
	    {{11, 0}, VIRTQ_SHORT},
	    {{5, 6}, VIRTQ_SHORT},
	    {{VIRTQ_MAX_FRAME + 13, 0}, VIRTQ_LONG},
	    {{1, VIRTQ_MAX_FRAME + 12}, VIRTQ_LONG},
	    {{VIRTQ_MAX_FRAME + 12, 1}, VIRTQ_LONG},
	    {{UINT32_MAX, 0}, VIRTQ_LONG},
	    {{2, UINT32_MAX}, VIRTQ_LONG},
	};

	for (size_t i = 0; i < RTE_DIM(bad); i++) {
		struct one d[2] = {{GUEST_SEAM, bad[i].len[0], NEXT, 1}, {GUEST_SEAM, bad[i].len[1], 0}};
		uint64_t t = gring_alloc(32, 16);

		expect_fault_of(_i, false, d, 2, bad[i].fault);
		table_lay(t, _i, d, 2);
		expect_fault_of(_i, false, &(struct one){t, 32, TABLE}, 1, bad[i].fault);
		d[0].flags = 0;
		if (bad[i].len[1] == 0)
			expect_fault_of(_i, false, d, 1, bad[i].fault);
	}
}
END_TEST

START_TEST(what_came_before_a_fault_is_delivered)
{
	struct guest_ring g;
	struct guest_buffer good = {GUEST_SEAM, 100}, bad = {GUEST_ISLAND - 1, 100};
	struct pkt p[4];
	uint16_t id;
	uint32_t len;

	gring_open(&g, _i, 8);
	for (int i = 0; i < 4; i++)
		gring_add(&g, i == 2 ? &bad : &good, 1, false, i == 1);
	ck_assert_uint_eq(gring_take(&worker, &g, p, 4), 2);
	gring_give_back(&g);
	ck_assert_uint_eq(g.q.fault, VIRTQ_OUTSIDE);
	ck_assert(gring_used(&g, &id, &len));
	ck_assert(gring_used(&g, &id, &len));
	ck_assert(!gring_used(&g, &id, &len));
	gring_close(&g);
}
END_TEST

// A thread that changes a transmit ring, its tables and its frames all the time

static struct guest_ring evil;
static uint64_t evil_table, evil_frames;
static _Atomic bool stop;

static uint64_t xorshift(void)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

static struct one any_one(void)
{
	static const uint64_t places[] = {GUEST_SEAM - 60, GUEST_ISLAND + 4000, GUEST_MEMORY, GUEST_ISLAND};
	static const uint32_t lengths[] = {0, 12, 13, 60, 96, 97, 300, 2000, UINT32_MAX};
	static const uint16_t flags[] = {0, 0, 0, 0, NEXT, NEXT, TABLE, WRITE};
	uint64_t x = xorshift();
	struct one d = {x & 3 ? evil_frames + x % 4096 : places[x >> 2 & 3], lengths[(x >> 8) % 9],
			flags[x >> 16 & 7], x >> 24 & 15};

	if (d.flags == TABLE) {
		d.gpa = evil_table;
		d.len = (x >> 32 & 15) * 16;
	}
	return d;
}

static void change_something(void)
{
	struct vring_desc *ring = evil.q.desc, *table = (void *)gring_va(evil_table);
	uint64_t *frames = (uint64_t *)gring_va(evil_frames), x = xorshift();
	uint16_t wrap = 0;

	if (evil.packed)
		wrap = x & 1 ? 1 << VRING_PACKED_DESC_F_AVAIL : 1 << VRING_PACKED_DESC_F_USED;
	entry_set(&ring[x >> 8 & 15], evil.packed, any_one(), wrap);
	entry_set(&table[x >> 12 & 15], evil.packed, any_one(), 0);
	frames[x >> 16 & 1023] = x;
	if (evil.packed)
		return;
	evil.q.avail->ring[x >> 32 & 15] = x >> 36 & 15;
	// At times one more than there can be.
	evil.q.avail->idx = __atomic_load_n(&evil.q.next, __ATOMIC_RELAXED) + (x >> 40 & 63) % 18;
}

static void *change_everything(void *arg)
{
	(void)arg;
	while (!stop)
		change_something();
	return NULL;
}

static bool is_inside(const void *at, uint64_t n)
{
	for (uint32_t i = 0; i < gring_memory.n; i++) {
		const struct virtq_region *m = &gring_memory.regions[i];
		uint64_t off = (uintptr_t)at - (uintptr_t)m->va;

		if (off < m->size && n <= m->size - off)
			return true;
	}
	return false;
}

static void expect_sound(const struct pkt *p)
{
	uint64_t sum = p->head_len;

	ck_assert_ptr_eq(p->data, p->head + PKT_HEADROOM);
	ck_assert_uint_le(p->head_len, PKT_HEAD);
	ck_assert_uint_le(p->len, VIRTQ_MAX_FRAME);
	for (uint16_t i = 0; i < p->n_tail; i++) {
		ck_assert(is_inside(p->tail.iov[i].iov_base, p->tail.iov[i].iov_len));
		sum += p->tail.iov[i].iov_len;
	}
	ck_assert_uint_eq(sum, p->len);
}

// Puts it into an honest guest's ring: the bytes that were looked at are those that come.
static void deliver(struct guest_ring *honest, struct pkt *p, const uint8_t *head)
{
	struct guest_buffer b = {GUEST_SEAM + 100000, VIRTQ_MAX_FRAME + VIRTIO_NET_HEADER};
	uint16_t used_id;
	uint32_t used_len;
	int id = gring_add(honest, &b, 1, true, false);

	ck_assert_uint_eq(gring_put(honest, &p, 1), 1);
	ck_assert(gring_used(honest, &used_id, &used_len));
	ck_assert_int_eq(used_id, id);
	ck_assert_uint_eq(used_len, VIRTIO_NET_HEADER + p->len);
	ck_assert_mem_eq(gring_va(b.gpa) + VIRTIO_NET_HEADER, head, p->head_len);
}

static uint32_t evil_burst(struct guest_ring *honest)
{
	static struct pkt pkts[PKT_BURST];
	static uint8_t heads[PKT_BURST][PKT_HEAD];
	uint16_t n = gring_take(&worker, &evil, pkts, PKT_BURST);

	ck_assert_uint_le(n, PKT_BURST);
	for (uint16_t i = 0; i < n; i++) {
		expect_sound(&pkts[i]);
		memcpy(heads[i], pkts[i].data, pkts[i].head_len);
	}
	for (uint16_t i = 0; i < n; i++)
		deliver(honest, &pkts[i], heads[i]);
	gring_give_back(&evil);
	return n;
}

// The guest's own receive ring is as bad.
static void evil_put(void)
{
	static uint8_t frame[700];
	static struct iovec rest;
	struct pkt p, *put[4] = {&p, &p, &p, &p};

	pkt_init_borrowed(&p, &(struct iovec){frame, sizeof(frame)}, 1, &rest, 0);
	ck_assert_uint_le(gring_put(&evil, put, 4), 4);
}

START_TEST(a_guest_that_changes_all_of_it_while_it_is_read)
{
	struct guest_ring honest;
	pthread_t thread;
	uint32_t n = 0, n_faults = 0;
	time_t end = time(NULL) + DEADLINE_S;

	gring_open(&honest, _i, 16);
	gring_open(&evil, _i, 16);
	evil.q.asks = evil.q.mergeable = true;
	evil_table = gring_alloc(16 * 16, 16);
	evil_frames = gring_alloc(2 * 8192, 64);
	stop = false;
	pthread_create(&thread, NULL, change_everything, NULL);
	while (n < LOOKS || n_faults < LOOKS / 10) {
		ck_assert_msg(time(NULL) < end, "%u packets, %u faults", n, n_faults);
		uint32_t taken = evil_burst(&honest);

		n += taken;
		if (taken == 0)
			change_something(); // on a busy machine the other thread may not run for long
		evil_put();
		if (evil.q.fault == VIRTQ_FINE)
			continue;
		n_faults++;
		evil.q.fault = VIRTQ_FINE; // set up anew
	}
	stop = true;
	pthread_join(thread, NULL);
	gring_close(&evil);
	gring_close(&honest);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtq_hostile");
	TCase *t = tcase_create("virtq_hostile");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, gring_init, NULL);
	tcase_add_test(t, entries_beyond_the_ring);
	tcase_add_loop_test(t, buffers_outside_memory, 0, 2);
	tcase_add_loop_test(t, buffers_of_the_wrong_direction, 0, 2);
	tcase_add_loop_test(t, chains_that_do_not_end, 0, 2);
	tcase_add_loop_test(t, frames_of_too_many_pieces, 0, 2);
	tcase_add_loop_test(t, tables_of_a_wrong_form, 0, 2);
	tcase_add_loop_test(t, frames_of_impossible_lengths, 0, 2);
	tcase_add_loop_test(t, what_came_before_a_fault_is_delivered, 0, 2);
	tcase_add_loop_test(t, a_guest_that_changes_all_of_it_while_it_is_read, 0, 2);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}
