// The host's vNIC: a tap interface in a network namespace of the test's own; the host's side is a packet socket.
//
//   packet socket ── evs-t0 ── tap driver ── test
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "driver_rig.h"
#include "hv/tap.h"

#define NAME       "evs-t0"
#define EXPERIMENT 0x88b5

static const struct port_conf conf = {
    .name = "mgmt0",
    .type = PORT_HOST,
    .ifname = NAME,
    .n_queues = 1,
    .mtu = 1500,
    .has_mac = true,
    .mac = {2, 0, 0, 0, 0, 0x42},
};

static int control_sock;

static struct ifreq link_ask(unsigned long request)
{
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, NAME);
	ck_assert_msg(ioctl(control_sock, request, &ifr) == 0, "%s", strerror(errno));
	return ifr;
}

static void link_up(bool up)
{
	struct ifreq ifr = link_ask(SIOCGIFFLAGS);

	ifr.ifr_flags = up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP;
	ck_assert(ioctl(control_sock, SIOCSIFFLAGS, &ifr) == 0);
}

static int host_socket(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(EXPERIMENT));
	struct sockaddr_ll at = {
	    .sll_family = AF_PACKET, .sll_protocol = htons(EXPERIMENT), .sll_ifindex = if_nametoindex(NAME)};

	ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	return fd;
}

static struct port *start(void)
{
	struct port *p = rig_port_start(&tap_driver, &conf);

	rig_wait(p->state == PORT_UP && p->live.up);
	return p;
}

// The next experimental frame of the host; its own frames (neighbour discovery) do not count.
static struct pkt *host_frame(struct port *p)
{
	static struct pkt pkt;
	uint64_t deadline = time_ns() + RIG_DEADLINE_NS;

	for (;;) {
		ck_assert_msg(time_ns() < deadline, "no frame came");
		if (rig_rx(p, &pkt, 1) == 0)
			continue;
		if (pkt.data[12] == EXPERIMENT >> 8 && pkt.data[13] == (EXPERIMENT & 255))
			return &pkt;
		pkt_free(&pkt);
	}
}

static void check_both_ways(struct port *p, uint32_t len)
{
	uint8_t frame[FRAME_MAX_MTU + 22], back[FRAME_MAX_MTU + 22];
	int fd = host_socket();

	rig_frame(frame, len, 1);
	ck_assert_int_eq(send(fd, frame, len, 0), len);
	struct pkt *pkt = host_frame(p);

	ck_assert_int_eq(pkt->src, p->index);
	ck_assert(rig_same(pkt, frame, len));
	pkt_free(pkt);
	rig_frame(frame, len, 2);
	ck_assert(rig_tx(p, 0, frame, len));
	ck_assert_int_eq(recv(fd, back, sizeof(back), 0), len);
	ck_assert(memcmp(frame, back, len) == 0);
	close(fd);
}

START_TEST(interface_is_made_as_configured_and_goes_with_the_port)
{
	struct port *p = start();

	ck_assert_int_eq(link_ask(SIOCGIFMTU).ifr_mtu, 1500);
	ck_assert(memcmp(link_ask(SIOCGIFHWADDR).ifr_hwaddr.sa_data, conf.mac, 6) == 0);
	ck_assert(link_ask(SIOCGIFFLAGS).ifr_flags & IFF_UP);
	ck_assert_int_eq(p->live.n_tx_active, 1);
	rig_port_stop(p);
	ck_assert_int_eq(if_nametoindex(NAME), 0);
}
END_TEST

START_TEST(frames_pass_both_ways)
{
	struct port *p = start();

	check_both_ways(p, 60);
	check_both_ways(p, 1514);
	rig_port_stop(p);
}
END_TEST

START_TEST(mtu_changes_live_and_jumbo_frames_pass)
{
	struct port *p = start();

	tap_driver.mtu_changed(p, 9216);
	ck_assert_int_eq(link_ask(SIOCGIFMTU).ifr_mtu, 9216);
	check_both_ways(p, 9216 + 14);
	check_both_ways(p, 2048);
	check_both_ways(p, 2049);
	check_both_ways(p, 60);
	rig_port_stop(p);
}
END_TEST

START_TEST(a_frame_beyond_all_buffers_is_seen_as_oversize_and_the_next_one_passes)
{
	struct port *p = start();
	struct ifreq ifr = link_ask(SIOCGIFMTU);
	static uint8_t big[30000];
	int fd = host_socket();

	ifr.ifr_mtu = 40000;
	ck_assert(ioctl(control_sock, SIOCSIFMTU, &ifr) == 0);
	rig_frame(big, sizeof(big), 3);
	ck_assert_int_eq(send(fd, big, sizeof(big), 0), sizeof(big));
	close(fd);
	struct pkt *pkt = host_frame(p);

	ck_assert_uint_gt(pkt->len, FRAME_MAX_MTU + 22);
	pkt_free(pkt);
	check_both_ways(p, 60);
	rig_port_stop(p);
}
END_TEST

START_TEST(switched_off_interface_is_told_and_takes_nothing)
{
	struct port *p = start();
	uint8_t frame[60];

	link_up(false);
	rig_wait(p->state == PORT_WAITING);
	ck_assert_str_eq(p->why, "interface " NAME " is down; bring it up with 'ip link set " NAME " up'");
	ck_assert(!p->live.up);
	rig_frame(frame, sizeof(frame), 4);
	ck_assert(!rig_tx(p, 0, frame, sizeof(frame)));
	link_up(true);
	rig_wait(p->state == PORT_UP && p->live.up);
	check_both_ways(p, 60);
	rig_port_stop(p);
}
END_TEST

START_TEST(interface_that_was_deleted_is_made_again)
{
	struct port *p = start();
	unsigned before = if_nametoindex(NAME);

	ck_assert_int_eq(system("ip link del " NAME), 0);
	rig_wait(if_nametoindex(NAME) != 0 && if_nametoindex(NAME) != before && p->state == PORT_UP &&
		 p->live.up);
	check_both_ways(p, 60);
	rig_port_stop(p);
}
END_TEST

START_TEST(renamed_interface_is_told)
{
	struct port *p = start();

	ck_assert_int_eq(system("ip link set " NAME " down && ip link set " NAME " name evs-t9"), 0);
	rig_wait(p->state == PORT_FAILED);
	ck_assert_str_eq(p->why,
			 "interface " NAME " was renamed to evs-t9 or moved to another network namespace; "
			 "undo that");
	ck_assert_int_eq(system("ip link set evs-t9 name " NAME " && ip link set " NAME " up"), 0);
	rig_wait(p->state == PORT_UP);
	rig_port_stop(p);
}
END_TEST

START_TEST(interface_of_an_earlier_run_is_taken_over)
{
	ck_assert_int_eq(system("ip tuntap add " NAME " mode tap && ip addr add 192.0.2.1/24 dev " NAME), 0);
	unsigned before = if_nametoindex(NAME);
	struct port *p = start();

	ck_assert_int_eq(if_nametoindex(NAME), before);
	ck_assert_int_eq(system("ip -o addr show dev " NAME " | grep -q 192.0.2.1/24"), 0);
	rig_port_stop(p);
}
END_TEST

static void expect_refusal(const char *ifname, int code, const char *sentence)
{
	struct port_conf c = conf;
	struct err e = {0};

	strcpy(c.ifname, ifname);
	struct port *p = rig_port(&tap_driver, &c);

	ck_assert_int_eq(tap_driver.open(p, &p->conf, &e), code);
	ck_assert_str_eq(e.text, sentence);
	rig_port_free(p);
}

START_TEST(taken_names_are_refused_with_a_reason)
{
	struct port *p = start();

	expect_refusal(NAME, -EBUSY,
		       "port mgmt0: interface " NAME
		       " is in use by another program; stop it or choose another ifname");
	rig_port_stop(p);
	ck_assert_int_eq(system("ip link add " NAME " type veth peer name evs-t1"), 0);
	expect_refusal(NAME, -EEXIST,
		       "port mgmt0: an interface " NAME " exists already and is no tap (veth); choose "
		       "another ifname");
	ck_assert_int_eq(system("ip link del " NAME), 0);
	ck_assert_int_eq(system("ip tuntap add " NAME " mode tun"), 0);
	expect_refusal(NAME, -EEXIST,
		       "port mgmt0: an interface " NAME " exists already and is a tun or multi-queue "
		       "device; remove it or choose another ifname");
	ck_assert_int_eq(system("ip link del " NAME), 0);
}
END_TEST

START_TEST(impossible_confs_are_refused)
{
	struct port_conf c = conf;
	struct err e = {0};

	c.n_queues = 2;
	ck_assert_int_lt(tap_driver.validate(&c, &e), 0);
	ck_assert_str_eq(e.text, "port mgmt0: queues 2: a host port has 1");
	c.n_queues = 1;
	strcpy(c.ifname, "a/b");
	e = (struct err){0};
	ck_assert_int_lt(tap_driver.validate(&c, &e), 0);
	ck_assert_ptr_nonnull(strstr(e.text, "'a/b' is no interface name"));
}
END_TEST

// The rest of the test needs what an ordinary user does not have.
static bool can_make_interfaces(void)
{
	return geteuid() == 0 && access("/dev/net/tun", W_OK) == 0 && unshare(CLONE_NEWNET) == 0;
}

static void add_live_tests(TCase *t)
{
	tcase_add_test(t, interface_is_made_as_configured_and_goes_with_the_port);
	tcase_add_test(t, frames_pass_both_ways);
	tcase_add_test(t, mtu_changes_live_and_jumbo_frames_pass);
	tcase_add_test(t, a_frame_beyond_all_buffers_is_seen_as_oversize_and_the_next_one_passes);
	tcase_add_test(t, switched_off_interface_is_told_and_takes_nothing);
	tcase_add_test(t, interface_that_was_deleted_is_made_again);
	tcase_add_test(t, renamed_interface_is_told);
	tcase_add_test(t, interface_of_an_earlier_run_is_taken_over);
	tcase_add_test(t, taken_names_are_refused_with_a_reason);
}

int main(void)
{
	Suite *s = suite_create("tap");
	TCase *t = tcase_create("tap");
	bool live = can_make_interfaces();

	tcase_set_timeout(t, 60);
	tcase_add_test(t, impossible_confs_are_refused);
	if (live)
		add_live_tests(t);
	else
		printf("tap_test: most is SKIPPED: needs root, network namespaces and /dev/net/tun\n");
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_set_fork_status(sr, CK_NOFORK);
	control_sock = socket(AF_INET, SOCK_DGRAM, 0);
	if (live)
		rig_init();
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	if (live)
		rig_fini();
	return failed == 0 ? 0 : 1;
}
