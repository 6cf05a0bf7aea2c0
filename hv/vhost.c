// Guests by vhost-user: the driver's life cycle, connecting and retrying, states. Control and jobs threads.
//
// A client has no socket in the library while it has no peer: after a failed start the library has closed the
// descriptor, so every try registers anew, and a peer that left is unregistered (on the jobs thread: it waits
// for running callbacks). A server is registered once, from open to close.
//
//   start ▸ retry_due ─(file there)▸ job: connect ▸ … callbacks … ▸ peer left ▸ job: unregister ▸ retry_due
#include "vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_log.h>
#include <rte_vhost.h>

#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "relay.h"
#include "vhost_check.h"
#include "vhost_pass.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 2000
#define JUDGE_US       50000
#define BIT(n)         (1ULL << (n))

#define NO_IOMMU BIT(VIRTIO_F_IOMMU_PLATFORM)
// Only our own rings carry requests for checksums and segmentation along.
#define NO_OFFLOADS                                                                                 \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GSO) |            \
	 BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) |   \
	 BIT(VIRTIO_NET_F_HOST_UFO) | BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | \
	 BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_GUEST_UFO))

// What a network card needs; frames in flight may be lost, so no in-flight log; no postcopy.
#define PROTOCOL_ON                                                               \
	(BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |   \
	 BIT(VHOST_USER_PROTOCOL_F_RARP) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) | \
	 BIT(VHOST_USER_PROTOCOL_F_NET_MTU) | BIT(VHOST_USER_PROTOCOL_F_STATUS))

// Jobs thread

static int socket_prepare(const struct vhost *v)
{
	const char *path = v->at;
	uint64_t protocol = 0;

	if (rte_vhost_driver_get_protocol_features(path, &protocol) != 0 ||
	    rte_vhost_driver_set_protocol_features(path, protocol & PROTOCOL_ON) != 0 ||
	    rte_vhost_driver_disable_features(path, v->own ? NO_IOMMU : NO_IOMMU | NO_OFFLOADS) != 0)
		return -1;
	return rte_vhost_driver_callback_register(path, &vhost_callbacks);
}

static void socket_unregister(struct vhost *v, bool release)
{
	if (v->registered)
		rte_vhost_driver_unregister(v->at);
	v->registered = false;
	vhost_talk_end(v, release);
}

static int socket_refusal(const struct vhost *v, struct err *e)
{
	if (v->server)
		return vhost_socket_refusal(v->path, e);
	if (vhost_socket_check(v->path, e) != 0)
		return e->code;
	return err_set(e, -ECONNREFUSED, "waits for the socket %s: nobody listens on it", v->path);
}

// The lowest that is free. Another thread may be quicker.
static int next_fd(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd;
}

static int socket_start(struct vhost *v, struct err *e)
{
	v->likely_fd = next_fd();
	if (rte_vhost_driver_register(v->at, v->server ? RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS
						       : RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT |
							     RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS) != 0)
		return err_set(e, -ENOSPC,
			       "cannot use %s: the vhost-user library has no place for one more socket "
			       "(1,024), or no file descriptor is left",
			       v->path);
	v->registered = true;
	uint32_t n_before = vhost_talk_read(v).n_connections;

	if (socket_prepare(v) != 0 || rte_vhost_driver_start(v->at) != 0) {
		socket_refusal(v, e);
		socket_unregister(v, false);
		return e->code;
	}
	if (v->server || vhost_talk_read(v).n_connections != n_before)
		return 0;
	socket_unregister(v, false); // start() reports success even when it had to drop the connection
	return err_set(e, -ENOSPC,
		       "cannot use %s: the vhost-user library has no place for one more connection", v->path);
}

// Registers and starts: a server listens, a client is connected.
static int socket_open(struct vhost *v, struct err *e)
{
	char owner[PORT_NAME_SIZE];

	if (!vhost_talk_claim(v, owner))
		return err_set(e, -EBUSY, "waits for the socket %s: port %s uses it", v->path, owner);
	int rc = v->server ? vhost_socket_clear(v->path, e) : vhost_socket_check(v->path, e);

	if (rc != 0)
		return rc;
	memcpy(v->at, v->path, sizeof(v->at));
	return socket_start(v, e);
}

int vhost_connect_at(struct vhost *v, const char *at, struct err *e)
{
	char owner[PORT_NAME_SIZE];

	if (!vhost_talk_claim(v, owner))
		return err_set(e, -EBUSY, "waits for the socket %s: port %s uses it", v->path, owner);
	snprintf(v->at, sizeof(v->at), "%s", at);
	return socket_start(v, e);
}

static struct vhost *vhost_create(struct port *p, const struct port_conf *c)
{
	size_t size = sizeof(struct vhost) + 2 * c->n_queues * sizeof(struct vhost_ring);
	struct vhost *v =
	    aligned_alloc(alignof(struct vhost_ring), RTE_ALIGN(size, alignof(struct vhost_ring)));

	if (v == NULL)
		return NULL;
	memset(v, 0, size);
	v->port = p;
	memcpy(v->name, c->name, sizeof(v->name));
	memcpy(v->path, c->socket, sizeof(v->path));
	v->kept = v->back = -1;
	v->at_rest = true;
	v->server = c->server;
	v->n_queues = c->n_queues;
	v->own = !c->library;
	v->backoff_ms = BACKOFF_MIN_MS;
	for (uint16_t i = 0; i < 2 * c->n_queues; i++) {
		v->rings[i].index = i;
		v->rings[i].own = v->own;
		v->rings[i].stop = true;
		journal_find(&v->rings[i].journal, v->name, i);
		if (!v->own) // then nobody writes it
			journal_end(&v->rings[i].journal);
	}
	for (uint16_t q = 0; q < c->n_queues; q++) {
		p->rxqs[q].drv = &v->rings[2 * q + 1];
		p->txqs[q].drv = &v->rings[2 * q];
	}
	vhost_kick_open(v);
	return v;
}

// All but the memory.
static void vhost_release(struct vhost *v)
{
	vhost_kick_close(v);
	for (uint16_t i = 0; i < 2 * v->n_queues; i++)
		journal_leave(&v->rings[i].journal);
	relay_free(v->relay);
	if (v->back >= 0)
		close(v->back);
	port_gift_free(&v->gift);
}

static int vhost_open(struct port *p, const struct port_conf *c, struct err *e)
{
	struct vhost *v = vhost_create(p, c);
	struct err reason = {0};

	if (v == NULL)
		return err_set(e, -ENOMEM, "port %s: out of memory", c->name);
	// The library reports every message and every failed try, in no limit, and prints in workers.
	if (log_level_get() < LOG_LEVEL_DEBUG)
		rte_log_set_level_pattern("lib.vhost.*", RTE_LOG_CRIT);
	// A path that another port still has may be about to become free: this may be its successor.
	if (v->server && socket_open(v, &reason) != 0 && reason.code != -EBUSY) {
		vhost_talk_end(v, true);
		vhost_release(v);
		free(v);
		return err_set(e, reason.code, "port %s: %s", c->name, reason.text);
	}
	p->drv = v;
	return 0;
}

static void vhost_close(struct port *p)
{
	struct vhost *v = p->drv;

	socket_unregister(v, true);
	vhost_release(v);
	p->drv = NULL;
	control_post("vhost-user port freed", free, v); // posts that name it run before
}

// The switch checks the MTU, the guest has its own idea of it: only the remark in `why` may change.
static void vhost_mtu_changed(struct port *p, uint16_t mtu)
{
	(void)mtu;
	vhost_tell(p->drv);
}

// Control thread

static void retry_arm(struct vhost *v);

// What the last peer did wrong, to be put behind the reason for waiting; "" if nothing.
static const char *blame_print(const struct vhost *v, const struct vhost_talk *t, char buf[160])
{
	buf[0] = '\0';
	if (t->too_many_rings)
		snprintf(
		    buf, 160,
		    "; the last peer set up more queue pairs than the port's %u: give the port more 'queues' "
		    "or the guest fewer",
		    v->n_queues);
	else if (t->refused != NULL)
		snprintf(buf, 160, "; the last peer was refused: %s", t->refused);
	else if (t->asked == VHOST_MSG_SET_MEM_TABLE)
		snprintf(buf, 160, "; the last peer's memory could not be mapped");
	else if (t->asked != 0)
		snprintf(buf, 160, "; the last peer's message %u was refused", t->asked);
	return buf;
}

static void retry_report(struct vhost *v, int code, const char *why)
{
	bool waits = code == -ENOENT || code == -ECONNREFUSED || code == -EBUSY;
	struct vhost_talk t = vhost_talk_read(v);
	char blame[160];

	blame_print(v, &t, blame);
	port_state_set(v->port, waits && blame[0] == '\0' ? PORT_WAITING : PORT_FAILED, "%s%s", why, blame);
}

static void connect_work(void *arg)
{
	struct vhost *v = arg;

	v->error.code = 0;
	socket_open(v, &v->error);
}

static void connect_done(void *arg)
{
	struct vhost *v = arg;

	v->job_runs = false;
	if (!v->started)
		return;
	if (v->error.code != 0) {
		retry_report(v, v->error.code, v->error.text);
		retry_arm(v);
	} else {
		vhost_heard(v);
	}
}

static void unregister_work(void *arg)
{
	socket_unregister(arg, false);
}

static void unregister_done(void *arg)
{
	struct vhost *v = arg;

	v->job_runs = false;
	if (v->started)
		retry_arm(v);
}

static void retry_due(void *arg)
{
	struct vhost *v = arg;

	v->timer = NULL;
	// The usual reason is worth no job: a thousand ports may wait for their guests to be started.
	if (!v->server && access(v->path, F_OK) != 0 && errno == ENOENT) {
		struct err e;

		retry_report(v, vhost_socket_check(v->path, &e), e.text);
		retry_arm(v);
		return;
	}
	v->job_runs = true;
	job_run("vhost-user connect", connect_work, connect_done, v);
}

static void retry_arm(struct vhost *v)
{
	v->timer = timer_start("vhost-user retry", v->backoff_ms * 1000ULL, 0, retry_due, v);
	v->backoff_ms = RTE_MIN(2 * v->backoff_ms, (uint32_t)BACKOFF_MAX_MS);
}

static void report_away(struct vhost *v, const struct vhost_talk *t)
{
	char blame[160];

	blame_print(v, t, blame);
	port_state_set(v->port, blame[0] == '\0' ? PORT_WAITING : PORT_FAILED, "%s %s%s",
		       v->server ? "waits for the guest on" : "the peer has left; connects again to", v->path,
		       blame);
}

static void report_running(struct vhost *v, const struct vhost_talk *t)
{
	uint16_t mtu = v->port->conf.mtu;

	if (t->broken[0] != '\0')
		port_state_set(v->port, PORT_FAILED,
			       "the guest broke the rules of virtio: %s; it has to start its device anew",
			       t->broken);
	else if (!t->rx_up[0] || !t->tx_up[0])
		port_state_set(v->port, PORT_WAITING,
			       "connected; the guest has not enabled its first queue pair");
	else if (t->unusable)
		port_state_set(
		    v->port, PORT_FAILED,
		    "the guest set up a ring that cannot be used: a part of it is not in its memory, "
		    "or what it wants to be interrupted by is no eventfd");
	else if (t->guest_mtu > mtu)
		port_state_set(v->port, PORT_UP,
			       "the guest's host_mtu %u exceeds the port's mtu %u: longer frames are "
			       "dropped",
			       t->guest_mtu, mtu);
	else
		port_state_set(v->port, PORT_UP, NULL);
}

static void report(struct vhost *v, const struct vhost_talk *t)
{
	switch (t->phase) {
	case VHOST_AWAY:
		report_away(v, t);
		break;
	case VHOST_CONNECTED:
		port_state_set(v->port, PORT_WAITING, "connected; waits for the guest's driver");
		break;
	case VHOST_FEATURES:
		port_state_set(v->port, PORT_WAITING,
			       "connected; waits for the guest's memory, which must be shared "
			       "(QEMU: memory-backend-memfd,share=on)");
		break;
	case VHOST_MEMORY:
		port_state_set(v->port, PORT_WAITING, "connected; waits for the guest's queues");
		break;
	case VHOST_RUNNING:
		report_running(v, t);
		break;
	}
}

// The conversation that was taken over is at its end; the next one is the library's own.
static void relay_end(struct vhost *v)
{
	if (v->relay != NULL)
		relay_pause(v->relay);
	relay_free(v->relay);
	v->relay = NULL;
}

void vhost_heard(void *arg)
{
	struct vhost *v = arg;

	atomic_store(&v->told, false);
	if (!v->started)
		return;
	struct vhost_talk t = vhost_talk_read(v);

	if (t.n_left != v->n_left) {
		v->n_left = t.n_left;
		v->must_unregister = !v->server;
		relay_end(v);
		if (t.ran)
			v->backoff_ms = BACKOFF_MIN_MS;
	}
	report(v, &t);
	if (v->must_unregister && !v->job_runs) {
		v->must_unregister = false;
		v->job_runs = true;
		job_run("vhost-user unregister", unregister_work, unregister_done, v);
	}
}

static void judge_due(void *arg)
{
	(void)arg;
	vhost_talk_judge();
}

int vhost_init(struct err *e)
{
	if (timer_start("vhost-user faults", JUDGE_US, JUDGE_US, judge_due, NULL) == NULL)
		return err_set(e, -ENOMEM, "vhost-user: out of memory");
	return vhost_talk_init(e);
}

// The library has its connection before it hears anything.
static void vhost_prepare(struct port *p)
{
	struct vhost *v = p->drv;

	if (!v->server)
		v->back = vhost_pass_connect(v);
}

static void pass_work(void *arg)
{
	struct vhost *v = arg;

	if (v->back < 0)
		v->back = vhost_pass_connect(v);
	if (v->back < 0 || vhost_pass_tell(&v->gift, v->back))
		return;
	close(v->back);
	v->back = -1;
}

// When it did not work the peer's connection is closed, and it comes again.
static void pass_done(void *arg)
{
	struct vhost *v = arg;

	v->job_runs = false;
	if (v->back >= 0) {
		v->relay = relay_start(v->gift.fds[0], v->back);
		v->gift.fds[0] = -1;
	} else {
		log_warn("port %s: its guest's connection could not be taken over; it has to connect again",
			 v->name);
		v->must_unregister = v->registered && !v->server;
	}
	port_gift_free(&v->gift);
	v->back = -1;
	if (!v->started && v->relay != NULL)
		relay_pause(v->relay);
	else if (v->registered)
		vhost_heard(v);
	else
		retry_arm(v);
}

static void vhost_take(struct port *p, struct port_gift *g)
{
	struct vhost *v = p->drv;

	v->gift = *g;
	*g = (struct port_gift){0};
}

static void vhost_start(struct port *p)
{
	struct vhost *v = p->drv;

	v->started = true;
	if (v->gift.n_fds == 0 && v->back >= 0) { // nothing came: the library hears that nobody is there
		close(v->back);
		v->back = -1;
	}
	if (v->gift.n_fds > 0) {
		v->job_runs = true;
		job_run("vhost-user take-over", pass_work, pass_done, v);
	} else if (v->registered)
		vhost_heard(v);
	else
		retry_due(v);
}

static void vhost_stop(struct port *p)
{
	struct vhost *v = p->drv;

	v->started = false;
	timer_stop(v->timer);
	v->timer = NULL;
	if (v->relay != NULL)
		relay_pause(v->relay); // close() or the upgrade comes next
}

static const char *vhost_stays(const struct port *p)
{
	const struct vhost *v = p->drv;

	return vhost_talk_read(v).features & BIT(VHOST_F_LOG_ALL) ? "its guest is being migrated" : NULL;
}

// A client only connects when it is started.
static bool vhost_opens_beside(const struct port_conf *c)
{
	return !c->server;
}

// What goes over is not taken down: this process ends soon, and does it faster.
static void vhost_leave(struct port *p, struct port_gift *g)
{
	static bool hushed;
	struct vhost *v = p->drv;

	if (!hushed)
		vhost_pass_hush();
	hushed = true;
	vhost_pass_describe(v, g);
	if (g->what == NULL || v->server)
		socket_unregister(v, true);
}

static bool vhost_claims(const struct port_conf *c)
{
	return c->type == PORT_GUEST && c->socket[0] != '\0';
}

static int vhost_validate(const struct port_conf *c, struct err *e)
{
	if (c->socket[0] != '/')
		return err_set(e, -EINVAL, "port %s: socket '%s' is not an absolute path", c->name,
			       c->socket);
	if (c->n_queues < 1 || c->n_queues > MAX_QUEUES)
		return err_set(e, -ERANGE, "port %s: queues %u is not within 1..%u", c->name, c->n_queues,
			       MAX_QUEUES);
	return 0;
}

const struct port_driver vhost_driver = {
    .name = "vhost-user",
    .claims = vhost_claims,
    .validate = vhost_validate,
    .open = vhost_open,
    .start = vhost_start,
    .stop = vhost_stop,
    .close = vhost_close,
    .mtu_changed = vhost_mtu_changed,
    .stays = vhost_stays,
    .opens_beside = vhost_opens_beside,
    .leave = vhost_leave,
    .prepare = vhost_prepare,
    .take = vhost_take,
    .stats = vhost_stats,
    .rx = vhost_rx,
    .rx_done = vhost_rx_done,
    .notify = vhost_notify,
    .tx = vhost_tx,
};
