// The guest of vhost-user tests: attached by a thread of its own, as that takes as long as its peer lets it wait.
#include "vhost_guest.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <rte_dev.h>
#include <rte_ethdev.h>

#include "dp/pool.h"

// Takes as long as the peer lets it wait, so it has a thread.
static void *guest_boot(void *arg)
{
	struct guest *g = arg;

	g->rc = rte_eal_hotplug_add("vdev", g->name, g->args);
	if (g->rc == 0)
		g->rc = rte_eth_dev_get_port_by_name(g->name, &g->id);
	g->done = true;
	return NULL;
}

int guest_use(struct guest *g)
{
	struct rte_eth_conf eth = {0};

	ck_assert_int_eq(rte_eth_dev_configure(g->id, g->n_queues, g->n_queues, &eth), 0);
	for (uint16_t q = 0; q < g->n_queues; q++) {
		ck_assert_int_eq(rte_eth_rx_queue_setup(g->id, q, 256, SOCKET_ID_ANY, NULL, pool_shared()),
				 0);
		ck_assert_int_eq(rte_eth_tx_queue_setup(g->id, q, 256, SOCKET_ID_ANY, NULL), 0);
	}
	return rte_eth_dev_start(g->id);
}

int guest_try(struct guest *g, const struct port *p, uint16_t n_queues, const char *more)
{
	static int n;
	pthread_t thread;

	*g = (struct guest){.n_queues = n_queues};
	snprintf(g->name, sizeof(g->name), "net_virtio_user%d", n++);
	snprintf(g->args, sizeof(g->args), "path=%s,queues=%u,queue_size=256,mac=02:00:00:00:00:01%s%s",
		 p->conf.socket, n_queues, p->conf.server ? "" : ",server=1", more);
	ck_assert_int_eq(pthread_create(&thread, NULL, guest_boot, g), 0);
	rig_wait(g->done);
	pthread_join(thread, NULL);
	return g->rc;
}

void guest_start(struct guest *g, struct port *p, uint16_t n_queues, const char *more)
{
	ck_assert_int_eq(guest_try(g, p, n_queues, more), 0);
	ck_assert_int_eq(guest_use(g), 0);
	rig_wait(p->state == PORT_UP && p->live.up && p->live.n_tx_active == n_queues);
}

void guest_end(struct guest *g, const struct port *p)
{
	rte_eth_dev_stop(g->id);
	ck_assert_int_eq(rte_eal_hotplug_remove("vdev", g->name), 0);
	// A successor that comes before our end has seen the first one go would be a second front end.
	rig_wait(p == NULL || (p->state == PORT_WAITING && strncmp(p->why, "connected", 9) != 0));
	ck_assert(p == NULL || (!p->live.up && p->live.n_tx_active == 0));
}

bool guest_send(struct guest *g, uint16_t queue, const uint8_t *frame, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool_shared());

	memcpy(rte_pktmbuf_append(m, len), frame, len);
	if (rte_eth_tx_burst(g->id, queue, &m, 1) == 1)
		return true;
	rte_pktmbuf_free(m);
	return false;
}

struct rte_mbuf *guest_receive(struct guest *g)
{
	struct rte_mbuf *m = NULL;

	for (uint16_t q = 0; q < g->n_queues; q++)
		if (rte_eth_rx_burst(g->id, q, &m, 1) == 1)
			return m;
	return NULL;
}

// Our end of the guest's connection: the one whose peer has the path.
static int guest_socket(const struct port *p)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct sockaddr_un peer = {0};
		socklen_t len = sizeof(peer);

		if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_family == AF_UNIX &&
		    strcmp(peer.sun_path, p->conf.socket) == 0)
			return fd;
	}
	ck_abort_msg("the guest has no connection to %s", p->conf.socket);
	return -1;
}

struct message {
	uint32_t request, flags, size;
	uint64_t u64;
} __attribute__((packed));

// Messages are handled one by one: with the answer to a question behind them, they have been.
static void all_handled(int fd)
{
	struct message get = {1, 1, 0, 0}; // GET_FEATURES

	ck_assert(send(fd, &get, sizeof(get) - sizeof(get.u64), 0) > 0);
	ck_assert(recv(fd, &get, sizeof(get), MSG_WAITALL) == sizeof(get));
	ck_assert_uint_eq(get.request, 1);
}

void guest_say(const struct port *p, uint32_t request, uint64_t value, unsigned n)
{
	int fd = guest_socket(p);

	for (unsigned i = 0; i < n; i++) {
		struct message m = {request, 1, sizeof(m.u64), value + i};

		ck_assert(send(fd, &m, sizeof(m), 0) == sizeof(m));
	}
	all_handled(fd);
}

void guest_kick_replace(const struct port *p, uint16_t ring, int kick)
{
	struct message set = {12, 1, 8, ring}; // SET_VRING_KICK
	char room[CMSG_SPACE(sizeof(kick))] = {0};
	struct iovec v = {&set, sizeof(set)};
	struct msghdr h = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int fd = guest_socket(p);

	*c = (struct cmsghdr){CMSG_LEN(sizeof(kick)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(c), &kick, sizeof(kick));
	ck_assert(sendmsg(fd, &h, 0) == sizeof(set));
	all_handled(fd);
}
