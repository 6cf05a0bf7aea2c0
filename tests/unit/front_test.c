// The guests of tools/bench/front: rings against a back end in the same memory, sequences, latencies, frames.

#include "tools/bench/front/front.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 16, NEXT = 1, AVAIL = 1 << 7, USED = 1 << 15 };

struct side { // the switch's view of a ring
	struct ring ring;
	void *memory;
	uint16_t at, used_at;
	bool wrap, used_wrap;
};

static struct side side_of(bool packed, bool in_order, bool event_idx, bool receive)
{
	struct ring_conf c = {SIZE, packed, in_order, event_idx, receive};
	struct side s = {.memory = aligned_alloc(4096, ring_bytes(&c)), .wrap = true, .used_wrap = true};
	memset(s.memory, 0, ring_bytes(&c));
	ck_assert_int_eq(ring_init(&s.ring, &c, s.memory), 0);
	return s;
}

static void side_free(struct side *s)
{
	ring_fini(&s->ring);
	free(s->memory);
}

static bool split_next(struct side *s, uint16_t *id, uint32_t *off, unsigned *n)
{
	struct ring *r = &s->ring;
	if (s->at == r->avail->idx)
		return false;
	struct ring_desc *d = &r->desc[ *id = r->avail->ring[s->at++ % SIZE]];
	*off = d->addr - RING_GPA;
	for (*n = 1; d->flags & NEXT; ++*n)
		d = &r->desc[d->next];
	return true;
}

static bool packed_next(struct side *s, uint16_t *id, uint32_t *off, unsigned *n)
{
	bool more = true;
	for (*n = 0; more; ++*n) {
		struct ring_pdesc *d = &s->ring.pdesc[s->at];
		if (!!(d->flags & AVAIL) != s->wrap || !!(d->flags & USED) == s->wrap)
			return false;
		if (*n == 0)
			*off = d->addr - RING_GPA;
		*id = d->id;
		more = d->flags & NEXT;
		if (++s->at == SIZE) {
			s->at = 0;
			s->wrap = !s->wrap;
		}
	}
	return true;
}

// What the switch finds next: a frame of n buffers.
static bool back_next(struct side *s, uint16_t *id, uint32_t *off, unsigned *n)
{
	return s->ring.conf.packed ? packed_next(s, id, off, n) : split_next(s, id, off, n);
}

// Completes a frame of n buffers; `skip` further ring entries are jumped over, as in order may be done.
static void back_use(struct side *s, uint16_t id, uint32_t len, unsigned n, unsigned skip)
{
	struct ring *r = &s->ring;
	if (!r->conf.packed) {
		r->used->ring[s->used_at % SIZE].id = id;
		r->used->ring[s->used_at % SIZE].len = len;
		r->used->idx = s->used_at += 1 + skip;
		return;
	}
	r->pdesc[s->used_at] = (struct ring_pdesc){0, len, id, s->used_wrap ? AVAIL | USED : 0};
	s->used_at += n + skip;
	if (s->used_at >= SIZE) {
		s->used_at -= SIZE;
		s->used_wrap = !s->used_wrap;
	}
}

static void post(struct ring *r, uint32_t off, unsigned n)
{
	struct seg segs[RING_SEGS];
	for (unsigned i = 0; i < n; i++)
		segs[i] = (struct seg){off + i, 100};
	ring_post(r, segs, n);
}

START_TEST(frames_of_any_length_go_round)
{
	struct side s = side_of(_i, false, false, false);
	struct seg out[SIZE + RING_SEGS];
	uint16_t id;
	uint32_t off;
	unsigned n, len;
	for (uint32_t k = 0; k < 1000; k++) {
		len = 1 + k % 5;
		post(&s.ring, k * 10, len);
		ck_assert(!back_next(&s, &id, &off, &n)); // not before it is published
		ck_assert(ring_publish(&s.ring));
		ck_assert(!ring_publish(&s.ring));
		ck_assert(back_next(&s, &id, &off, &n));
		ck_assert_uint_eq(off, k * 10);
		ck_assert_uint_eq(n, len);
		ck_assert_uint_eq(ring_held(&s.ring), len);
		ck_assert_uint_eq(ring_take(&s.ring, out, SIZE + RING_SEGS), 0);
		back_use(&s, id, 7, n, 0);
		ck_assert_uint_eq(ring_take(&s.ring, out, SIZE + RING_SEGS), len);
		for (unsigned i = 0; i < len; i++)
			ck_assert_uint_eq(out[i].off, k * 10 + i);
		ck_assert_uint_eq(out[0].len, 7);
		ck_assert_uint_eq(ring_base(&s.ring), s.used_at | (_i && s.used_wrap) << 15);
	}
	ck_assert_uint_eq(s.ring.errors, 0);
	side_free(&s);
}
END_TEST

START_TEST(completions_out_of_order_name_their_buffers)
{
	struct side s = side_of(_i, false, false, true);
	struct seg out[SIZE + RING_SEGS];
	uint16_t ids[4];
	uint32_t offs[4];
	unsigned n;
	for (uint32_t turn = 0; turn < 100; turn++) {
		for (unsigned i = 0; i < 4; i++)
			post(&s.ring, turn * 4 + i, 1);
		ring_publish(&s.ring);
		for (unsigned i = 0; i < 4; i++)
			ck_assert(back_next(&s, &ids[i], &offs[i], &n));
		for (unsigned i = 4; i-- > 0;)
			back_use(&s, ids[i], i, 1, 0);
		ck_assert_uint_eq(ring_take(&s.ring, out, SIZE + RING_SEGS), 4);
		for (unsigned i = 0; i < 4; i++) {
			ck_assert_uint_eq(out[i].off, turn * 4 + 3 - i);
			ck_assert_uint_eq(out[i].len, 3 - i);
		}
	}
	ck_assert_uint_eq(s.ring.errors, 0);
	side_free(&s);
}
END_TEST

START_TEST(in_order_one_completion_stands_for_all_before_it)
{
	struct side s = side_of(_i, true, false, false);
	struct seg out[SIZE + RING_SEGS];
	uint16_t id = 0;
	uint32_t off;
	unsigned n;
	for (uint32_t turn = 0; turn < 100; turn++) {
		for (unsigned i = 0; i < 5; i++)
			post(&s.ring, turn * 5 + i, 1);
		ring_publish(&s.ring);
		for (unsigned i = 0; i < 5; i++)
			ck_assert(back_next(&s, &id, &off, &n));
		back_use(&s, id, 0, 1, 4);
		ck_assert_uint_eq(ring_take(&s.ring, out, SIZE + RING_SEGS), 5);
		for (unsigned i = 0; i < 5; i++)
			ck_assert_uint_eq(out[i].off, turn * 5 + i);
		ck_assert_uint_eq(ring_held(&s.ring), 0);
	}
	ck_assert_uint_eq(s.ring.errors, 0);
	side_free(&s);
}
END_TEST

START_TEST(what_was_never_posted_is_an_error)
{
	struct side s = side_of(_i, false, false, false);
	struct seg out[SIZE + RING_SEGS];
	post(&s.ring, 0, 1);
	ring_publish(&s.ring);
	back_use(&s, SIZE - 1, 0, 1, 0);
	ck_assert_uint_eq(ring_take(&s.ring, out, SIZE + RING_SEGS), 0);
	back_use(&s, 60000, 0, 1, 0);
	ck_assert_uint_eq(ring_take(&s.ring, out, SIZE + RING_SEGS), 0);
	ck_assert_uint_eq(s.ring.errors, 2);
	side_free(&s);
}
END_TEST

START_TEST(a_switch_that_polls_is_not_kicked)
{
	struct side s = side_of(_i, false, false, false);
	post(&s.ring, 0, 1);
	if (_i)
		s.ring.device->flags = 1;
	else
		s.ring.used->flags = 1;
	ck_assert(!ring_publish(&s.ring));
	if (_i)
		s.ring.device->flags = 0;
	else
		s.ring.used->flags = 0;
	post(&s.ring, 1, 1);
	ck_assert(ring_publish(&s.ring));
	ck_assert_uint_eq(_i ? s.ring.driver->flags : s.ring.avail->flags, 1); // nor does it interrupt
	side_free(&s);
}
END_TEST

// The switch asks to be kicked when what stands at position 3 is published.
START_TEST(a_kick_comes_when_the_asked_for_position_is_passed)
{
	struct side s = side_of(_i, false, true, false);
	if (_i)
		*s.ring.device = (struct ring_event){3 | 1 << 15, 2};
	else
		*(uint16_t *)&s.ring.used->ring[SIZE] = 3;
	for (unsigned i = 0; i < 6; i++) {
		post(&s.ring, i, 1);
		ck_assert_int_eq(ring_publish(&s.ring), i == 3);
	}
	side_free(&s);
}
END_TEST

static struct counts seen(unsigned n, const uint32_t *seqs)
{
	struct counts c = {0};
	struct seq s = {0};
	for (unsigned i = 0; i < n; i++)
		seq_seen(&s, seqs[i], &c);
	return c;
}

START_TEST(sequences_tell_loss_repetition_and_order)
{
	struct counts c = seen(4, (uint32_t[]){0, 1, 2, 3});
	ck_assert(c.lost == 0 && c.dup == 0 && c.late == 0);
	c = seen(3, (uint32_t[]){0, 1, 4});
	ck_assert(c.lost == 2 && c.dup == 0 && c.late == 0);
	c = seen(4, (uint32_t[]){0, 2, 1, 3});
	ck_assert(c.lost == 0 && c.dup == 0 && c.late == 1);
	c = seen(5, (uint32_t[]){0, 2, 1, 1, 3});
	ck_assert(c.lost == 0 && c.dup == 1 && c.late == 1);
	c = seen(4, (uint32_t[]){0, 1, 1, 2});
	ck_assert(c.lost == 0 && c.dup == 1 && c.late == 0);
	c = seen(3, (uint32_t[]){200, 0, 199});
	ck_assert(c.lost == 198 || c.lost == 199);
	ck_assert_uint_eq(c.late, 2);
}
END_TEST

START_TEST(quantiles_are_within_four_percent)
{
	static struct hist h, none;
	for (uint64_t v = 1; v <= 100000; v++)
		hist_add(&h, v);
	ck_assert_uint_eq(hist_count(&h), 100000);
	ck_assert_double_eq_tol(hist_quantile(&h, 0.5), 50000, 2000);
	ck_assert_double_eq_tol(hist_quantile(&h, 0.999), 99900, 4000);
	ck_assert_uint_eq(h.max, 100000);
	ck_assert_uint_eq(hist_quantile(&none, 0.5), 0);
	hist_add(&h, UINT64_MAX);
	ck_assert_uint_eq(h.max, UINT64_MAX);
}
END_TEST

static uint16_t ones_sum(const uint8_t *p, unsigned n, uint32_t sum)
{
	for (unsigned i = 0; i < n; i += 2)
		sum += p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

START_TEST(each_flow_comes_once_per_turn_and_reads_back)
{
	static bool came[2][1000];
	struct packet_conf c = {
	    .flows = 1000, .macs = 7, .sizes = {64, 1514}, .n_sizes = 2, .tcp = _i, .stamp = true};
	struct packet_source s;
	struct packet_view v;
	uint8_t f[1514] = {0};
	memset(came, 0, sizeof(came));
	packet_source_init(&s, &c, 300, 301);
	for (unsigned i = 0; i < 2000; i++) {
		memset(f + PACKET_HEAD, 0, sizeof(f) - PACKET_HEAD);
		unsigned len = packet_write(&s, f, i + 5);
		ck_assert_uint_eq(len, i % 2 ? 1514 : 64);
		ck_assert(packet_is(f, 300, 301) && !packet_is(f, 301, 300) && !packet_is(f, 300, 302));
		ck_assert(packet_read(&c, f, len, &v));
		ck_assert_uint_eq(v.seq, i / 1000);
		ck_assert_uint_eq(v.tsc, i + 5);
		ck_assert(!came[v.seq][v.flow]);
		came[v.seq][v.flow] = true;
		ck_assert_uint_eq(f[5], v.flow % 7);
		ck_assert_uint_eq(ones_sum(f + 14, 20, 0), 0xffff);
		if (_i)
			ck_assert_uint_eq(ones_sum(f + 34, len - 34, ones_sum(f + 26, 8, 6 + len - 34)),
					  0xffff);
	}
}
END_TEST

START_TEST(announcements_are_known)
{
	uint8_t f[PACKET_HEAD];
	uint32_t n;
	packet_announce(f, 999, 70000);
	ck_assert(packet_is_announce(f, 999, &n));
	ck_assert_uint_eq(n, 70000);
	ck_assert(!packet_is_announce(f, 998, &n));
	ck_assert(!packet_is(f, 999, 998));
}
END_TEST

// Every layout describes the same bytes, each once and in order.
START_TEST(shapes_cover_a_frame)
{
	static _Alignas(64) char region[8192];
	static const uint32_t lengths[] = {72, 73, 300, 4000};
	for (unsigned turn = 0; turn < 100; turn++) {
		struct ring r = {.conf.packed = _i >= N_LAYOUTS};
		struct ring_desc d[SHAPE_PIECES];
		enum layout l = _i % N_LAYOUTS;
		uint32_t off = SHAPE_HEAD, len = lengths[turn % 4], at = 0;
		unsigned n = shape_make(l, &r, region, off, len, turn, d);
		ck_assert_uint_le(n, layout_most(l));
		for (unsigned i = 0; i < n; i++) {
			struct ring_desc *t = &d[i], *end = t + 1;
			if (d[i].flags & 4) {
				t = (void *)(region + d[i].addr - RING_GPA);
				end = t + d[i].len / sizeof(*t);
			}
			for (; t < end; at += t++->len)
				ck_assert_uint_eq(t->addr, RING_GPA + off + at);
		}
		ck_assert_uint_eq(at, len);
	}
}
END_TEST

START_TEST(streams_are_checked_whole_and_in_part)
{
	static uint8_t f[65536];
	static const struct stream_conf confs[] = {
	    {OFFLOAD_NONE, .frame_bytes = 1514, .gso_bytes = 1448},
	    {OFFLOAD_NONE, .udp = true, .ip6 = true, .frame_bytes = 1001, .gso_bytes = 1448},
	    {OFFLOAD_CSUM, .udp = true, .frame_bytes = 200, .gso_bytes = 1448},
	    {OFFLOAD_TSO4, .ecn = true, .frame_bytes = 65535, .gso_bytes = 1448},
	    {OFFLOAD_TSO6, .ip6 = true, .frame_bytes = 30000, .gso_bytes = 1440},
	    {OFFLOAD_UFO, .udp = true, .frame_bytes = 20000, .gso_bytes = 1480},
	    {OFFLOAD_USO, .udp = true, .ip6 = true, .frame_bytes = 9000, .gso_bytes = 1400},
	};
	const struct stream_conf *c = &confs[_i];
	struct arrivals a = {0};
	struct virtio_header h;
	struct stream s;
	stream_init(&s, c, 3, 4);
	for (unsigned i = 0; i < 10; i++) {
		unsigned len = stream_write(&s, &h, f);
		h.num_buffers = 1;
		ck_assert_uint_eq(stream_check(c, 3, &h, f, len, &a), stream_payload(c));
	}
	ck_assert(a.bad_header == 0 && a.bad_checksum == 0 && a.bad_payload == 0 && a.uncounted == 0);
	ck_assert(a.bytes == s.bytes && a.sum == s.sum);
	ck_assert_uint_eq(a.gso, c->offload > OFFLOAD_CSUM ? 10 : 0);
	f[c->frame_bytes - 9] ^= 1;
	stream_check(c, 3, &h, f, c->frame_bytes, &a);
	ck_assert_uint_eq(a.bad_payload, 1);
	ck_assert_uint_eq(a.bad_checksum, c->offload == OFFLOAD_NONE);
	h.csum_start++;
	stream_check(c, 3, &h, f, c->frame_bytes, &a);
	ck_assert_uint_eq(a.bad_header, c->offload != OFFLOAD_NONE);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("front");
	TCase *t = tcase_create("front");
	tcase_add_loop_test(t, frames_of_any_length_go_round, 0, 2);
	tcase_add_loop_test(t, completions_out_of_order_name_their_buffers, 0, 2);
	tcase_add_loop_test(t, in_order_one_completion_stands_for_all_before_it, 0, 2);
	tcase_add_loop_test(t, what_was_never_posted_is_an_error, 0, 2);
	tcase_add_loop_test(t, a_switch_that_polls_is_not_kicked, 0, 2);
	tcase_add_loop_test(t, a_kick_comes_when_the_asked_for_position_is_passed, 0, 2);
	tcase_add_test(t, sequences_tell_loss_repetition_and_order);
	tcase_add_test(t, quantiles_are_within_four_percent);
	tcase_add_loop_test(t, each_flow_comes_once_per_turn_and_reads_back, 0, 2);
	tcase_add_test(t, announcements_are_known);
	tcase_add_loop_test(t, shapes_cover_a_frame, 0, 2 * N_LAYOUTS);
	tcase_add_loop_test(t, streams_are_checked_whole_and_in_part, 0, 7);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
