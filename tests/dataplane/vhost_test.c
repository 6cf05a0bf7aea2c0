// Guests by vhost-user: our driver on one end of the socket, DPDK's net_virtio_user as the guest on the other, in one
// process.
//
//   guest (net_virtio_user) ── socket, shared memory ── vhost-user driver ── test
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_ethdev.h>

#include "dp/pool.h"
#include "driver_rig.h"
#include "hv/vhost.h"
#include "vhost_guest.h"

static char dir[64];

static struct port_conf conf_of(const char *file, bool server, uint16_t n_queues)
{
	struct port_conf c = {
	    .name = "vm1", .type = PORT_GUEST, .server = server, .n_queues = n_queues, .mtu = 1500};

	snprintf(c.socket, sizeof(c.socket), "%s/%s", dir, file);
	return c;
}

static void check_from_guest(struct guest *g, struct port *p, uint16_t queue, uint32_t len)
{
	static struct pkt pkt;
	uint8_t frame[2048];

	rig_frame(frame, len, 5 + queue);
	ck_assert(guest_send(g, queue, frame, len));
	rig_wait(rig_rx_queue(rig_worker(), p, queue, &pkt, 1) == 1);
	ck_assert_int_eq(pkt.src, p->index);
	ck_assert(rig_same(&pkt, frame, len));
	pkt_free(&pkt);
}

static void check_to_guest(struct guest *g, struct port *p, uint16_t queue, uint32_t len)
{
	uint8_t frame[2048];
	struct rte_mbuf *m = NULL;

	rig_frame(frame, len, 50 + queue);
	ck_assert(rig_tx(p, queue, frame, len));
	rig_wait((m = guest_receive(g)) != NULL);
	ck_assert_int_eq(rte_pktmbuf_pkt_len(m), len);
	ck_assert(memcmp(rte_pktmbuf_mtod(m, void *), frame, len) == 0);
	rte_pktmbuf_free(m);
}

static void check_both_ways(struct guest *g, struct port *p)
{
	for (uint16_t q = 0; q < g->n_queues; q++) {
		check_from_guest(g, p, q, 60);
		check_from_guest(g, p, q, 1514);
		check_to_guest(g, p, q, 60);
		check_to_guest(g, p, q, 1514);
	}
}

// Life

START_TEST(client_waits_for_the_socket_then_serves_the_guest)
{
	struct port_conf c = conf_of("vm1.sock", false, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);
	struct guest g;
	char why[200];

	snprintf(why, sizeof(why), "waits for the socket %s: no such file", c.socket);
	ck_assert_str_eq(p->why, why);
	ck_assert_int_eq(p->state, PORT_WAITING);
	guest_start(&g, p, 1, "");
	ck_assert_str_eq(p->why, "");
	check_both_ways(&g, p);
	guest_end(&g, p);
	rig_port_stop(p);
}
END_TEST

START_TEST(client_connects_again_and_again)
{
	struct port_conf c = conf_of("vm1.sock", false, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);
	struct guest g;

	for (int i = 0; i < 5; i++) {
		guest_start(&g, p, 1, i % 2 ? ",packed_vq=1" : "");
		check_both_ways(&g, p);
		guest_end(&g, p);
	}
	json_t *stats = rig_stats(p);

	ck_assert_int_eq(json_integer_value(json_object_get(stats, "connections")), 5);
	ck_assert_str_eq(json_string_value(json_object_get(stats, "mode")), "client");
	json_decref(stats);
	rig_port_stop(p);
}
END_TEST

START_TEST(server_serves_one_guest_after_the_other_and_removes_its_socket)
{
	struct port_conf c = conf_of("vm1.sock", true, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);
	struct guest g;

	rig_wait_why(p, "waits for the guest on /");
	for (int i = 0; i < 5; i++) {
		guest_start(&g, p, 1, i % 2 ? ",packed_vq=1" : "");
		check_both_ways(&g, p);
		guest_end(&g, p);
	}
	rig_port_stop(p);
	ck_assert_int_ne(access(c.socket, F_OK), 0);
}
END_TEST

// As a worker's set sees it: once for every time that it gets ready.
static bool edge(int set)
{
	struct epoll_event ev;

	return epoll_wait(set, &ev, 1, 0) == 1;
}

static void check_kick(struct guest *g, struct port *p, int set, int fd)
{
	static struct pkt pkt;
	uint8_t frame[60];

	ck_assert_int_eq(p->driver->notify(rig_worker(), &p->rxqs[0], true), fd);
	ck_assert_int_eq(rig_rx(p, &pkt, 1), 0);
	while (edge(set))
		;
	rig_frame(frame, sizeof(frame), 9);
	ck_assert(guest_send(g, 0, frame, sizeof(frame)));
	rig_wait(edge(set));
	ck_assert_int_eq(rig_rx(p, &pkt, 1), 1);
	ck_assert(rig_same(&pkt, frame, sizeof(frame)));
	pkt_free(&pkt);
	p->driver->notify(rig_worker(), &p->rxqs[0], false);
}

START_TEST(silent_ring_is_waited_for_on_one_descriptor_whoever_the_guest_is)
{
	struct port_conf c = conf_of("vm1.sock", false, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);
	int set = epoll_create1(0), fd = p->driver->notify(rig_worker(), &p->rxqs[0], true);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	struct guest g;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev), 0);
	for (int i = 0; i < 4; i++) {
		while (edge(set))
			;
		guest_start(&g, p, 1, i % 2 ? ",packed_vq=1" : "");
		rig_wait(edge(set)); // the ring can be used: it was silent for another reason before
		check_kick(&g, p, set, fd);
		check_both_ways(&g, p);
		check_kick(&g, p, set, fd);
		guest_end(&g, p);
	}
	close(set);
	rig_port_stop(p);
}
END_TEST

START_TEST(kick_descriptor_that_is_replaced_under_a_sleeping_worker_is_followed)
{
	struct port_conf c = conf_of("vm1.sock", true, 1);

	for (int i = 0; i < 2; i++) {
		struct port *p = rig_port_start(&vhost_driver, &c);
		int set = epoll_create1(0), kick = eventfd(0, 0);
		struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
		struct guest g;

		guest_start(&g, p, 1, i % 2 ? ",packed_vq=1" : "");
		int fd = p->driver->notify(rig_worker(), &p->rxqs[0], true);

		ck_assert_int_eq(epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev), 0);
		while (edge(set))
			;
		guest_kick_replace(p, 1, kick);
		rig_wait(edge(set)); // it is to look again: what was kicked meanwhile may be lost
		rig_wait(p->state == PORT_UP && p->live.up);
		ck_assert_int_eq(p->driver->notify(rig_worker(), &p->rxqs[0], true), fd);
		while (edge(set))
			;
		eventfd_write(kick, 1);
		rig_wait(edge(set));
		eventfd_write(kick, 1);
		rig_wait(edge(set));
		check_from_guest(&g, p, 0, 60);
		guest_end(&g, p);
		rig_port_stop(p);
		close(kick);
		close(set);
	}
}
END_TEST

START_TEST(every_queue_pair_works)
{
	struct port_conf c = conf_of("vm1.sock", true, 4);
	struct port *p = rig_port_start(&vhost_driver, &c);
	struct guest g;

	guest_start(&g, p, 4, "");
	check_both_ways(&g, p);
	json_t *stats = rig_stats(p);

	ck_assert_int_eq(json_integer_value(json_object_get(stats, "queues_enabled")), 4);
	json_decref(stats);
	guest_end(&g, p);
	guest_start(&g, p, 2, "");
	check_both_ways(&g, p);
	ck_assert(!rig_tx(p, 3, "0123456789abcdef", 16));
	guest_end(&g, p);
	rig_port_stop(p);
}
END_TEST

START_TEST(a_guest_with_more_queue_pairs_than_the_port_is_refused)
{
	struct port_conf c = conf_of("vm1.sock", true, 2);
	struct port *p = rig_port_start(&vhost_driver, &c);
	struct guest g;

	// This guest does not ask how many there are. QEMU does, and refuses to start.
	ck_assert_int_eq(guest_try(&g, p, 3, ""), 0);
	ck_assert_int_ne(guest_use(&g), 0);
	rig_wait_why(p, "the last peer set up more queue pairs than the port's 2");
	ck_assert_int_eq(p->state, PORT_FAILED);
	guest_end(&g, NULL);
	guest_start(&g, p, 2, "");
	check_both_ways(&g, p);
	guest_end(&g, p);
	rig_port_stop(p);
}
END_TEST

START_TEST(frames_beyond_the_guests_ring_are_not_taken)
{
	struct port_conf c = conf_of("vm1.sock", true, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);
	struct rte_mbuf *m;
	struct guest g;
	uint8_t frame[60];
	int n_sent = 0, n_received = 0;

	guest_start(&g, p, 1, "");
	rig_frame(frame, sizeof(frame), 9);
	while (n_sent < 1000 && rig_tx(p, 0, frame, sizeof(frame)))
		n_sent++;
	ck_assert_int_gt(n_sent, 100);
	ck_assert_int_lt(n_sent, 1000);
	for (; (m = guest_receive(&g)) != NULL; n_received++)
		rte_pktmbuf_free(m);
	ck_assert_int_eq(n_received, n_sent);
	check_both_ways(&g, p);
	guest_end(&g, p);
	rig_port_stop(p);
}
END_TEST

START_TEST(port_goes_while_the_guest_runs)
{
	struct port_conf c = conf_of("vm1.sock", false, 1);

	for (int i = 0; i < 2; i++) {
		struct port *p;
		struct guest g;

		c.server = i == 1;
		p = rig_port_start(&vhost_driver, &c);
		guest_start(&g, p, 1, "");
		check_both_ways(&g, p);
		rig_port_stop(p);
		guest_end(&g, NULL);
		unlink(c.socket);
	}
}
END_TEST

START_TEST(a_frame_that_no_buffer_of_the_guest_holds_is_named)
{
	struct port_conf c = conf_of("vm1.sock", true, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);
	static uint8_t frame[5000];
	struct guest g;

	rig_frame(frame, sizeof(frame), 3);
	for (int i = 0; i < 2; i++) {
		guest_start(&g, p, 1, i == 1 ? ",mrg_rxbuf=0,packed_vq=1" : ",mrg_rxbuf=0");
		ck_assert(rig_tx(p, 0, frame, 60));
		ck_assert(!rig_tx(p, 0, frame, sizeof(frame)));
		ck_assert(p->txqs[0].unfit);
		ck_assert(rig_tx(p, 0, frame, 60));
		ck_assert(!p->txqs[0].unfit);
		guest_end(&g, p);
	}
	rig_port_stop(p);
}
END_TEST

// A worker that never stops polling sees rings come and go.
static _Atomic bool storm_end;
static _Atomic uint64_t n_storm;

static void *storm(void *arg)
{
	static struct pkt pkts[PKT_BURST];
	static struct worker w;
	struct port *p = arg;

	w.pool = pool_shared();
	while (!storm_end) {
		uint16_t n = rig_rx_queue(&w, p, 0, pkts, PKT_BURST);
		struct pkt *list[PKT_BURST];

		for (uint16_t i = 0; i < n; i++)
			list[i] = &pkts[i];
		p->driver->tx(&w, &p->txqs[0], list, n);
		for (uint16_t i = 0; i < n; i++)
			pkt_free(&pkts[i]);
		n_storm += n;
	}
	return NULL;
}

START_TEST(guest_comes_and_goes_under_a_polling_worker)
{
	struct port_conf c = conf_of("vm1.sock", true, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);
	struct guest g;
	pthread_t thread;
	uint8_t frame[60];

	rig_frame(frame, sizeof(frame), 7);
	storm_end = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, storm, p), 0);
	for (int i = 0; i < 5; i++) {
		uint64_t before = n_storm;
		struct rte_mbuf *m;

		guest_start(&g, p, 1, "");
		while (n_storm < before + 2000) {
			guest_send(&g, 0, frame, sizeof(frame));
			if ((m = guest_receive(&g)) != NULL)
				rte_pktmbuf_free(m);
		}
		guest_end(&g, p);
	}
	storm_end = true;
	pthread_join(thread, NULL);
	rig_port_stop(p);
}
END_TEST

// Sockets

static int listen_on(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(un.sun_path, path);
	ck_assert(bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0 && listen(fd, 4) == 0);
	return fd;
}

static void file_make(const char *path)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fclose(f);
}

START_TEST(client_says_what_is_wrong_with_the_socket)
{
	struct port_conf c = conf_of("vm1.sock", false, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);

	file_make(c.socket);
	rig_wait_why(p, "vm1.sock: not a socket");
	ck_assert_int_eq(p->state, PORT_FAILED);
	unlink(c.socket);
	close(listen_on(c.socket));
	rig_wait_why(p, "vm1.sock: nobody listens on it");
	ck_assert_int_eq(p->state, PORT_WAITING);
	if (geteuid() != 0) {
		ck_assert_int_eq(chmod(c.socket, 0), 0);
		rig_wait_why(p, "permission denied; the socket is owned by");
		ck_assert_ptr_nonnull(strstr(p->why, "(0000)"));
	}
	unlink(c.socket);
	rig_wait_why(p, "no such file");
	int fd = listen_on(c.socket);

	rig_wait_why(p, "connected; waits for the guest's driver");
	close(fd);
	rig_wait_why(p, "nobody listens on it");
	rig_port_stop(p);
	unlink(c.socket);
}
END_TEST

static void expect_refusal(const struct port_conf *c, int code, const char *part)
{
	struct port *p = rig_port(&vhost_driver, c);
	struct err e = {0};

	ck_assert_int_eq(vhost_driver.open(p, &p->conf, &e), code);
	ck_assert_msg(strncmp(e.text, "port vm1: cannot listen on /", 28) == 0 && strstr(e.text, part), "%s",
		      e.text);
	rig_port_free(p);
}

START_TEST(server_refuses_paths_it_must_not_take)
{
	struct port_conf c = conf_of("vm1.sock", true, 1), nowhere = conf_of("none/vm1.sock", true, 1);
	struct port_conf locked = conf_of("locked/vm1.sock", true, 1);
	char path[128];
	int fd = listen_on(c.socket);

	expect_refusal(&c, -EADDRINUSE, "another program listens there");
	close(fd);
	unlink(c.socket);
	file_make(c.socket);
	expect_refusal(&c, -EEXIST, "a file that is not a socket stands there");
	ck_assert_int_eq(access(c.socket, F_OK), 0);
	unlink(c.socket);
	expect_refusal(&nowhere, -ENOENT, "/none: no such file or directory");
	if (geteuid() != 0) {
		snprintf(path, sizeof(path), "%s/locked", dir);
		ck_assert_int_eq(mkdir(path, 0500), 0);
		expect_refusal(&locked, -EACCES, "/locked: permission denied; it is owned by");
		rmdir(path);
	}
}
END_TEST

START_TEST(server_takes_the_place_of_a_stale_socket)
{
	struct port_conf c = conf_of("vm1.sock", true, 1);

	close(listen_on(c.socket));
	struct port *p = rig_port_start(&vhost_driver, &c);

	rig_wait_why(p, "waits for the guest on /");
	rig_port_stop(p);
}
END_TEST

// Else one such peer would stop all conversations: the library has one thread for them.
START_TEST(peer_that_stops_within_a_message_is_let_go)
{
	static const uint32_t header[] = {8, 1, 8}; // 8 bytes are to follow
	struct port_conf c = conf_of("vm1.sock", true, 1);
	struct port *p = rig_port_start(&vhost_driver, &c);
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	char byte;

	strcpy(un.sun_path, c.socket);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	rig_wait_why(p, "connected; waits for the guest's driver");
	ck_assert_int_eq(write(fd, header, sizeof(header)), sizeof(header));
	rig_wait(read(fd, &byte, 1) == 0);
	close(fd);
	rig_wait_why(p, "waits for the guest on /");
	rig_port_stop(p);
}
END_TEST

START_TEST(second_port_on_a_path_waits_until_the_first_is_gone)
{
	struct port_conf c = conf_of("vm1.sock", true, 1), d = c;

	strcpy(d.name, "vm2");
	struct port *first = rig_port_start(&vhost_driver, &c), *second = rig_port_start(&vhost_driver, &d);
	struct guest g;

	rig_wait_why(second, "port vm1 uses it");
	rig_port_stop(first);
	rig_wait_why(second, "waits for the guest on /");
	guest_start(&g, second, 1, "");
	check_both_ways(&g, second);
	guest_end(&g, second);
	rig_port_stop(second);
}
END_TEST

START_TEST(impossible_confs_are_refused)
{
	struct port_conf c = conf_of("vm1.sock", true, MAX_QUEUES + 1);
	struct err e = {0};

	ck_assert_int_eq(vhost_driver.validate(&c, &e), -ERANGE);
	ck_assert_str_eq(e.text, "port vm1: queues 17 is not within 1..16");
	c.n_queues = 1;
	strcpy(c.socket, "vm1.sock");
	ck_assert_int_eq(vhost_driver.validate(&c, &e), -EINVAL);
	ck_assert_str_eq(e.text, "port vm1: socket 'vm1.sock' is not an absolute path");
}
END_TEST

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	Suite *s = suite_create("vhost-user");
	TCase *t = tcase_create("vhost-user");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, client_waits_for_the_socket_then_serves_the_guest);
	tcase_add_test(t, client_connects_again_and_again);
	tcase_add_test(t, server_serves_one_guest_after_the_other_and_removes_its_socket);
	tcase_add_test(t, silent_ring_is_waited_for_on_one_descriptor_whoever_the_guest_is);
	tcase_add_test(t, kick_descriptor_that_is_replaced_under_a_sleeping_worker_is_followed);
	tcase_add_test(t, every_queue_pair_works);
	tcase_add_test(t, a_guest_with_more_queue_pairs_than_the_port_is_refused);
	tcase_add_test(t, frames_beyond_the_guests_ring_are_not_taken);
	tcase_add_test(t, port_goes_while_the_guest_runs);
	tcase_add_test(t, a_frame_that_no_buffer_of_the_guest_holds_is_named);
	tcase_add_test(t, guest_comes_and_goes_under_a_polling_worker);
	tcase_add_test(t, client_says_what_is_wrong_with_the_socket);
	tcase_add_test(t, server_refuses_paths_it_must_not_take);
	tcase_add_test(t, server_takes_the_place_of_a_stale_socket);
	tcase_add_test(t, peer_that_stops_within_a_message_is_let_go);
	tcase_add_test(t, second_port_on_a_path_waits_until_the_first_is_gone);
	tcase_add_test(t, impossible_confs_are_refused);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	snprintf(dir, sizeof(dir), "%s/evs-vhost-XXXXXX", tmp != NULL && strlen(tmp) < 32 ? tmp : "/tmp");
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
