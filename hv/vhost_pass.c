// Guests by vhost-user, handing a conversation on to the next switch process. See vhost_pass.h.
//
// The library does not give a connection away. But it reads only by the descriptor, under whose number another socket can
// be put. That must not happen within a message, so it is done where no message is being handled: in a callback of the
// library's own thread, which the end of a connection to ourselves (the bell) brings about.
#include "vhost_pass.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <rte_vhost.h>

#include "ctrl/api/log.h"
#include "relay.h"
#include "vhost.h"
#include "vhost_check.h"

#define BIT(n)       (1ULL << (n))
#define BELL_S       2
#define HUSHES       3
#define TELL_S       1
#define VERSION      1
#define NO_FILE      BIT(8)
#define WRAP         0x8000
#define DRIVER_READY 0xf // acknowledge, driver, driver ok, features ok

static int deaf = -1; // what stands in a connection's place: nobody ever says anything there
static sem_t rung;

// --- the old process

static bool deaf_open(void)
{
	struct timeval at_once = {.tv_usec = 1000};
	int ends[2];

	if (deaf >= 0)
		return true;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return false;
	deaf = ends[0]; // the other end stays open, too
	setsockopt(deaf, SOL_SOCKET, SO_RCVTIMEO, &at_once, sizeof(at_once));
	return true;
}

// A socket of ours in the run directory; the library knows sockets by name.
static void address_of(struct sockaddr_un *un, const char *kind, uint16_t number)
{
	const char *dir = getenv("RUNTIME_DIRECTORY"); // set for DPDK, too

	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(un->sun_path, sizeof(un->sun_path), "%.90s/%s.%u", dir != NULL ? dir : "/tmp", kind, number);
}

static int connect_to(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int listen_at(const struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	unlink(un->sun_path);
	if (fd >= 0 && bind(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 && listen(fd, 1) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

// Not those whose conversation passes through a relay: that rests. Vhost thread.
static void hush(struct vhost *v, void *arg)
{
	(void)arg;
	if (v->relay != NULL || v->kept >= 0 || v->talk.phase != VHOST_RUNNING || v->talk.fd < 0)
		return;
	v->kept = fcntl(v->talk.fd, F_DUPFD_CLOEXEC, 0);
	if (v->kept >= 0 && dup2(deaf, v->talk.fd) < 0) {
		close(v->kept);
		v->kept = -1;
	}
}

static int bell_hung(int vid)
{
	(void)vid;
	return 0;
}

// Vhost thread.
static void bell_rung(int vid)
{
	(void)vid;
	if (deaf >= 0)
		vhost_talk_each(hush, NULL);
	sem_post(&rung);
}

static const struct rte_vhost_device_ops bell = {.new_connection = bell_hung,
						 .destroy_connection = bell_rung};

// The library connects to a socket of ours. Returns our end, -1 = it cannot.
static int bell_hang(struct sockaddr_un *un)
{
	address_of(un, "bell", 0);
	int rope = -1, fd = listen_at(un);

	if (fd >= 0 &&
	    rte_vhost_driver_register(un->sun_path, RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT) ==
		0 &&
	    rte_vhost_driver_callback_register(un->sun_path, &bell) == 0 &&
	    rte_vhost_driver_start(un->sun_path) == 0)
		rope = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	unlink(un->sun_path);
	return rope;
}

// Its thread hears that we hang up.
static bool bell_ring(void)
{
	struct sockaddr_un un;
	struct timespec until;

	sem_init(&rung, 0, 0);
	int rope = bell_hang(&un);

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += BELL_S;
	if (rope >= 0)
		close(rope);
	bool ok = rope >= 0 && sem_timedwait(&rung, &until) == 0;

	rte_vhost_driver_unregister(un.sun_path);
	return ok;
}

// Its thread looks at a new listening socket only once in a second, unless it is woken by a new connection.
static void wake(void)
{
	struct sockaddr_un un;
	int rope = bell_hang(&un);

	if (rope >= 0)
		close(rope);
	rte_vhost_driver_unregister(un.sun_path);
}

static void quiet_look(struct vhost *v, void *arg)
{
	bool *quiet = arg;

	*quiet &= v->relay == NULL || relay_front(v->relay) < 0 || relay_is_quiet(v->relay);
}

void vhost_pass_hush(void)
{
	bool quiet;

	// Once is enough unless a relay has just passed something on.
	for (int i = 0; i < HUSHES; i++) {
		if (!deaf_open() || !bell_ring()) {
			log_warn("vhost-user: connections cannot be handed over; guests connect again");
			return;
		}
		quiet = true;
		vhost_talk_each(quiet_look, &quiet);
		if (quiet)
			return;
	}
}

static bool can_go_over(const struct vhost *v, const struct vhost_talk *t)
{
	return t->phase == VHOST_RUNNING && !t->parked && !t->doomed && !t->unusable &&
	       t->broken[0] == '\0' && !(t->features & BIT(VHOST_F_LOG_ALL)) &&
	       (v->relay != NULL ? relay_front(v->relay) >= 0 && relay_is_quiet(v->relay) : v->kept >= 0);
}

static void file_add(struct port_gift *g, int fd)
{
	if (g->n_fds < PORT_GIFT_FDS)
		g->fds[g->n_fds++] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static json_t *regions_describe(const struct rte_vhost_memory *m, struct port_gift *g)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < m->nregions; i++) {
		const struct rte_vhost_mem_region *r = &m->regions[i];
		uint64_t offset = r->host_user_addr - (uintptr_t)r->mmap_addr;

		json_array_append_new(list, json_pack("[I, I, I, I]", (json_int_t)r->guest_phys_addr,
						      (json_int_t)r->size, (json_int_t)r->guest_user_addr,
						      (json_int_t)offset));
		file_add(g, r->fd);
	}
	return list;
}

// As the front end calls it; 0 = it is nowhere.
static uint64_t front_address(const struct rte_vhost_memory *m, const void *at)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		const struct rte_vhost_mem_region *r = &m->regions[i];
		uint64_t off = (uintptr_t)at - r->host_user_addr;

		if (off < r->size)
			return r->guest_user_addr + off;
	}
	return 0;
}

// A ring of which nothing is lent out stands at one place.
static uint16_t base_of(const struct vhost_ring *r, int vid)
{
	uint16_t next = 0, done;

	if (r->attached)
		return r->q.next | (r->q.is_packed && r->q.next_wrap ? WRAP : 0);
	rte_vhost_get_vring_base(vid, r->index, &next, &done);
	return next;
}

static json_t *ring_describe(const struct vhost *v, const struct vhost_talk *t,
			     const struct rte_vhost_memory *m, uint16_t i, struct port_gift *g)
{
	struct rte_vhost_vring q;
	bool up = (i % 2 == 0 ? t->rx_up : t->tx_up)[i / 2];

	if (rte_vhost_get_vhost_vring(t->vid, i, &q) != 0 || q.desc == NULL)
		return NULL;
	if (q.kickfd >= 0)
		file_add(g, q.kickfd);
	if (q.callfd >= 0)
		file_add(g, q.callfd);
	return json_pack("{s:i, s:i, s:i, s:I, s:I, s:I, s:b, s:b, s:b}", "ring", i, "size", q.size, "base",
			 base_of(&v->rings[i], t->vid), "desc", (json_int_t)front_address(m, q.desc), "avail",
			 (json_int_t)front_address(m, q.avail), "used", (json_int_t)front_address(m, q.used),
			 "kick", q.kickfd >= 0, "call", q.callfd >= 0, "up", up);
}

void vhost_pass_describe(struct vhost *v, struct port_gift *g)
{
	struct vhost_talk t = vhost_talk_read(v);
	json_t *rings = json_array(), *ring;
	struct rte_vhost_memory *m = NULL;
	uint64_t protocol = 0;

	if (can_go_over(v, &t) && rte_vhost_get_mem_table(t.vid, &m) == 0) {
		rte_vhost_get_negotiated_protocol_features(t.vid, &protocol);
		file_add(g, v->relay != NULL ? relay_front(v->relay) : v->kept);
		json_t *regions = regions_describe(m, g);

		for (uint16_t i = 0; i < RTE_MIN(rte_vhost_get_vring_num(t.vid), 2 * v->n_queues); i++)
			if ((ring = ring_describe(v, &t, m, i, g)) != NULL)
				json_array_append_new(rings, ring);
		g->what = json_pack("{s:I, s:I, s:i, s:i, s:o, s:O}", "features", (json_int_t)t.features,
				    "protocol", (json_int_t)protocol, "mtu", t.guest_mtu, "status", t.status,
				    "regions", regions, "rings", rings);
	}
	json_decref(rings);
	free(m);
}

// --- the new process

struct teller {
	int fd;
	const struct port_gift *g;
	unsigned n_taken; // of its descriptors
	bool failed;
};

// With the next n of the descriptors.
static void say(struct teller *t, struct vhost_message *m, unsigned n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(VHOST_REGIONS * sizeof(int))] = {0};
	struct iovec v = {m, 12 + m->size};
	struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1};

	m->flags = VERSION;
	if (n > VHOST_REGIONS || t->n_taken + n > t->g->n_fds) {
		t->failed = true;
		return;
	}
	if (n > 0) {
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), t->g->fds + t->n_taken, n * sizeof(int));
	}
	t->n_taken += n;
	t->failed |= sendmsg(t->fd, &h, MSG_NOSIGNAL) != (ssize_t)v.iov_len;
}

static void say_u64(struct teller *t, uint32_t request, uint64_t value, unsigned n_files)
{
	struct vhost_message m = {.request = request, .size = 8, .u64 = value};

	say(t, &m, n_files);
}

static void say_state(struct teller *t, uint32_t request, uint32_t ring, uint32_t value)
{
	struct vhost_message m = {.request = request, .size = 8, .state = {ring, value}};

	say(t, &m, 0);
}

static uint64_t number(const json_t *of, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(of, key));
}

static uint64_t item(const json_t *of, size_t i)
{
	return (uint64_t)json_integer_value(json_array_get(of, i));
}

static void memory_tell(struct teller *t, const json_t *regions)
{
	struct vhost_message m = {.request = VHOST_MSG_SET_MEM_TABLE};
	const json_t *r;
	size_t i;

	json_array_foreach (regions, i, r)
		if (i < VHOST_REGIONS)
			m.memory.regions[m.memory.n++] =
			    (struct vhost_region){item(r, 0), item(r, 1), item(r, 2), item(r, 3)};
	m.size = 8 + m.memory.n * sizeof(struct vhost_region);
	say(t, &m, m.memory.n);
}

static void addresses_tell(struct teller *t, const json_t *r)
{
	struct vhost_message m = {.request = VHOST_MSG_SET_VRING_ADDR, .size = 40};
	struct {
		uint32_t ring, flags;
		uint64_t desc, used, avail, log;
	} at = {number(r, "ring"), 0, number(r, "desc"), number(r, "used"), number(r, "avail"), 0};

	memcpy(m.bytes, &at, sizeof(at));
	say(t, &m, 0);
}

static void file_tell(struct teller *t, uint32_t request, uint32_t ring, const json_t *r, const char *key)
{
	bool has = json_is_true(json_object_get(r, key));

	say_u64(t, request, has ? ring : ring | NO_FILE, has);
}

static void ring_tell(struct teller *t, const json_t *r)
{
	uint32_t ring = number(r, "ring");

	say_state(t, VHOST_MSG_SET_VRING_NUM, ring, number(r, "size"));
	say_state(t, VHOST_MSG_SET_VRING_BASE, ring, number(r, "base"));
	addresses_tell(t, r);
	file_tell(t, VHOST_MSG_SET_VRING_KICK, ring, r, "kick");
	file_tell(t, VHOST_MSG_SET_VRING_CALL, ring, r, "call");
}

static bool has_protocol(const struct port_gift *g)
{
	return number(g->what, "features") & BIT(VHOST_USER_F_PROTOCOL_FEATURES);
}

bool vhost_pass_tell(const struct port_gift *g, int back)
{
	struct teller t = {.fd = back, .g = g, .n_taken = 1}; // the first is the conversation
	struct vhost_message owner = {.request = VHOST_MSG_SET_OWNER};
	const json_t *rings = json_object_get(g->what, "rings"), *r;
	struct timeval wait = {.tv_sec = TELL_S};
	uint64_t protocol = number(g->what, "protocol");
	size_t i;

	fcntl(back, F_SETFL, 0);
	setsockopt(back, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	say(&t, &owner, 0);
	if (has_protocol(g))
		say_u64(&t, VHOST_MSG_SET_PROTOCOL_FEATURES, protocol, 0);
	say_u64(&t, VHOST_MSG_SET_FEATURES, number(g->what, "features"), 0);
	if (number(g->what, "mtu") != 0)
		say_u64(&t, VHOST_MSG_NET_SET_MTU, number(g->what, "mtu"), 0);
	memory_tell(&t, json_object_get(g->what, "regions"));
	json_array_foreach (rings, i, r)
		ring_tell(&t, r);
	json_array_foreach (rings, i, r)
		if (has_protocol(g))
			say_state(&t, VHOST_MSG_SET_VRING_ENABLE, number(r, "ring"),
				  json_is_true(json_object_get(r, "up")));
	if (protocol & BIT(VHOST_USER_PROTOCOL_F_STATUS))
		say_u64(&t, VHOST_MSG_SET_STATUS, number(g->what, "status"), 0);
	fcntl(back, F_SETFL, O_NONBLOCK);
	return !t.failed;
}

// A port that listens is found where its front ends find it.
int vhost_pass_connect(struct vhost *v)
{
	struct sockaddr_un un;
	struct err e = {0};

	if (v->server) {
		wake();
		return connect_to(v->path);
	}
	address_of(&un, "pass", v->port->index);
	int back = -1, fd = listen_at(&un);

	if (fd >= 0 && vhost_connect_at(v, un.sun_path, &e) == 0)
		back = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	unlink(un.sun_path);
	return back;
}
