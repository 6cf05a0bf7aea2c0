// Requests for checksums and segments: passed on to who finishes them, finished in software for who does not.
#include <netinet/in.h>
#include <string.h>

#include <rte_mbuf.h>

#include "dp/offload.h"
#include "dp/pool.h"
#include "dp/port.h"
#include "l4_frame.h"
#include "ring_port.h"

#define ALL \
	(OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN | OFFLOAD_UFO | OFFLOAD_USO4 | OFFLOAD_USO6)

enum {
	TCPV4 = VIRTIO_NET_HDR_GSO_TCPV4,
	TCPV6 = VIRTIO_NET_HDR_GSO_TCPV6,
	UFO = VIRTIO_NET_HDR_GSO_UDP,
	USO = OFFLOAD_GSO_UDP_L4,
	ECN = VIRTIO_NET_HDR_GSO_ECN,
};

static const struct {
	struct l4_spec spec;
	uint32_t needs;
} kinds[] = {
    {{4, IPPROTO_TCP, 60000, true, TCPV4, 1448}, OFFLOAD_CSUM | OFFLOAD_TSO4},
    {{6, IPPROTO_TCP, 60001, true, TCPV6, 1428}, OFFLOAD_CSUM | OFFLOAD_TSO6},
    {{4, IPPROTO_TCP, 9999, true, TCPV4 | ECN, 500}, OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_ECN},
    {{6, IPPROTO_TCP, 9998, true, TCPV6 | ECN, 501}, OFFLOAD_CSUM | OFFLOAD_TSO6 | OFFLOAD_ECN},
    {{4, IPPROTO_UDP, 50000, true, USO, 1333}, OFFLOAD_CSUM | OFFLOAD_USO4},
    {{6, IPPROTO_UDP, 50001, true, USO, 1400}, OFFLOAD_CSUM | OFFLOAD_USO6},
    {{4, IPPROTO_UDP, 60003, true, UFO, 1480}, OFFLOAD_CSUM | OFFLOAD_UFO},
    {{6, IPPROTO_UDP, 60002, true, UFO, 1444}, OFFLOAD_CSUM | OFFLOAD_UFO},   // no multiple of 8
    {{4, IPPROTO_TCP, 1000, true, TCPV4, 1448}, OFFLOAD_CSUM | OFFLOAD_TSO4}, // one segment
    {{6, IPPROTO_UDP, 1000, true, UFO, 1448}, OFFLOAD_CSUM | OFFLOAD_UFO},
    {{4, IPPROTO_TCP, 1400, true}, OFFLOAD_CSUM},
    {{6, IPPROTO_TCP, 1401, true}, OFFLOAD_CSUM},
    {{4, IPPROTO_UDP, 1399, true}, OFFLOAD_CSUM},
    {{6, IPPROTO_UDP, 1, true}, OFFLOAD_CSUM},
    {{4, IPPROTO_TCP, 1400, false}, 0},
    {{6, IPPROTO_UDP, 1400, false}, 0},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct l4_seen seen;

static void two_ports(void)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	inject("b", eth(MAC_A, MAC_B)); // learned
	expect_last("a");
}

static struct l4_seen *begin(const struct l4_spec *s, uint16_t vid)
{
	memset(&seen, 0, sizeof(seen));
	seen.spec = s;
	seen.vid = vid;
	return &seen;
}

static void take_all(const char *name, const struct l4_spec *s, uint16_t vid)
{
	begin(s, vid);
	while (!seen.ended)
		l4_take(name, &seen);
	ck_assert_uint_le(seen.asks ? 0 : seen.longest, 1500);
}

static struct port_counters counters(const char *name)
{
	struct port_counters c;

	port_counters_sum(port_find(name), &c);
	return c;
}

// As it was sent to who takes all of it, else finished, never half.
static void check_kind(size_t i, uint32_t offloads)
{
	const struct l4_spec *s = &kinds[i].spec;
	bool takes = (kinds[i].needs & ~offloads) == 0;
	uint64_t made = counters("a").made, sent = counters("b").tx_packets;

	ring_offloads("b", offloads);
	inject("a", l4_frame(MAC_B, MAC_A, s));
	take_all("b", s, 0);
	ck_assert_int_eq(seen.asks, takes && s->csum);
	if (takes || s->gso_type == 0)
		ck_assert_uint_eq(seen.frames, 1);
	ck_assert_uint_eq(counters("a").made - made, seen.frames - 1);
	ck_assert_uint_eq(counters("b").tx_packets - sent, seen.frames);
	expect_nothing("b");
}

static void check_matrix(size_t piece)
{
	two_ports();
	ring_borrow("a", piece);
	for (size_t i = 0; i < N_KINDS; i++) {
		check_kind(i, 0);
		check_kind(i, OFFLOAD_CSUM);
		check_kind(i, ALL);
		for (uint32_t bit = 1; bit < ALL; bit <<= 1)
			if (kinds[i].needs & bit)
				check_kind(i, ALL & ~bit);
	}
}

START_TEST(matrix_of_owned_packets)
{
	check_matrix(0);
}
END_TEST

START_TEST(matrix_of_borrowed_packets)
{
	check_matrix(4096);
}
END_TEST

START_TEST(matrix_of_packets_in_small_pieces)
{
	check_matrix(61);
}
END_TEST

START_TEST(walk_alone_gives_the_same)
{
	house_flows(false);
	check_matrix(1000);
	house_flows(true);
}
END_TEST

START_TEST(tags_shift_what_is_asked)
{
	two_ports();
	set("vlan", "a", "{'mode': 'access', 'vlan': 10}");
	set("vlan", "b", "{'mode': 'trunk', 'allowed': '10'}");
	house_settle();
	for (size_t i = 0; i < N_KINDS; i++) {
		const struct l4_spec *s = &kinds[i].spec;

		for (uint32_t offloads = 0; offloads <= ALL; offloads += ALL) {
			ring_offloads("a", offloads);
			ring_offloads("b", offloads);
			ring_borrow("a", i % 2 ? 2000 : 0);
			inject("a", l4_frame(MAC_B, MAC_A, s)); // gets a tag
			take_all("b", s, 10);
			ck_assert_int_eq(seen.asks, offloads != 0 && s->csum);
			inject("b", l4_tagged(l4_frame(MAC_A, MAC_B, s), 10)); // loses it
			take_all("a", s, 0);
			ck_assert_int_eq(seen.asks, offloads != 0 && s->csum);
		}
	}
}
END_TEST

START_TEST(each_of_several_receivers_gets_what_it_takes)
{
	two_ports();
	port("c", "sw0", NULL);
	port("d", "sw0", NULL);
	for (size_t i = 0; i < N_KINDS; i++) {
		ring_offloads("b", ALL);
		ring_offloads("d", OFFLOAD_CSUM);
		ring_borrow("a", i % 2 ? 3000 : 0);
		inject("a", l4_frame(MAC_ALL, MAC_A, &kinds[i].spec));
		for (const char *name = "bcd"; *name; name++) {
			take_all((char[2]){*name}, &kinds[i].spec, 0);
			expect_nothing((char[2]){*name});
		}
	}
}
END_TEST

START_TEST(requests_wait_in_a_mailbox)
{
	two_ports();
	for (size_t i = 0; i < 2 * N_KINDS; i++) {
		const struct l4_spec *s = &kinds[i / 2].spec;
		uint32_t offloads = i % 2 ? ALL : 0;
		struct txq *q = &port_find("b")->txqs[0];

		ring_offloads("b", offloads);
		ring_borrow("a", i % 3 ? 2500 : 0);
		atomic_store(&q->busy, 1); // as if another worker were inside
		inject("a", l4_frame(MAC_B, MAC_A, s));
		expect_nothing("b");
		atomic_store(&q->busy, 0);
		inject("a", eth(MAC_B, MAC_A));
		take_all("b", s, 0);
		ck_assert_int_eq(seen.asks, offloads && s->csum);
		expect_last("b");
	}
	ck_assert_uint_eq(counters("a").held_in, counters("a").held_out);
}
END_TEST

START_TEST(order_holds_between_whole_and_cut_packets)
{
	const struct l4_spec *big = &kinds[0].spec, *small = &kinds[10].spec;

	two_ports();
	for (int i = 0; i < 8; i++) {
		ring_queue("a", eth(MAC_B, MAC_A));
		ring_queue("a", l4_frame(MAC_B, MAC_A, big));
		ring_queue("a", l4_frame(MAC_B, MAC_A, small));
		ring_queue("a", l4_frame(MAC_B, MAC_A, small));
	}
	house_rounds();
	for (int i = 0; i < 8; i++) {
		expect("b", eth(MAC_B, MAC_A));
		take_all("b", big, 0);
		take_all("b", small, 0);
		take_all("b", small, 0);
	}
}
END_TEST

START_TEST(what_a_full_queue_did_not_take_is_dropped)
{
	const struct l4_spec *s = &kinds[0].spec; // 42 segments

	two_ports();
	for (int accept = 0; accept <= 42; accept += 6) {
		uint64_t dropped = counters("a").dropped[DROP_TX_FULL];

		ring_accept("b", accept);
		inject("a", l4_frame(MAC_B, MAC_A, s));
		begin(s, 0);
		while ((int)seen.frames < accept)
			l4_take("b", &seen);
		expect_nothing("b");
		ck_assert_uint_eq(counters("a").dropped[DROP_TX_FULL] - dropped, 42 - accept);
	}
}
END_TEST

START_TEST(what_no_buffer_holds_is_dropped_alone)
{
	two_ports();
	ring_room("b", 1000);
	ring_queue("a", eth(MAC_B, MAC_A));
	ring_queue("a", l4_frame(MAC_B, MAC_A, &kinds[0].spec)); // 41 long segments and a short one
	ring_queue("a", eth(MAC_B, MAC_A));
	house_rounds();
	expect("b", eth(MAC_B, MAC_A));
	ck_assert_uint_le(ring_take("b")->len, 1000);
	expect("b", eth(MAC_B, MAC_A));
	ck_assert_uint_eq(counters("a").dropped[DROP_TX_UNFIT], 41);
	ck_assert_uint_eq(counters("a").dropped[DROP_TX_FULL], 0);
}
END_TEST

// All buffers but a few, in a chain.
static struct rte_mbuf *buffers_take(unsigned leave)
{
	struct rte_mempool *pool = pool_shared();
	struct rte_mbuf *all = NULL, *m;

	while (rte_mempool_avail_count(pool) > leave && (m = rte_pktmbuf_alloc(pool)) != NULL) {
		m->next = all;
		all = m;
	}
	return all;
}

static void buffers_give(struct rte_mbuf *all)
{
	while (all != NULL) {
		struct rte_mbuf *next = all->next;

		all->next = NULL;
		rte_pktmbuf_free_seg(all);
		all = next;
	}
}

START_TEST(out_of_buffers_is_a_drop)
{
	two_ports();
	ring_borrow("a", 4000);
	for (size_t i = 0; i < N_KINDS - 2; i++) {
		const struct l4_spec *s = &kinds[i].spec;

		for (unsigned leave = 0; leave < 40; leave += s->gso_type ? 13 : 40) {
			struct rte_mbuf *all = buffers_take(leave);
			uint64_t dropped = counters("a").dropped[DROP_NO_MEMORY];

			inject("a", l4_frame(MAC_B, MAC_A, s));
			buffers_give(all);
			begin(s, 0);
			while (ring_delivered("b") > 0)
				l4_take("b", &seen);
			if (leave == 0 || !seen.ended)
				ck_assert_uint_gt(counters("a").dropped[DROP_NO_MEMORY], dropped);
			inject("a", l4_frame(MAC_B, MAC_A, s));
			take_all("b", s, 0);
		}
	}
}
END_TEST

static struct frame *asking(size_t kind)
{
	return l4_frame(MAC_B, MAC_A, &kinds[kind].spec);
}

static void refuse(struct frame *f, const char *reason)
{
	struct port_counters before = counters("a"), after;

	for (size_t piece = 0; piece <= 200; piece += 100) {
		ring_borrow("a", piece);
		inject("a", f);
		expect_nothing("b");
	}
	after = counters("a");
	enum drop d = strcmp(reason, "offload-checksum") == 0 ? DROP_OFFLOAD_CHECKSUM : DROP_OFFLOAD_SEGMENT;

	ck_assert_uint_eq(after.dropped[d] - before.dropped[d], 3);
}

START_TEST(checksums_are_written_to_no_other_place)
{
	static const struct {
		uint16_t start, offset;
	} bad[] = {{0, 6},    {14, 10}, {14, 16},   {34, 0},     {34, 4},        {34, 15},   {34, 31},
		   {0, 1000}, {33, 17}, {1446, 20}, {34, 65535}, {65535, 65535}, {65535, 0}, {1465, 0}};
	struct frame *f;

	two_ports();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		f = asking(10);
		f->vnet.csum_start = bad[i].start;
		f->vnet.csum_offset = bad[i].offset;
		refuse(f, "offload-checksum");
	}
	f = asking(10); // a fragment
	f->bytes[20] = 0x20;
	refuse(f, "offload-checksum");
	f = with_tag(eth(MAC_B, MAC_A), 0x8100, 0); // the tag
	f->vnet = (struct virtio_net_hdr_v1){.flags = 1, .csum_start = 14, .csum_offset = 0};
	refuse(f, "offload-checksum");
}
END_TEST

START_TEST(segments_are_made_of_nothing_else)
{
	static const struct {
		size_t kind;
		struct virtio_net_hdr_v1 v; // flags, gso_type, hdr_len, gso_size
	} bad[] = {
	    {0, {1, TCPV6, 0, 1448}},     {0, {1, UFO, 0, 1448}},   {0, {1, USO, 0, 1448}},
	    {0, {1, 2, 0, 1448}},         {0, {1, 6, 0, 1448}},     {0, {1, ECN, 0, 1448}},
	    {0, {1, 0x40, 0, 1448}},      {0, {1, TCPV4, 0, 0}},    {0, {1, TCPV4, 0, 1}},
	    {0, {1, TCPV4, 0, 47}},       {0, {0, TCPV4, 0, 1448}}, {0, {2, TCPV4, 0, 1448}},
	    {1, {1, TCPV4, 0, 1448}},     {4, {1, TCPV4, 0, 1448}}, {4, {1, USO | ECN, 0, 1448}},
	    {6, {1, UFO | ECN, 0, 1448}}, {6, {1, UFO, 0, 7}},      {6, {1, UFO, 0, 40}},
	};
	struct frame *f;

	two_ports();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		f = asking(bad[i].kind);
		f->vnet.flags = bad[i].v.flags;
		f->vnet.gso_type = bad[i].v.gso_type;
		f->vnet.gso_size = bad[i].v.gso_size;
		refuse(f, "offload-segment");
	}
	f = asking(0); // of something behind the headers
	f->vnet.csum_start += 40;
	refuse(f, "offload-segment");
	f = eth(MAC_B, MAC_A); // no IP at all
	f->vnet =
	    (struct virtio_net_hdr_v1){.flags = 1, .gso_type = TCPV4, .gso_size = 500, .csum_start = 20};
	refuse(f, "offload-segment");
}
END_TEST

START_TEST(few_small_datagrams_are_segmented)
{
	static const struct l4_spec s = {4, IPPROTO_UDP, 100, true, USO, 1};

	two_ports();
	inject("a", l4_frame(MAC_B, MAC_A, &s));
	take_all("b", &s, 0);
	ck_assert_uint_eq(seen.frames, 100);
}
END_TEST

START_TEST(length_of_headers_is_our_own)
{
	const struct l4_spec *s = &kinds[0].spec;

	two_ports();
	for (uint32_t offloads = 0; offloads <= ALL; offloads += ALL) {
		struct frame *f = l4_frame(MAC_B, MAC_A, s);

		f->vnet.hdr_len = 65535;
		ring_offloads("b", offloads);
		inject("a", f);
		take_all("b", s, 0);
	}
}
END_TEST

START_TEST(claims_of_a_sender_are_taken_away)
{
	two_ports();
	ring_offloads("b", ALL);
	struct frame *f = asking(14);

	f->vnet.flags = VIRTIO_NET_HDR_F_DATA_VALID | VIRTIO_NET_HDR_F_RSC_INFO;
	f->vnet.csum_start = 7;
	inject("a", f);
	const struct frame *got = ring_take("b");

	ck_assert_ptr_nonnull(got);
	ck_assert_mem_eq(&got->vnet, &(struct virtio_net_hdr_v1){0}, sizeof(got->vnet));
}
END_TEST

// An inner checksum of a tunnel: behind all headers that are looked at.
START_TEST(checksum_behind_the_headers_is_completed)
{
	two_ports();
	struct frame *f = asking(15); // 62 + 1400 bytes

	f->vnet = (struct virtio_net_hdr_v1){.flags = 1, .csum_start = 500, .csum_offset = 16};
	f->bytes[516] = f->bytes[517] = 0;
	inject("a", f);
	const struct frame *got = ring_take("b");
	uint32_t sum = 0;

	ck_assert_ptr_nonnull(got);
	for (size_t i = 500; i < got->len; i++)
		sum += i % 2 ? got->bytes[i] : got->bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	ck_assert_uint_eq(sum, 0xffff);
}
END_TEST

START_TEST(mtu_bounds_the_segments_not_the_frame)
{
	two_ports();
	set("port", "b", "{'switch': 'sw0', 'type': 'guest', 'device': 'ring:b', 'mtu': 1000}");
	house_settle();
	ring_offloads("b", ALL);
	for (size_t i = 0; i < 8; i++) {
		struct l4_spec s = kinds[i].spec;
		size_t head = s.gso_type == UFO ? (s.version == 4 ? 20 : 48) : l4_header_bytes(&s) - 14;
		uint64_t dropped = counters("a").dropped[DROP_MTU_EXCEEDED];

		for (int more = 0; more < 2; more++) {
			s.gso_size = 1000 - head + more;
			inject("a", l4_frame(MAC_B, MAC_A, &s));
			if (!more)
				take_all("b", &s, 0);
			expect_nothing("b");
			ck_assert_uint_eq(counters("a").dropped[DROP_MTU_EXCEEDED] - dropped, more);
		}
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("offload");
	TCase *t = tcase_create("offload");

	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, matrix_of_owned_packets);
	tcase_add_test(t, matrix_of_borrowed_packets);
	tcase_add_test(t, matrix_of_packets_in_small_pieces);
	tcase_add_test(t, walk_alone_gives_the_same);
	tcase_add_test(t, tags_shift_what_is_asked);
	tcase_add_test(t, each_of_several_receivers_gets_what_it_takes);
	tcase_add_test(t, requests_wait_in_a_mailbox);
	tcase_add_test(t, order_holds_between_whole_and_cut_packets);
	tcase_add_test(t, what_no_buffer_holds_is_dropped_alone);
	tcase_add_test(t, what_a_full_queue_did_not_take_is_dropped);
	tcase_add_test(t, out_of_buffers_is_a_drop);
	tcase_add_test(t, checksums_are_written_to_no_other_place);
	tcase_add_test(t, segments_are_made_of_nothing_else);
	tcase_add_test(t, few_small_datagrams_are_segmented);
	tcase_add_test(t, length_of_headers_is_our_own);
	tcase_add_test(t, claims_of_a_sender_are_taken_away);
	tcase_add_test(t, checksum_behind_the_headers_is_completed);
	tcase_add_test(t, mtu_bounds_the_segments_not_the_frame);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return house_run(suite(), 0);
}
