// Ports on kernel interfaces, in a network namespace of the test's own:
//
//	raw socket ── vb ═══ va ── packet-socket driver ── test
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_ip.h>

#include "device_rig.h"
#include "dp/offload.h"

static int peer = -1; // raw socket on vb

static void sh(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

static int raw_open(const char *ifname, bool vnet)
{
	struct sockaddr_ll at = {
	    .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = if_nametoindex(ifname)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0), one = 1, room = 8 << 20;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)), 0);
	if (vnet)
		ck_assert_int_eq(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void veth_add(void)
{
	sh("ip link add va mtu 9000 type veth peer name vb mtu 9000");
	sh("ip link set va up && ip link set vb up");
	peer = raw_open("vb", false);
}

static void veth_del(void)
{
	close(peer);
	sh("ip link del va");
}

static void peer_sends(const void *f, size_t len)
{
	ck_assert_int_eq(send(peer, f, len, 0), (ssize_t)len);
}

static bool peer_gets(const uint8_t *f, uint16_t len)
{
	uint8_t buf[10000];

	return recv(peer, buf, sizeof(buf), 0) == len && memcmp(buf, f, len) == 0;
}

static uint16_t frame_tagged(uint8_t *f, uint16_t len, uint16_t tpid, uint16_t tci, uint32_t number)
{
	uint8_t tag[4] = {tpid >> 8, tpid & 0xff, tci >> 8, tci & 0xff};

	frame_make(f + 4, len - 4, number);
	memmove(f, f + 4, 12);
	memcpy(f + 12, tag, 4);
	return len;
}

START_TEST(frames_come_in_whole)
{
	uint8_t f[9000];

	veth_add();
	device_up("net_af_packet0,iface=va", 8986);
	for (uint16_t len = 14; len <= 9000; len = len * 3 / 2) {
		frame_make(f, RTE_MAX(len, 18), len);
		peer_sends(f, len);
		rig_wait(device_has(f, len));
	}
	frame_make(f, 9000, 3);
	peer_sends(f, 9000);
	rig_wait(device_has(f, 9000));
	device_down();
	veth_del();
}
END_TEST

START_TEST(tags_come_in_as_they_were)
{
	uint8_t f[200], g[200];

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	frame_tagged(f, 200, 0x8100, 0xe00a, 1);
	peer_sends(f, 200);
	rig_wait(device_has(f, 200));
	frame_tagged(f, 200, 0x88a8, 10, 2);
	peer_sends(f, 200);
	rig_wait(device_has(f, 200));
	frame_tagged(f + 4, 196, 0x8100, 20, 3);
	memcpy(g, f, 200);
	memmove(g, f + 4, 12);
	memcpy(g + 12, (uint8_t[]){0x81, 0, 0, 10}, 4);
	peer_sends(g, 200);
	rig_wait(device_has(g, 200));
	device_down();
	veth_del();
}
END_TEST

START_TEST(a_burst_fills_the_ring_and_starts_again)
{
	uint8_t f[200];

	veth_add();
	device_up("net_af_packet0,iface=va,framecnt=256", 1500);
	for (uint32_t i = 0; i < 1000; i++) {
		frame_make(f, 200, i);
		peer_sends(f, 200);
		if (i % 3 == 0)
			continue;
		struct pkt k[PKT_BURST];
		uint16_t n = device_rx(k, PKT_BURST);

		if (n)
			device_rx_end(k, n);
	}
	for (uint32_t i = 0; i < 300; i++) // more than fit: the rest is the kernel's loss
		peer_sends(f, 200);
	struct pkt k[PKT_BURST];
	uint32_t sum = 0, n;

	while ((n = device_rx(k, PKT_BURST)) > 0) {
		device_rx_end(k, n);
		sum += n;
	}
	ck_assert_uint_ge(sum, 200);
	frame_make(f, 200, 4242);
	peer_sends(f, 200);
	rig_wait(device_has(f, 200));
	device_down();
	veth_del();
}
END_TEST

START_TEST(a_cut_frame_is_dropped_and_counted)
{
	uint8_t f[4000], g[100];

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	frame_make(f, sizeof(f), 1);
	frame_make(g, sizeof(g), 2);
	peer_sends(f, sizeof(f));
	peer_sends(g, sizeof(g));
	rig_wait(device_has(g, sizeof(g)));
	ck_assert_uint_eq(device->counters[0]->dropped[DROP_TRUNCATED], 1);
	ck_assert_uint_eq(device->counters[0]->rx_packets, 1); // the others are counted by the worker
	ck_assert_uint_eq(device->counters[0]->rx_bytes, sizeof(f));
	// A cut frame alone gives its slot back as well.
	for (int i = 0; i < 2000; i++) {
		peer_sends(f, sizeof(f));
		ck_assert(!device_has(f, sizeof(f)));
	}
	peer_sends(g, sizeof(g));
	rig_wait(device_has(g, sizeof(g)));
	device_down();
	veth_del();
}
END_TEST

static uint16_t fragment(uint8_t *f, uint16_t offset_words, bool more, uint16_t len)
{
	struct rte_ipv4_hdr ip = {
	    .version_ihl = 0x45, .time_to_live = 64, .next_proto_id = 17, .packet_id = 77};

	frame_make(f, len, offset_words);
	f[12] = 0x08;
	f[13] = 0x00;
	ip.total_length = htons(len - 14);
	ip.fragment_offset = htons(offset_words | (more ? RTE_IPV4_HDR_MF_FLAG : 0));
	ip.src_addr = htonl(RTE_IPV4(10, 0, 0, 1));
	ip.dst_addr = htonl(RTE_IPV4(10, 0, 0, 2));
	ip.hdr_checksum = rte_ipv4_cksum(&ip);
	memcpy(f + 14, &ip, sizeof(ip));
	return len;
}

START_TEST(fragments_stay_fragments)
{
	uint8_t a[234], b[134];

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	fragment(a, 0, true, sizeof(a)); // 200 bytes
	fragment(b, 25, false, sizeof(b));
	peer_sends(a, sizeof(a));
	rig_wait(device_has(a, sizeof(a)));
	peer_sends(b, sizeof(b));
	rig_wait(device_has(b, sizeof(b)));
	device_down();
	veth_del();
}
END_TEST

static struct pkt *next_packet(void)
{
	static struct pkt k[PKT_BURST];
	uint64_t end = time_ns() + RIG_DEADLINE_NS;
	uint16_t n;

	while ((n = device_rx(k, PKT_BURST)) == 0)
		ck_assert(time_ns() < end);
	ck_assert_uint_eq(n, 1);
	return k;
}

START_TEST(an_open_checksum_stays_open_both_ways)
{
	struct {
		struct virtio_net_hdr v;
		uint8_t f[101];
	} __attribute__((packed))
	s = {.v = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6}},
	got;
	uint16_t sum = htons(0x1234); // stands for the pseudo header's
	int fd;

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	fragment(s.f, 0, false, sizeof(s.f));
	memcpy(s.f + 40, &sum, 2);
	fd = raw_open("vb", true);
	ck_assert_int_eq(send(fd, &s, sizeof(s), 0), sizeof(s));
	struct pkt *k = next_packet();

	ck_assert(rig_same(k, s.f, sizeof(s.f)));
	ck_assert_uint_eq(k->vnet.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(k->vnet.csum_start, 34);
	ck_assert_uint_eq(k->vnet.csum_offset, 6);
	ck_assert_uint_eq(device->live.offloads, OFFLOAD_CSUM);
	k->n_users = 1;
	ck_assert_uint_eq(device_tx(k, 1), 1);
	device_rx_end(k, 1);
	while (recv(fd, &got, sizeof(got), 0) < 0)
		;
	ck_assert_uint_eq(got.v.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(got.v.csum_start, 34);
	ck_assert_mem_eq(got.f, s.f, sizeof(s.f));
	close(fd);
	device_down();
	veth_del();
}
END_TEST

START_TEST(a_tag_put_back_shifts_what_is_asked)
{
	struct {
		struct virtio_net_hdr v;
		uint8_t f[104];
	} __attribute__((packed))
	s = {.v = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 38, .csum_offset = 6}};
	uint8_t tag[4] = {0x81, 0, 0, 10};
	int fd;

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	fragment(s.f + 4, 0, false, sizeof(s.f) - 4);
	memmove(s.f, s.f + 4, 12);
	memcpy(s.f + 12, tag, 4);
	fd = raw_open("vb", true);
	ck_assert_int_eq(send(fd, &s, sizeof(s), 0), sizeof(s));
	struct pkt *k = next_packet();

	ck_assert(rig_same(k, s.f, sizeof(s.f)));
	ck_assert_uint_eq(k->vnet.csum_start, 38);
	device_rx_end(k, 1);
	close(fd);
	device_down();
	veth_del();
}
END_TEST

START_TEST(what_the_host_sends_there_is_not_received)
{
	uint8_t f[100], g[100];
	int host;

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	host = raw_open("va", false);
	frame_make(f, sizeof(f), 1);
	frame_make(g, sizeof(g), 2);
	ck_assert_int_eq(send(host, f, sizeof(f), 0), sizeof(f));
	peer_sends(g, sizeof(g));
	uint64_t end = time_ns() + RIG_DEADLINE_NS;
	bool seen = false;

	while (!seen && time_ns() < end) {
		struct pkt k[PKT_BURST];
		uint16_t n = device_rx(k, PKT_BURST);

		for (uint16_t i = 0; i < n; i++) {
			ck_assert(!rig_same(&k[i], f, sizeof(f)));
			seen |= rig_same(&k[i], g, sizeof(g));
		}
		if (n)
			device_rx_end(k, n);
	}
	ck_assert(seen);
	close(host);
	device_down();
	veth_del();
}
END_TEST

START_TEST(frames_go_out_in_order)
{
	unsigned before = buffers_in_use();
	uint8_t f[9000];
	struct pkt k[PKT_BURST];
	uint32_t number = 0;

	veth_add();
	device_up("net_af_packet0,iface=va", 8986);
	for (int round = 0; round < 100; round++) {
		uint16_t len = 60 + round * 89;

		for (int i = 0; i < PKT_BURST; i++) {
			frame_make(f, len, number + i);
			packet_make(&k[i], f, len, 700);
			k[i].n_users = 1 + i % 2;
		}
		ck_assert_uint_eq(device_tx(k, PKT_BURST), PKT_BURST);
		for (int i = 0; i < PKT_BURST; i++) {
			pkt_free(&k[i]);
			frame_make(f, len, number++);
			rig_wait(peer_gets(f, len));
		}
	}
	device_down();
	veth_del();
	ck_assert_uint_eq(buffers_in_use(), before);
}
END_TEST

START_TEST(a_frame_of_many_pieces_goes_out)
{
	uint8_t f[1500];
	struct iovec piece[150], rest[150];
	struct pkt k;

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	frame_make(f, sizeof(f), 1);
	for (int i = 0; i < 150; i++)
		piece[i] = (struct iovec){f + 10 * i, 10};
	pkt_init_borrowed(&k, piece, 150, rest, 0);
	k.n_users = 1;
	ck_assert_uint_eq(device_tx(&k, 1), 1);
	rig_wait(peer_gets(f, sizeof(f)));
	pkt_free(&k);
	device_down();
	veth_del();
}
END_TEST

START_TEST(a_tagged_frame_of_full_size_goes_out)
{
	uint8_t f[1518];
	struct pkt k;

	veth_add();
	sh("ip link set va mtu 1500");
	device_up("net_af_packet0,iface=va", 1500);
	frame_tagged(f, sizeof(f), 0x8100, 10, 1);
	packet_make(&k, f, sizeof(f), 2000);
	ck_assert_uint_eq(device_tx(&k, 1), 1);
	pkt_free(&k);
	memmove(f + 4, f, 12); // the peer's socket sees the tag beside the frame
	rig_wait(peer_gets(f + 4, sizeof(f) - 4));
	device_down();
	veth_del();
}
END_TEST

// The worst moment: the link is gone and the driver does not know yet.
START_TEST(what_could_not_be_sent_is_not_sent_later)
{
	uint8_t f[100], g[100], buf[200];
	struct pkt k[PKT_BURST];

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	sh("ip link set va down");
	frame_make(f, sizeof(f), 1);
	for (int i = 0; i < PKT_BURST; i++)
		packet_make(&k[i], f, sizeof(f), 2000);
	ck_assert(device->live.up);
	ck_assert_uint_eq(device_tx(k, PKT_BURST), 0);
	rig_wait(device->state == PORT_WAITING);
	ck_assert_str_eq(device->why, "interface va is down; 'ip link set va up' switches it on");
	ck_assert(!device->live.up);
	sh("ip link set va up");
	rig_wait(device->state == PORT_UP);
	for (int i = 0; i < PKT_BURST; i++) {
		ck_assert_ptr_nonnull(k[i].m);
		pkt_free(&k[i]);
	}
	frame_make(g, sizeof(g), 2);
	packet_make(&k[0], g, sizeof(g), 2000);
	ck_assert_uint_eq(device_tx(k, 1), 1); // the first one, although the socket still has its old error
	pkt_free(&k[0]);
	ssize_t n;
	uint64_t end = time_ns() + RIG_DEADLINE_NS;

	while ((n = recv(peer, buf, sizeof(buf), 0)) < 0)
		ck_assert(time_ns() < end);
	ck_assert_int_eq(n, sizeof(g));
	ck_assert_mem_eq(buf, g, sizeof(g));
	device_down();
	veth_del();
}
END_TEST

static void recreate_at_once(void)
{
	sh("ip link del va; ip link add va index 4711 address 02:00:00:00:00:0a mtu 9000 type veth peer name "
	   "vb");
	sh("ip link set va up; ip link set vb mtu 9000 up");
	sh("until ip -o link show va | grep -q 'state UP'; do :; done"); // the loop turns only now
	close(peer);
	peer = raw_open("vb", false);
}

static void expect_frames_again(void)
{
	uint8_t f[100];

	frame_make(f, sizeof(f), 1);
	for (uint64_t end = time_ns() + RIG_DEADLINE_NS; !device_has(f, sizeof(f));
	     peer_sends(f, sizeof(f))) {
		ck_assert_msg(time_ns() < end, "no frame comes in");
		rig_turn();
	}
	rig_wait(device->state == PORT_UP);
}

START_TEST(an_interface_that_comes_back_is_used_again)
{
	uint8_t f[100];
	struct pkt k;

	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	for (uint32_t i = 0; i < 3; i++) {
		veth_del();
		rig_wait(device->state == PORT_WAITING);
		ck_assert_str_eq(device->why, "interface va is gone; waiting for it to come back");
		veth_add();
		rig_wait(device->state == PORT_UP);
		frame_make(f, sizeof(f), i);
		peer_sends(f, sizeof(f));
		rig_wait(device_has(f, sizeof(f)));
		packet_make(&k, f, sizeof(f), 2000);
		ck_assert_uint_eq(device_tx(&k, 1), 1);
		pkt_free(&k);
		rig_wait(peer_gets(f, sizeof(f)));
	}
	// So quickly that it is one change; the second time, to something that looks the same in every field.
	recreate_at_once();
	expect_frames_again();
	recreate_at_once();
	expect_frames_again();
	device_down();
	veth_del();
}
END_TEST

START_TEST(a_port_can_be_closed_while_its_interface_comes_back)
{
	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	veth_del();
	rig_wait(device->state == PORT_WAITING);
	veth_add();
	rig_wait(strcmp(device->why, "interface va is gone; waiting for it to come back") != 0);
	device_down();
	for (int i = 0; i < 20; i++)
		rig_turn();
	veth_del();
}
END_TEST

START_TEST(a_small_mtu_is_told)
{
	veth_add();
	device_up("net_af_packet0,iface=va", 1500);
	ck_assert_str_eq(device->why, "");
	sh("ip link set va mtu 1400");
	rig_wait(strstr(device->why, "interface va has MTU 1400, below the port's 1500") != NULL);
	ck_assert_int_eq(device->state, PORT_UP);
	device_refused("net_af_packet1,iface=va", 1, "interface va is already used by port up0");
	device_down();
	device_refused("net_af_packet1,iface=vx", 1, "there is no interface vx");
	device_refused("net_af_packet1,iface=lo", 1, "interface lo is not an Ethernet interface");
	sh("ip link set vb down");
	device_open("net_af_packet0,iface=va", 1500);
	rig_wait(!strcmp(device->why, "interface va has no carrier"));
	device_down();
	veth_del();
}
END_TEST

// Without IPv6 the kernel says nothing of its own on the interfaces.
static bool namespace_enter(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);
	if (fd >= 0 && write(fd, "1", 1) != 1)
		perror("disable_ipv6");
	if (fd >= 0)
		close(fd);
	return true;
}

static Suite *suite(void)
{
	Suite *s = suite_create("afpacket");
	TCase *t = tcase_create("afpacket");

	tcase_add_test(t, frames_come_in_whole);
	tcase_add_test(t, tags_come_in_as_they_were);
	tcase_add_test(t, a_burst_fills_the_ring_and_starts_again);
	tcase_add_test(t, a_cut_frame_is_dropped_and_counted);
	tcase_add_test(t, fragments_stay_fragments);
	tcase_add_test(t, an_open_checksum_stays_open_both_ways);
	tcase_add_test(t, a_tag_put_back_shifts_what_is_asked);
	tcase_add_test(t, what_the_host_sends_there_is_not_received);
	tcase_add_test(t, frames_go_out_in_order);
	tcase_add_test(t, a_frame_of_many_pieces_goes_out);
	tcase_add_test(t, a_tagged_frame_of_full_size_goes_out);
	tcase_add_test(t, what_could_not_be_sent_is_not_sent_later);
	tcase_add_test(t, an_interface_that_comes_back_is_used_again);
	tcase_add_test(t, a_port_can_be_closed_while_its_interface_comes_back);
	tcase_add_test(t, a_small_mtu_is_told);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *runner;
	int n_failed;

	if (!namespace_enter()) { // before there are other threads
		fprintf(stderr, "SKIP: afpacket_test: needs a network namespace: run it as root\n");
		return 0;
	}
	rig_init();
	runner = srunner_create(suite());
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_fini();
	return n_failed ? 1 : 0;
}
