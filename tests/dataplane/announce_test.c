// Guests by vhost-user that have moved here: what is made of VHOST_USER_SEND_RARP. The guest is DPDK's net_virtio_user, the
// test its worker.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "driver_rig.h"
#include "hv/vhost.h"
#include "vhost_guest.h"

#define SEND_RARP 19

static char dir[64];
static struct pkt pkt;

static struct port *port_start(void)
{
	struct port_conf c = {.name = "vm1", .type = PORT_GUEST, .server = true, .n_queues = 1, .mtu = 1500};

	snprintf(c.socket, sizeof(c.socket), "%s/vm1.sock", dir);
	rig_worker()->hz = 1000;
	rig_worker()->now_tsc = 10000;
	return rig_port_start(&vhost_driver, &c);
}

static void check_from_guest(struct guest *g, struct port *p)
{
	uint8_t frame[60];

	rig_frame(frame, sizeof(frame), 5);
	ck_assert(guest_send(g, 0, frame, sizeof(frame)));
	rig_wait(rig_rx(p, &pkt, 1) == 1);
	ck_assert(rig_same(&pkt, frame, sizeof(frame)));
	pkt_free(&pkt);
}

static bool edge(int set)
{
	struct epoll_event ev;

	return epoll_wait(set, &ev, 1, 0) == 1;
}

// RFC 903, as QEMU would have sent it. The address begins with the lowest byte.
static void check_rarp(const struct pkt *p, uint64_t address)
{
	static const uint8_t middle[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
	uint8_t frame[60] = {0};

	memset(frame, 0xff, 6);
	memcpy(frame + 6, &address, 6);
	memcpy(frame + 12, middle, sizeof(middle));
	memcpy(frame + 22, &address, 6);
	memcpy(frame + 32, &address, 6);
	ck_assert(rig_same(p, frame, sizeof(frame)));
}

START_TEST(a_guest_is_announced_once_when_its_front_end_asks)
{
	struct worker *w = rig_worker();

	for (int i = 0; i < 2; i++) {
		struct port *p = port_start();
		int set = epoll_create1(0);
		struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
		struct guest g;

		guest_start(&g, p, 1, i ? ",packed_vq=1" : "");
		int fd = p->driver->notify(w, &p->rxqs[0], true);

		ck_assert_int_eq(epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev), 0);
		while (edge(set))
			;
		guest_say(p, SEND_RARP, 0x010000000002, 1);
		ck_assert(edge(set)); // a worker that sleeps is to look
		ck_assert_int_eq(p->driver->notify(w, &p->rxqs[0], true), -1);
		ck_assert_int_eq(rig_rx(p, &pkt, 1), 1);
		check_rarp(&pkt, 0x010000000002);
		pkt_free(&pkt);
		w->now_tsc += 10;
		ck_assert_int_eq(rig_rx(p, &pkt, 1), 0);
		check_from_guest(&g, p);
		guest_end(&g, p);
		rig_port_stop(p);
		close(set);
	}
}
END_TEST

START_TEST(a_flood_of_announcements_costs_nothing)
{
	struct port *p = port_start();
	struct worker *w = rig_worker();
	struct guest g;

	guest_start(&g, p, 1, "");
	guest_say(p, SEND_RARP, 0x010000000002, 1000);
	ck_assert_int_eq(rig_rx(p, &pkt, 1), 1);
	check_rarp(&pkt, 0x010000000002 + 999);
	pkt_free(&pkt);
	guest_say(p, SEND_RARP, 0x020000000002, 1000);
	ck_assert_int_eq(rig_rx(p, &pkt, 1), 0);
	check_from_guest(&g, p); // nothing else waits for it
	w->now_tsc += 10;
	ck_assert_int_eq(rig_rx(p, &pkt, 1), 1);
	check_rarp(&pkt, 0x020000000002 + 999);
	pkt_free(&pkt);
	ck_assert_int_eq(rig_rx(p, &pkt, 1), 0);
	guest_end(&g, p);
	rig_port_stop(p);
}
END_TEST

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	Suite *s = suite_create("announce");
	TCase *t = tcase_create("announce");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_guest_is_announced_once_when_its_front_end_asks);
	tcase_add_test(t, a_flood_of_announcements_costs_nothing);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	snprintf(dir, sizeof(dir), "%s/evs-announce-XXXXXX", tmp != NULL && strlen(tmp) < 32 ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL) {
		perror(dir);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN); // the guest's own library writes to a socket that we have closed
	rig_init();
	struct err e;

	if (vhost_talk_init(&e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	srunner_set_fork_status(sr, CK_NOFORK);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	rmdir(dir);
	// The library's event thread has no end of its own: leave without unloading under it.
	fflush(NULL);
	_exit(failed == 0 ? 0 : 1);
}
