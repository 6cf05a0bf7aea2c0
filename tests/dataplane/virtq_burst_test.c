// Virtqueues, bursts in which one buffer is unlike the others: in other memory, in pieces, or against the rules. Rings
// check several descriptors at once (hv/virtq_quad.h); whatever stands where, each frame comes as if it were alone.
//
// Each test runs once per kind of ring (_i).
#include "guest_ring.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "dp/worker.h"

#define SEVERAL 11
#define BYTES   2000 // of the longest frame
#define WRITE   VRING_DESC_F_WRITE
#define NEXT    VRING_DESC_F_NEXT
#define TABLE   VRING_DESC_F_INDIRECT

static struct worker worker;
static uint8_t bytes[VIRTIO_NET_HEADER + BYTES]; // of every frame
static struct pkt pkts[SEVERAL], *list[SEVERAL];
static struct iovec rest[SEVERAL];

static void setup(void)
{
	gring_init();
	for (uint32_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i * 7 + (i >> 8) * 3 + 1;
}

static void pkts_make(int i, uint32_t len)
{
	pkt_init_borrowed(&pkts[i], &(struct iovec){bytes + VIRTIO_NET_HEADER, len}, 1, &rest[i], 0);
	list[i] = &pkts[i];
}

// Unusual buffers

enum odd { ODD_REGION, ODD_ISLAND, ODD_SEAM, ODD_CHAIN, ODD_TABLE, N_ODD };

static uint64_t odd_gpa(enum odd odd)
{
	return odd == ODD_REGION ? GUEST_SEAM + 100 : odd == ODD_ISLAND ? GUEST_ISLAND + 10 : GUEST_SEAM - 40;
}

// Makes the i-th buffer available. Returns where it is.
static uint64_t buffer_add(struct guest_ring *g, bool is_odd, enum odd odd, uint32_t len, bool write, int *id)
{
	uint64_t gpa = is_odd && odd <= ODD_SEAM ? odd_gpa(odd) : gring_alloc(len, 64);
	bool cut = is_odd && odd > ODD_SEAM;
	struct guest_buffer b[2] = {{gpa, cut ? VIRTIO_NET_HEADER : len},
				    {gpa + VIRTIO_NET_HEADER, len - VIRTIO_NET_HEADER}};

	*id = gring_add(g, b, cut ? 2 : 1, write, is_odd && odd == ODD_TABLE);
	ck_assert_int_ge(*id, 0);
	return gpa;
}

// So that bursts go around the end of the ring, too.
static void ring_open(struct guest_ring *g, bool packed, int at)
{
	gring_open(g, packed, 16);
	gring_start_at(g, at % 16, true);
}

static void expect_taken(const struct pkt *p, uint32_t len)
{
	uint8_t got[BYTES];

	ck_assert_uint_eq(p->len, len);
	gring_pkt_bytes(p, got);
	ck_assert_mem_eq(got, bytes + VIRTIO_NET_HEADER, len);
}

static void take_several(bool packed, enum odd odd, int at)
{
	struct guest_ring g;
	int id[SEVERAL];

	ring_open(&g, packed, at);
	for (int i = 0; i < SEVERAL; i++) {
		uint32_t len = VIRTIO_NET_HEADER + 60 + i * 100;

		gring_write(buffer_add(&g, i == at, odd, len, false, &id[i]), bytes, len);
	}
	ck_assert_uint_eq(gring_take(&worker, &g, pkts, SEVERAL), SEVERAL);
	for (int i = 0; i < SEVERAL; i++)
		expect_taken(&pkts[i], 60 + i * 100);
	gring_expect_none_used(&g);
	gring_give_back(&g);
	for (int i = 0; i < SEVERAL; i++)
		gring_expect_used(&g, id[i], 0);
	gring_expect_none_used(&g);
	gring_close(&g);
}

static void put_several(bool packed, enum odd odd, int at)
{
	struct guest_ring g;
	uint64_t gpa[SEVERAL];
	uint8_t got[BYTES];
	int id[SEVERAL];

	ring_open(&g, packed, at);
	for (int i = 0; i < SEVERAL; i++) {
		pkts_make(i, 60 + i * 100);
		gpa[i] = buffer_add(&g, i == at, odd, VIRTIO_NET_HEADER + pkts[i].len, true, &id[i]);
	}
	ck_assert_uint_eq(gring_put(&g, list, SEVERAL), SEVERAL);
	for (int i = 0; i < SEVERAL; i++) {
		gring_expect_used(&g, id[i], VIRTIO_NET_HEADER + pkts[i].len);
		gring_read(got, gpa[i] + VIRTIO_NET_HEADER, pkts[i].len);
		ck_assert_mem_eq(got, bytes + VIRTIO_NET_HEADER, pkts[i].len);
	}
	gring_expect_none_used(&g);
	gring_close(&g);
}

START_TEST(one_is_unlike_the_others)
{
	for (enum odd odd = 0; odd < N_ODD; odd++)
		for (int at = 0; at < SEVERAL; at++) {
			take_several(_i, odd, at);
			put_several(_i, odd, at);
		}
}
END_TEST

// Bad ones

static void entry_spoil(struct guest_ring *g, int at, uint64_t gpa, uint32_t len, uint16_t flags)
{
	if (g->packed) {
		struct vring_packed_desc *d = &g->q.packed[at];

		d->addr = gpa;
		d->len = len;
		d->flags = flags | 1 << VRING_PACKED_DESC_F_AVAIL;
	} else {
		g->q.desc[g->q.avail->ring[at]] = (struct vring_desc){gpa, len, flags, 0};
	}
}

struct bad {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags;                    // beside that of the direction
	enum virtq_fault taken_as, put_as; // VIRTQ_FINE: nothing bad
};

// What stands before it is handled, and nothing else.
static void expect_fault_at(bool packed, int at, const struct bad *bad, bool write)
{
	struct guest_ring g;
	uint16_t direction = write && !(bad->flags & TABLE) ? WRITE : 0, n;

	gring_open(&g, packed, 8);
	for (int i = 0; i < 8; i++) {
		gring_add(&g, &(struct guest_buffer){GUEST_SEAM + i * 2048, 600}, 1, write, false);
		pkts_make(i, 60);
	}
	entry_spoil(&g, at, bad->gpa, bad->len, bad->flags ^ direction);
	n = write ? gring_put(&g, list, 8) : gring_take(&worker, &g, pkts, 8);
	ck_assert_uint_eq(n, at);
	if (!write)
		gring_give_back(&g);
	ck_assert_uint_eq(g.q.fault, write ? bad->put_as : bad->taken_as);
	for (int i = 0; i < at; i++) {
		uint16_t id;
		uint32_t len;

		ck_assert(gring_used(&g, &id, &len));
	}
	gring_expect_none_used(&g);
	gring_close(&g);
}

START_TEST(one_breaks_the_rules)
{
	static const struct bad bad[] = {
	    {GUEST_SEAM, 600, WRITE, VIRTQ_DIRECTION, VIRTQ_DIRECTION},
	    {GUEST_SEAM, 600, TABLE | NEXT, VIRTQ_INDIRECT, VIRTQ_INDIRECT},
	    {0, 600, 0, VIRTQ_OUTSIDE, VIRTQ_OUTSIDE},
	    {GUEST_MEMORY - 1, 600, 0, VIRTQ_OUTSIDE, VIRTQ_OUTSIDE},
	    {GUEST_SEAM + GUEST_REGION - 71, 72, 0, VIRTQ_OUTSIDE, VIRTQ_OUTSIDE},
	    {GUEST_SEAM + GUEST_REGION - 71, UINT32_MAX, 0, VIRTQ_LONG, VIRTQ_OUTSIDE},
	    {1ull << 63, 600, 0, VIRTQ_OUTSIDE, VIRTQ_OUTSIDE},
	    {(1ull << 63) + GUEST_SEAM + 600, 600, 0, VIRTQ_OUTSIDE, VIRTQ_OUTSIDE},
	    {UINT64_MAX, 600, 0, VIRTQ_OUTSIDE, VIRTQ_OUTSIDE},
	    {GUEST_SEAM, 11, 0, VIRTQ_SHORT, VIRTQ_FINE}, // to write: just too short
	    {GUEST_SEAM, 0, 0, VIRTQ_SHORT, VIRTQ_FINE},
	};

	for (size_t i = 0; i < RTE_DIM(bad); i++)
		for (int at = 0; at < 8; at++) {
			expect_fault_at(_i, at, &bad[i], false);
			expect_fault_at(_i, at, &bad[i], true);
		}
	for (int at = 0; at < 8; at++)
		expect_fault_at(_i, at, &(struct bad){GUEST_SEAM, VIRTQ_MAX_FRAME + 13, 0, VIRTQ_LONG},
				false);
}
END_TEST

// So far beyond a region that is smaller than the frame that the distance just is a number below 2^63.
START_TEST(one_is_at_the_end_of_numbers)
{
	const struct guest_buffer bad = {GUEST_ISLAND + INT64_MAX, 6000};
	static uint8_t frame[GUEST_ISLAND_BYTES + 1000];
	struct guest_ring g;

	gring_open(&g, _i, 8);
	for (int i = 0; i < 8; i++) {
		struct guest_buffer good = {GUEST_ISLAND + i * 100, 100};

		gring_add(&g, i == 5 ? &bad : &good, 1, true, false);
		pkts_make(i, 60);
	}
	pkt_init_borrowed(&pkts[5], &(struct iovec){frame, sizeof(frame)}, 1, &rest[5], 0);
	ck_assert_uint_eq(gring_put(&g, list, 8), 5);
	ck_assert_uint_eq(g.q.fault, VIRTQ_OUTSIDE);
	gring_close(&g);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtq_burst");
	TCase *t = tcase_create("virtq_burst");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, one_is_unlike_the_others, 0, 2);
	tcase_add_loop_test(t, one_breaks_the_rules, 0, 2);
	tcase_add_loop_test(t, one_is_at_the_end_of_numbers, 0, 2);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}
