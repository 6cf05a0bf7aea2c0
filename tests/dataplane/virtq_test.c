// Virtqueues, split and packed, with a driver of our own in plain memory: every layout of buffers, every
// position in the ring, and nothing written beyond what the rules allow.
//
// Each test runs once per kind of ring (_i).
#include "guest_ring.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "dp/worker.h"

#define FRAME_BYTES (VIRTQ_MAX_FRAME + VIRTIO_NET_HEADER)
#define AROUND      70000 // bytes on each side of the seam where frames lie
#define MANY        5000

static struct worker worker;
static uint8_t sent[FRAME_BYTES], got[FRAME_BYTES];

static void setup(void)
{
	gring_init();
	for (uint32_t i = 0; i < sizeof(sent); i++)
		sent[i] = i * 7 + (i >> 8) * 3 + 1;
}

static uint16_t size_for(bool packed)
{
	return packed ? 257 : 256;
}

// Layouts

// Cuts `len` bytes at gpa into a first buffer and buffers of `step`. Returns how many.
static uint16_t cut(struct guest_buffer *b, uint64_t gpa, uint32_t len, uint32_t first, uint32_t step)
{
	uint16_t n = 0;

	for (uint32_t take = first; len > 0; take = step) {
		take = RTE_MIN(take, len);
		b[n++] = (struct guest_buffer){gpa, take};
		gpa += take;
		len -= take;
	}
	return n;
}

// Taking

static void expect_taken(struct guest_ring *g, const struct pkt *p, uint32_t frame)
{
	struct virtio_net_hdr_v1 vnet = {0};

	if (g->q.asks)
		memcpy(&vnet, sent, g->q.header);
	ck_assert_uint_eq(p->len, frame);
	ck_assert_uint_eq(p->src, 7);
	ck_assert_uint_eq(p->head_len, RTE_MIN(frame, PKT_HEAD));
	ck_assert_ptr_eq(p->data, p->head + PKT_HEADROOM);
	ck_assert_mem_eq(&p->vnet, &vnet, sizeof(vnet));
	gring_pkt_bytes(p, got);
	ck_assert_mem_eq(got, sent + g->q.header, frame);
}

static void take_one(struct guest_ring *g, const struct guest_buffer *b, uint16_t n, uint32_t frame)
{
	for (int indirect = 0; indirect < 2; indirect++) {
		int id = gring_add(g, b, n, false, indirect);
		struct pkt p;

		ck_assert_int_ge(id, 0);
		ck_assert_uint_eq(gring_take(&worker, g, &p, 1), 1);
		expect_taken(g, &p, frame);
		gring_expect_none_used(g);
		gring_give_back(g);
		gring_expect_used(g, id, 0);
		gring_expect_none_used(g);
	}
}

static const uint32_t frames[] = {1,   14,  15,  17,  31,   32,   33,   59,    60,    63,
				  64,  65,  95,  96,  97,   127,  128,  129,   140,   141,
				  200, 256, 512, 999, 1514, 1518, 9014, 16384, 65535, VIRTQ_MAX_FRAME};

START_TEST(frames_of_every_size_are_taken_from_any_layout)
{
	struct guest_ring g;
	struct guest_buffer b[VIRTQ_MAX_PIECES];

	gring_open(&g, _i, size_for(_i));
	for (size_t i = 0; i < RTE_DIM(frames); i++)
		for (int variant = 0; variant < 4; variant++) {
			g.q.header = variant & 1 ? 10 : VIRTIO_NET_HEADER;
			g.q.asks = variant & 2;
			uint32_t len = g.q.header + frames[i];

			gring_write(GUEST_SEAM - len - 1, sent, len);
			take_one(&g, b, cut(b, GUEST_SEAM - len - 1, len, len, len), frames[i]);
			take_one(&g, b, cut(b, GUEST_SEAM - len - 1, len, g.q.header, 4096), frames[i]);
			gring_write(GUEST_SEAM - len / 2, sent, len);
			take_one(&g, b, cut(b, GUEST_SEAM - len / 2, len, len, len), frames[i]);
			take_one(&g, b, cut(b, GUEST_SEAM - len / 2, len, 3, 1 + len / 100), frames[i]);
		}
	gring_close(&g);
}
END_TEST

START_TEST(headers_are_taken_from_any_bytes)
{
	struct guest_ring g;
	struct guest_buffer b[VIRTQ_MAX_PIECES];

	gring_open(&g, _i, size_for(_i));
	g.q.asks = true;
	gring_write(GUEST_SEAM - 40, sent, 200 + 12);
	for (uint32_t first = 1; first < 60; first++)
		for (uint32_t step = 1; step < 20; step++)
			take_one(&g, b, cut(b, GUEST_SEAM - 40, 200 + 12, first, step), 200);
	gring_close(&g);
}
END_TEST

// DPDK's driver calls every buffer of a packed table writable, those of frames that it sends, too.
START_TEST(tables_of_sent_frames_may_say_that_they_are_writable)
{
	struct guest_ring g;
	struct guest_buffer b[2];
	struct pkt p;
	uint16_t n = cut(b, GUEST_SEAM, 200 + 12, 12, 200);

	gring_open(&g, true, 4);
	gring_write(GUEST_SEAM, sent, 200 + 12);
	int id = gring_add(&g, b, n, false, true);
	struct vring_packed_desc *table = (void *)gring_va(g.q.packed[0].addr);

	for (uint16_t i = 0; i < n; i++)
		table[i].flags = VRING_DESC_F_WRITE;
	ck_assert_uint_eq(gring_take(&worker, &g, &p, 1), 1);
	expect_taken(&g, &p, 200);
	gring_give_back(&g);
	gring_expect_used(&g, id, 0);
	gring_close(&g);
}
END_TEST

START_TEST(a_burst_ends_where_the_worker_has_no_room_for_more_pieces)
{
	struct guest_ring g;
	struct guest_buffer b[VIRTQ_MAX_PIECES];
	struct pkt p[PKT_BURST];
	uint16_t n = cut(b, GUEST_SEAM, 300, 50, 1), n_frames = 12, taken = 0, n_bursts = 0;

	gring_open(&g, _i, 16);
	gring_write(GUEST_SEAM, sent, 300);
	for (uint16_t i = 0; i < n_frames; i++)
		gring_add(&g, b, n, false, true);
	for (; taken < n_frames; n_bursts++) {
		uint16_t got_n = gring_take(&worker, &g, p, PKT_BURST);

		ck_assert_uint_gt(got_n, 0);
		for (uint16_t i = 0; i < got_n; i++)
			expect_taken(&g, &p[i], 300 - VIRTIO_NET_HEADER);
		taken += got_n;
		gring_give_back(&g);
	}
	ck_assert_uint_gt(n_bursts, 1);
	ck_assert_uint_eq(g.q.fault, VIRTQ_FINE);
	gring_close(&g);
}
END_TEST

// Putting

// A packet with the frame sent[0 .. len): owned, in segments of `step`, or borrowed.
struct source {
	struct pkt p;
	struct rte_mbuf m[VIRTQ_MAX_PIECES];
	struct iovec iov[VIRTQ_MAX_PIECES];
};

static struct pkt *borrowed(struct source *s, uint32_t len, uint32_t step)
{
	struct iovec from[VIRTQ_MAX_PIECES];
	uint16_t n = 0;

	for (uint32_t at = 0; at < len; at += step)
		from[n++] = (struct iovec){sent + at, RTE_MIN(step, len - at)};
	pkt_init_borrowed(&s->p, from, n, s->iov, 0);
	return &s->p;
}

static struct pkt *owned(struct source *s, uint32_t len, uint32_t step)
{
	uint16_t n = 0;

	for (uint32_t at = 0; at < len; at += step, n++) {
		s->m[n] = (struct rte_mbuf){.buf_addr = sent + at, .data_len = RTE_MIN(step, len - at)};
		if (n > 0)
			s->m[n - 1].next = &s->m[n];
	}
	s->m[0].pkt_len = len;
	s->m[0].nb_segs = n;
	pkt_init_owned(&s->p, s->m, 0);
	return &s->p;
}

static void header_expect(const struct guest_ring *g, const struct pkt *p, uint16_t n_buffers, uint8_t *to)
{
	struct virtio_net_hdr_v1 h = p->vnet;

	h.num_buffers = n_buffers;
	memcpy(to, &h, g->q.header);
}

static void memory_fill(uint64_t gpa, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		*gring_va(gpa + i) = GUEST_UNTOUCHED;
}

// Puts it into one chain with `spare` more bytes than needed; nothing else may have changed.
static void put_one(struct guest_ring *g, struct pkt *p, uint64_t gpa, uint32_t first, uint32_t step,
		    uint32_t spare)
{
	struct guest_buffer b[VIRTQ_MAX_PIECES];
	uint32_t need = g->q.header + p->len;
	uint8_t want[FRAME_BYTES];

	p->vnet =
	    (struct virtio_net_hdr_v1){.flags = 1, .gso_type = 4, .gso_size = 999, .csum_offset = 0x1234};
	header_expect(g, p, 1, want);
	memcpy(want + g->q.header, sent, p->len);
	for (int indirect = 0; indirect < 2; indirect++) {
		memory_fill(gpa, need);
		uint64_t before = gring_sum(GUEST_SEAM - AROUND, 2 * AROUND);
		int id = gring_add(g, b, cut(b, gpa, need + spare, first, step), true, indirect);

		ck_assert_uint_eq(gring_put(g, &p, 1), 1);
		gring_expect_used(g, id, need);
		gring_expect_none_used(g);
		gring_read(got, gpa, need);
		ck_assert_mem_eq(got, want, need);
		memory_fill(gpa, need); // and without the frame all is as it was
		ck_assert_uint_eq(gring_sum(GUEST_SEAM - AROUND, 2 * AROUND), before);
	}
}

START_TEST(frames_of_every_size_are_put_into_any_layout)
{
	struct guest_ring g;
	static struct source s;

	gring_open(&g, _i, 64);
	for (size_t i = 0; i < RTE_DIM(frames); i++)
		for (int variant = 0; variant < 4; variant++) {
			uint32_t len = frames[i], step = len / 20 + 1;
			struct pkt *p = variant & 2 ? owned(&s, len, step) : borrowed(&s, len, step);

			g.q.header = variant & 1 ? 10 : VIRTIO_NET_HEADER;
			put_one(&g, p, GUEST_SEAM - len - 100, len + 100, 1, 0);
			put_one(&g, p, GUEST_SEAM - len - 100, g.q.header, len, 0);
			put_one(&g, p, GUEST_SEAM - len / 2 - 6, len + 100, 1, 60);
			put_one(&g, p, GUEST_SEAM - len / 2 - 6, 5, len / 30 + 1, 5);
		}
	gring_close(&g);
}
END_TEST

START_TEST(headers_are_put_into_any_bytes)
{
	struct guest_ring g;
	static struct source s;
	struct pkt *p = borrowed(&s, 180, 150);

	gring_open(&g, _i, size_for(_i));
	for (uint32_t first = 1; first < 40; first += 3)
		for (uint32_t step = 1; step < 10; step += 4)
			put_one(&g, p, GUEST_SEAM - 20, first, step, 1);
	gring_close(&g);
}
END_TEST

START_TEST(a_header_that_matches_is_left_alone)
{
	struct guest_ring g;
	static struct source s;
	struct guest_buffer b = {GUEST_SEAM + 1000, 2000};
	struct pkt *p = borrowed(&s, 60, 60);
	uint8_t want[VIRTIO_NET_HEADER];

	gring_open(&g, _i, 64);
	for (int i = 0; i < 256; i++) {
		p->vnet.flags = i;
		p->vnet.num_buffers = 77; // the sender's
		header_expect(&g, p, 1, want);
		for (int again = 0; again < 2; again++) {
			int id = gring_add(&g, &b, 1, true, false);

			ck_assert_uint_eq(gring_put(&g, &p, 1), 1);
			gring_expect_used(&g, id, 72);
			ck_assert_mem_eq(gring_va(b.gpa), want, sizeof(want));
		}
	}
	gring_close(&g);
}
END_TEST

static void mergeable_put(struct guest_ring *g, struct pkt *p, uint32_t room, uint16_t n_pieces)
{
	struct guest_buffer b[4];
	uint32_t need = g->q.header + p->len, n = (need + room - 1) / room, at = 0;
	uint8_t want[VIRTIO_NET_HEADER];
	int id[VIRTQ_MAX_PIECES];

	for (uint32_t i = 0; i < n; i++) {
		uint16_t pieces = cut(b, GUEST_SEAM + i * 70000ull, room, room - n_pieces + 1, 1);

		id[i] = gring_add(g, b, pieces, true, i % 3 == 1);
		if (i + 1 < n) // not before the last one is there
			ck_assert_uint_eq(gring_put(g, &p, 1), 0);
	}
	gring_expect_none_used(g);
	ck_assert_uint_eq(gring_put(g, &p, 1), 1);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t len = RTE_MIN(room, need - at);

		gring_expect_used(g, id[i], len);
		gring_read(got + at, GUEST_SEAM + i * 70000ull, len);
		at += len;
	}
	gring_expect_none_used(g);
	ck_assert_uint_eq(at, need);
	header_expect(g, p, n, want);
	ck_assert_mem_eq(got, want, g->q.header);
	ck_assert_mem_eq(got + g->q.header, sent, p->len);
}

START_TEST(frames_are_put_into_as_many_mergeable_buffers_as_they_need)
{
	static const uint32_t rooms[] = {5, 11, 12, 13, 60, 1526, 4096, 65562};
	struct guest_ring g;
	static struct source s;

	gring_open(&g, _i, 256);
	g.q.mergeable = true;
	for (size_t i = 0; i < RTE_DIM(frames); i++)
		for (size_t k = 0; k < RTE_DIM(rooms); k++)
			if (frames[i] + 12 <= rooms[k] * 80) {
				mergeable_put(&g, borrowed(&s, frames[i], 300), rooms[k], 1);
				mergeable_put(&g, owned(&s, frames[i], 700), rooms[k], 3);
			}
	gring_close(&g);
}
END_TEST

static uint64_t everything(void)
{
	return gring_sum(GUEST_MEMORY, gring_end() - GUEST_MEMORY) ^
	       gring_sum(GUEST_SEAM - AROUND, 2 * AROUND);
}

START_TEST(what_does_not_fit_changes_nothing)
{
	struct guest_ring g;
	static struct source s;
	struct pkt *p = borrowed(&s, 500, 500);
	struct guest_buffer small = {GUEST_SEAM, 300}, tiny[200];

	gring_open(&g, _i, 512);
	ck_assert_uint_eq(gring_put(&g, &p, 1), 0);
	ck_assert(!g.q.unfit);
	gring_add(&g, &small, 1, true, false);
	gring_add(&g, &small, 1, true, true);
	uint64_t before = everything();

	ck_assert_uint_eq(gring_put(&g, &p, 1), 0); // not mergeable
	ck_assert(g.q.unfit);
	g.q.mergeable = true;
	p = borrowed(&s, 600, 600);
	ck_assert_uint_eq(gring_put(&g, &p, 1), 0); // both hold too little
	ck_assert(!g.q.unfit);
	ck_assert_uint_eq(everything(), before);
	// More pieces than one frame may have are no fault of a guest.
	gring_close(&g);
	gring_open(&g, _i, 512);
	g.q.mergeable = true;
	for (int i = 0; i < 2; i++)
		gring_add(&g, tiny, cut(tiny, GUEST_SEAM, 200, 1, 1), true, false);
	p = borrowed(&s, 300, 300);
	before = everything();
	ck_assert_uint_eq(gring_put(&g, &p, 1), 0);
	ck_assert(g.q.unfit);
	ck_assert_uint_eq(everything(), before);
	ck_assert_uint_eq(g.q.fault, VIRTQ_FINE);
	p = borrowed(&s, 150, 150);
	ck_assert_uint_eq(gring_put(&g, &p, 1), 1);
	gring_close(&g);
}
END_TEST

// Many packets through small rings, in bursts of any length, chains of 1 to 3.

static const uint16_t sizes[2][6] = {{1, 2, 4, 32, 128, 32768}, {1, 2, 3, 33, 100, 32768}};

static void stamp(uint64_t gpa, uint32_t seq)
{
	memcpy(gring_va(gpa) + 12, &seq, sizeof(seq));
}

static void take_many(struct guest_ring *g, uint32_t n)
{
	uint64_t room = gring_alloc(64 * 256, 64);
	uint32_t put = 0, taken = 0, completed = 0;
	int ids[256];

	while (completed < n) {
		struct pkt p[PKT_BURST];
		uint16_t got_n, want = 1 + rand() % PKT_BURST;

		for (int burst = rand() % 64; burst > 0 && put - completed < 256; burst--) {
			uint64_t gpa = room + put % 256 * 64;
			struct guest_buffer b[3] = {{gpa, 12}, {gpa + 12, 4}, {gpa + 16, 30}};
			struct guest_buffer whole = {gpa, 46};
			bool parts = rand() % 3 == 0 && g->size >= 3;

			stamp(gpa, put);
			ids[put % 256] =
			    gring_add(g, parts ? b : &whole, parts ? 3 : 1, false, rand() % 7 == 0);
			if (ids[put % 256] < 0)
				break;
			put++;
		}
		got_n = gring_take(&worker, g, p, want);
		ck_assert_uint_eq(got_n, RTE_MIN(want, put - taken));
		for (uint16_t i = 0; i < got_n; i++, taken++) {
			ck_assert_uint_eq(p[i].len, 34);
			ck_assert_mem_eq(p[i].data, &taken, sizeof(taken));
		}
		gring_give_back(g);
		for (; completed < taken; completed++)
			gring_expect_used(g, ids[completed % 256], 0);
		gring_expect_none_used(g);
	}
}

static void put_many(struct guest_ring *g, uint32_t n)
{
	static struct source s[PKT_BURST * 2];
	static uint8_t bytes[RTE_DIM(s)][60];
	uint64_t room = gring_alloc(64 * 256, 64);
	uint32_t posted = 0, done = 0;
	int ids[256];

	while (done < n) {
		struct pkt *p[RTE_DIM(s)];
		uint16_t want = 1 + rand() % RTE_DIM(s), n_put;

		for (int burst = rand() % 64; burst > 0 && posted - done < 256; burst--) {
			uint64_t gpa = room + posted % 256 * 64;
			struct guest_buffer b[3] = {{gpa, 5}, {gpa + 5, 20}, {gpa + 25, 39}};
			struct guest_buffer whole = {gpa, 64};
			bool parts = rand() % 5 == 0 && g->size >= 3;

			ids[posted % 256] =
			    gring_add(g, parts ? b : &whole, parts ? 3 : 1, true, rand() % 9 == 0);
			if (ids[posted % 256] < 0)
				break;
			posted++;
		}
		for (uint16_t i = 0; i < want; i++) {
			struct iovec iov = {bytes[i], 52};
			uint32_t seq = done + i;

			memcpy(bytes[i], &seq, sizeof(seq));
			pkt_init_borrowed(&s[i].p, &iov, 1, s[i].iov, 0);
			p[i] = &s[i].p;
		}
		n_put = gring_put(g, p, want);
		ck_assert_uint_eq(n_put, RTE_MIN(want, posted - done));
		for (uint16_t i = 0; i < n_put; i++, done++) {
			gring_expect_used(g, ids[done % 256], 64);
			ck_assert_mem_eq(gring_va(room + done % 256 * 64) + 12, &done, sizeof(done));
		}
		gring_expect_none_used(g);
	}
}

START_TEST(rings_of_every_size_go_round_many_times)
{
	for (size_t i = 0; i < RTE_DIM(sizes[0]); i++)
		for (int late = 0; late < 2; late++) {
			struct guest_ring g;
			uint16_t size = sizes[_i][i], at = _i ? size - 1 : 65530;
			uint32_t n = RTE_MIN(MANY, size * 50);

			gring_open(&g, _i, size);
			if (late)
				gring_start_at(&g, at, false);
			take_many(&g, n);
			gring_close(&g);
			gring_open(&g, _i, size);
			if (late)
				gring_start_at(&g, at, false);
			put_many(&g, n);
			gring_close(&g);
			gring_init();
		}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtq");
	TCase *t = tcase_create("virtq");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, frames_of_every_size_are_taken_from_any_layout, 0, 2);
	tcase_add_loop_test(t, headers_are_taken_from_any_bytes, 0, 2);
	tcase_add_test(t, tables_of_sent_frames_may_say_that_they_are_writable);
	tcase_add_loop_test(t, a_burst_ends_where_the_worker_has_no_room_for_more_pieces, 0, 2);
	tcase_add_loop_test(t, frames_of_every_size_are_put_into_any_layout, 0, 2);
	tcase_add_loop_test(t, headers_are_put_into_any_bytes, 0, 2);
	tcase_add_loop_test(t, a_header_that_matches_is_left_alone, 0, 2);
	tcase_add_loop_test(t, frames_are_put_into_as_many_mergeable_buffers_as_they_need, 0, 2);
	tcase_add_loop_test(t, what_does_not_fit_changes_nothing, 0, 2);
	tcase_add_loop_test(t, rings_of_every_size_go_round_many_times, 0, 2);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}
