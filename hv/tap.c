// Host vNICs: making the interface, its life and its link state. Control and jobs threads.
//
// The descriptor's number stays while the port is open. When somebody deletes the interface it is made again and
// put under the same number (dup2), so workers need not be told; one that sleeps on `watch` wakes.
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "ctrl/api/err.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/link.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "dp/offload.h"

#define POLL_US  10
#define RETRY_US 500000

// Of newer kernels' <linux/if_tun.h>
#define USO4 0x20
#define USO6 0x40

// Jobs thread

// What kind of interface has the name; false if there is none.
static bool kind_of(int sock, const char *ifname, struct ethtool_drvinfo *info)
{
	struct ifreq ifr = {.ifr_data = (void *)info};

	if (if_nametoindex(ifname) == 0)
		return false;
	memset(info, 0, sizeof(*info));
	info->cmd = ETHTOOL_GDRVINFO;
	strcpy(ifr.ifr_name, ifname);
	if (ioctl(sock, SIOCETHTOOL, &ifr) != 0)
		strcpy(info->driver, "of another kind");
	return true;
}

// TUNSETIFF says little more than EINVAL and EBUSY.
static int attach_refusal(const struct port_conf *c, int sock, int code, struct err *e)
{
	struct ethtool_drvinfo info;

	if (code == -EBUSY)
		return err_set(
		    e, code,
		    "port %s: interface %s is in use by another program; stop it or choose another "
		    "ifname",
		    c->name, c->ifname);
	if (code == -EPERM)
		return err_set(e, code,
			       "port %s: cannot make interface %s: %s; evswitchd needs CAP_NET_ADMIN",
			       c->name, c->ifname, err_name(EPERM));
	if (code == -EINVAL && kind_of(sock, c->ifname, &info) && strcmp(info.driver, "tun") != 0)
		return err_set(e, -EEXIST,
			       "port %s: an interface %s exists already and is no tap (%s); choose another "
			       "ifname",
			       c->name, c->ifname, info.driver);
	if (code == -EINVAL && if_nametoindex(c->ifname) != 0)
		return err_set(e, -EEXIST,
			       "port %s: an interface %s exists already and is a tun or multi-queue device; "
			       "remove it or choose another ifname",
			       c->name, c->ifname);
	return err_set(e, code, "port %s: cannot make interface %s: %s", c->name, c->ifname, err_name(-code));
}

static int tun_open(const struct port_conf *c, struct err *e)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENODEV)
		return err_set(e, -errno, "port %s: there is no /dev/net/tun; load the kernel module 'tun'",
			       c->name);
	return err_set(e, -errno, "port %s: cannot open /dev/net/tun: %s", c->name, err_name(errno));
}

// Asks the kernel for frames whose checksums and segments are left open, which whoever gets them finishes or has
// finished. Returns what the kernel finishes of the frames that we write.
static int offloads_ask(int fd, uint32_t *offloads)
{
	unsigned asked = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO;

	*offloads = OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN | OFFLOAD_UFO;
	if (ioctl(fd, TUNSETOFFLOAD, asked | USO4 | USO6) == 0) {
		*offloads |= OFFLOAD_USO4 | OFFLOAD_USO6;
		return 0;
	}
	return ioctl(fd, TUNSETOFFLOAD, asked); // Linux before 6.2
}

static int attach(const struct port_conf *c, int fd, int sock, uint32_t *offloads, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int header = sizeof(struct virtio_net_hdr_v1);

	strcpy(ifr.ifr_name, c->ifname);
	if (ioctl(fd, TUNSETIFF, &ifr) != 0)
		return attach_refusal(c, sock, -errno, e);
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) != 0 || offloads_ask(fd, offloads) != 0 ||
	    ioctl(fd, TUNSETPERSIST, 1) != 0)
		return err_set(e, -errno, "port %s: cannot set up interface %s: %s", c->name, c->ifname,
			       err_name(errno));
	return 0;
}

static int mtu_set(const char *ifname, int sock, uint16_t mtu)
{
	struct ifreq ifr = {.ifr_mtu = mtu};

	strcpy(ifr.ifr_name, ifname);
	return ioctl(sock, SIOCSIFMTU, &ifr) == 0 ? 0 : -errno;
}

// A port's MAC is its vNIC's, and the vNIC is the host's interface.
static int mac_set(const char *ifname, int sock, const uint8_t *mac)
{
	struct ifreq ifr = {.ifr_hwaddr.sa_family = ARPHRD_ETHER};

	strcpy(ifr.ifr_name, ifname);
	memcpy(ifr.ifr_hwaddr.sa_data, mac, 6);
	return ioctl(sock, SIOCSIFHWADDR, &ifr) == 0 ? 0 : -errno;
}

static int bring_up(const char *ifname, int sock)
{
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, ifname);
	if (ioctl(sock, SIOCGIFFLAGS, &ifr) != 0)
		return -errno;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(sock, SIOCSIFFLAGS, &ifr) == 0 ? 0 : -errno;
}

static int configure(const struct port_conf *c, int sock, struct err *e)
{
	const char *what = "MAC";
	int rc = c->has_mac ? mac_set(c->ifname, sock, c->mac) : 0;

	if (rc == 0) {
		what = "MTU";
		rc = mtu_set(c->ifname, sock, c->mtu);
	}
	if (rc == 0) {
		what = "state";
		rc = bring_up(c->ifname, sock);
	}
	return rc == 0 ? 0
		       : err_set(e, rc, "port %s: cannot set the %s of interface %s: %s", c->name, what,
				 c->ifname, err_name(-rc));
}

// Takes over or makes the interface. Returns its descriptor or -errno with a sentence.
static int interface_open(const struct port_conf *c, uint32_t *offloads, struct err *e)
{
	int fd = tun_open(c, e);

	if (fd < 0)
		return fd;
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = sock < 0 ? err_set(e, -errno, "port %s: no socket: %s", c->name, err_name(errno)) : 0;
	bool existed = if_nametoindex(c->ifname) != 0;

	if (rc == 0)
		rc = attach(c, fd, sock, offloads, e);
	if (rc == 0 && (rc = configure(c, sock, e)) != 0 && !existed)
		ioctl(fd, TUNSETPERSIST, 0);
	if (sock >= 0)
		close(sock);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static int watch_fd(const struct tap *t, struct err *e)
{
	struct epoll_event ev = {.events = EPOLLIN};

	if (epoll_ctl(t->watch, EPOLL_CTL_ADD, t->fd, &ev) == 0)
		return 0;
	return err_set(e, -errno, "port %s: cannot wait for frames of interface %s: %s", t->conf.name,
		       t->ifname, err_name(errno));
}

static void tap_release(struct tap *t)
{
	ioctl(t->fd, TUNSETPERSIST, 0);
	close(t->fd);
	if (t->watch >= 0)
		close(t->watch);
}

static int tap_open(struct port *p, const struct port_conf *c, struct err *e)
{
	struct tap *t = aligned_alloc(alignof(struct tap), sizeof(*t));

	if (t == NULL)
		return err_set(e, -ENOMEM, "port %s: out of memory", c->name);
	memset(t, 0, sizeof(*t));
	t->port = p;
	t->conf = *c;
	strcpy(t->ifname, c->ifname);
	t->poll_cycles = rte_get_tsc_hz() / 1000000 * POLL_US;
	t->iov[0] = (struct iovec){&t->vnet, sizeof(t->vnet)};
	t->n_missing = TAP_SEGS;
	t->fd = interface_open(c, &t->offloads, e);
	if (t->fd < 0) {
		int code = t->fd;

		free(t);
		return code;
	}
	t->watch = epoll_create1(EPOLL_CLOEXEC);
	if (watch_fd(t, e) < 0) {
		tap_release(t);
		free(t);
		return e->code;
	}
	p->drv = t;
	p->rxqs[0].drv = t;
	p->txqs[0].drv = t;
	return 0;
}

static void tap_close(struct port *p)
{
	struct tap *t = p->drv;

	tap_release(t);
	for (int i = 0; i < TAP_SEGS; i++)
		rte_pktmbuf_free(t->seg[i]);
	p->drv = NULL;
	control_post("tap port freed", free, t); // posts that name it run before
}

// The interface stays.
static void tap_leave(struct port *p, struct port_gift *g)
{
	(void)g;
	const struct tap *t = p->drv;

	close(t->fd);
}

static void tap_mtu_changed(struct port *p, uint16_t mtu)
{
	struct tap *t = p->drv;
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = sock < 0 ? -errno : mtu_set(t->ifname, sock, mtu);

	t->conf.mtu = mtu;
	if (rc != 0)
		log_warn("port %s: cannot set the MTU of interface %s: %s", p->conf.name, t->ifname,
			 err_name(-rc));
	if (sock >= 0)
		close(sock);
}

static void restore_work(void *arg)
{
	struct tap *t = arg;
	uint32_t offloads; // as before: it is the same kernel
	int fd = interface_open(&t->conf, &offloads, &t->error);

	if (fd < 0)
		return;
	dup2(fd, t->fd);
	close(fd);
	// The one before left the set when it was closed.
	if (watch_fd(t, &t->error) == 0)
		t->error.code = 0;
}

// Control thread

static void link_changed(const struct link_info *link, void *arg);

static void restore_due(void *arg);

static void restore_done(void *arg)
{
	struct tap *t = arg;

	t->job_runs = false;
	if (!t->started || t->error.code == 0)
		return; // the watcher tells of the new interface
	port_state_set(t->port, PORT_FAILED, "%s; will be tried again", t->error.text);
	t->timer = timer_start("tap retry", RETRY_US, 0, restore_due, t);
}

static void restore_due(void *arg)
{
	struct tap *t = arg;

	t->timer = NULL;
	if (!t->job_runs) {
		t->job_runs = true;
		job_run("tap restore", restore_work, restore_done, t);
	}
}

// The name is gone: deleted, or the interface has another name now.
static void link_gone(struct tap *t)
{
	struct ifreq ifr = {0};

	if (ioctl(t->fd, TUNGETIFF, &ifr) == 0) {
		port_state_set(t->port, PORT_FAILED,
			       "interface %s was renamed to %s or moved to another network "
			       "namespace; undo that",
			       t->ifname, ifr.ifr_name);
		return;
	}
	port_state_set(t->port, PORT_FAILED, "interface %s was deleted; it is being made again", t->ifname);
	if (t->timer == NULL)
		restore_due(t);
}

static void link_changed(const struct link_info *link, void *arg)
{
	struct tap *t = arg;

	atomic_store(&t->port->live.up, link->up);
	atomic_store(&t->port->live.n_tx_active, 1);
	if (link->ifindex == 0)
		link_gone(t);
	else if (!link->up)
		port_state_set(t->port, PORT_WAITING,
			       "interface %s is down; bring it up with 'ip link set %s up'", t->ifname,
			       t->ifname);
	else
		port_state_set(t->port, PORT_UP, NULL);
}

static void tap_start(struct port *p)
{
	struct tap *t = p->drv;

	t->started = true;
	atomic_store(&p->live.offloads, t->offloads);
	t->link = link_watch_start(t->ifname, link_changed, t);
	if (t->link == NULL)
		port_state_set(p, PORT_FAILED, "out of memory");
}

static void tap_stop(struct port *p)
{
	struct tap *t = p->drv;

	t->started = false;
	link_watch_stop(t->link);
	t->link = NULL;
	timer_stop(t->timer);
	t->timer = NULL;
	atomic_store(&p->live.up, false);
}

static void tap_stats(const struct port *p, json_t *out)
{
	const struct tap *t = p->drv;

	json_object_set_new(out, "ifname", json_string(t->ifname));
	json_object_set_new(out, "ifindex", json_integer(if_nametoindex(t->ifname)));
}

static bool tap_claims(const struct port_conf *c)
{
	return c->type == PORT_HOST;
}

static int tap_validate(const struct port_conf *c, struct err *e)
{
	size_t len = strlen(c->ifname);
	int rc = 0;

	if (len >= IFNAMSIZ || strpbrk(c->ifname, "/: \t\n%") != NULL || !strcmp(c->ifname, ".") ||
	    !strcmp(c->ifname, ".."))
		rc =
		    err_add(e, -EINVAL,
			    "port %s: ifname '%s' is no interface name: 1 to 15 characters without '/', ':', "
			    "'%%' or space",
			    c->name, c->ifname);
	if (c->n_queues != 1)
		rc = err_add(e, -ERANGE, "port %s: queues %u: a host port has 1", c->name, c->n_queues);
	return rc;
}

const struct port_driver tap_driver = {
    .name = "tap",
    .claims = tap_claims,
    .validate = tap_validate,
    .open = tap_open,
    .start = tap_start,
    .stop = tap_stop,
    .close = tap_close,
    .mtu_changed = tap_mtu_changed,
    .leave = tap_leave,
    .stats = tap_stats,
    .rx = tap_rx,
    .notify = tap_notify,
    .tx = tap_tx,
};
