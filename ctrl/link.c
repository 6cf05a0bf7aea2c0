// The link watcher: who asked for an interface is told when it changes.
//
// A message of the kernel is taken only as a hint that something about a name or an index has changed; what has
// is asked anew for the watches that it concerns. So a lost message (ENOBUFS) costs one question per watch, and an
// interface that went and came back between two turns of the loop is seen as what it is now. Control thread.
#include "ctrl/link.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctrl/api/err.h"
#include "ctrl/api/link.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"

#define ASK_PER_TURN  32 // so that one turn stays far below the loop's 1 ms
#define RECV_PER_TURN 32

struct link_watch {
	TAILQ_ENTRY(link_watch) all;
	TAILQ_ENTRY(link_watch) dirty;
	bool is_dirty;
	bool told; // fn knows `info`
	struct link_info info;
	void (*fn)(const struct link_info *info, void *arg);
	void *arg;
};

static TAILQ_HEAD(, link_watch) watches = TAILQ_HEAD_INITIALIZER(watches);
static TAILQ_HEAD(, link_watch) dirty_watches = TAILQ_HEAD_INITIALIZER(dirty_watches);
static struct nl_sock *sock;
static struct watch *sock_watch;
static struct timer *ask_timer;
static int ask_fd = -1;

static void link_ask_dirty(void *arg);

static void link_mark(struct link_watch *lw)
{
	if (lw->is_dirty)
		return;
	lw->is_dirty = true;
	TAILQ_INSERT_TAIL(&dirty_watches, lw, dirty);
	if (!ask_timer)
		ask_timer = timer_start("link", 0, 0, link_ask_dirty, NULL);
}

static void link_mark_all(void)
{
	struct link_watch *lw;

	TAILQ_FOREACH(lw, &watches, all)
	link_mark(lw);
}

static struct link_info link_ask(const char *ifname)
{
	struct link_info now = {0};
	struct ifreq ifr = {0};

	memcpy(now.ifname, ifname, sizeof(now.ifname));
	memcpy(ifr.ifr_name, ifname, sizeof(ifr.ifr_name));
	if (ioctl(ask_fd, SIOCGIFINDEX, &ifr) < 0)
		return now;
	now.ifindex = ifr.ifr_ifindex;
	if (ioctl(ask_fd, SIOCGIFFLAGS, &ifr) == 0) {
		now.up = ifr.ifr_flags & IFF_UP;
		now.running = ifr.ifr_flags & IFF_RUNNING;
	}
	if (ioctl(ask_fd, SIOCGIFMTU, &ifr) == 0)
		now.mtu = ifr.ifr_mtu;
	if (ioctl(ask_fd, SIOCGIFHWADDR, &ifr) == 0)
		memcpy(now.mac, ifr.ifr_hwaddr.sa_data, sizeof(now.mac));
	return now;
}

static bool link_same(const struct link_info *a, const struct link_info *b)
{
	return a->ifindex == b->ifindex && a->up == b->up && a->running == b->running && a->mtu == b->mtu &&
	       !memcmp(a->mac, b->mac, sizeof(a->mac));
}

static void link_ask_dirty(void *arg)
{
	struct link_watch *lw;

	(void)arg;
	ask_timer = NULL;
	// The list is read anew after each call, as fn may stop any watch.
	for (int i = 0; i < ASK_PER_TURN && (lw = TAILQ_FIRST(&dirty_watches)); i++) {
		struct link_info now = link_ask(lw->info.ifname);

		TAILQ_REMOVE(&dirty_watches, lw, dirty);
		lw->is_dirty = false;
		if (lw->told && link_same(&lw->info, &now))
			continue;
		lw->told = true;
		lw->info = now;
		lw->fn(&now, lw->arg);
	}
	if (!TAILQ_EMPTY(&dirty_watches) && !ask_timer)
		ask_timer = timer_start("link", 0, 0, link_ask_dirty, NULL);
}

static int link_heard(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct ifinfomsg *ifi = nlmsg_data(h);
	struct nlattr *attr;
	struct link_watch *lw;
	const char *name = "";

	(void)arg;
	if ((h->nlmsg_type != RTM_NEWLINK && h->nlmsg_type != RTM_DELLINK) ||
	    !nlmsg_valid_hdr(h, sizeof(*ifi)))
		return NL_OK;
	attr = nlmsg_find_attr(h, sizeof(*ifi), IFLA_IFNAME);
	if (attr)
		name = nla_get_string(attr);
	TAILQ_FOREACH(lw, &watches, all)
	{
		if (lw->info.ifindex != ifi->ifi_index && strncmp(lw->info.ifname, name, IFNAMSIZ))
			continue;
		// A new one may look the same in every field, and yet nothing that was bound to the old one is.
		if (h->nlmsg_type == RTM_DELLINK)
			lw->told = false;
		link_mark(lw);
	}
	return NL_OK;
}

static void link_readable(int fd, void *arg)
{
	(void)fd;
	(void)arg;
	for (int i = 0; i < RECV_PER_TURN; i++) {
		int rc = nl_recvmsgs_default(sock);

		if (rc == -NLE_AGAIN)
			return;
		if (rc < 0) {
			log_debug("kernel link messages were lost (%s): asking for every interface",
				  nl_geterror(rc));
			link_mark_all();
		}
	}
}

struct link_watch *link_watch_start(const char *ifname, void (*fn)(const struct link_info *info, void *arg),
				    void *arg)
{
	struct link_watch *lw = calloc(1, sizeof(*lw));

	if (!lw)
		return NULL;
	strncpy(lw->info.ifname, ifname, IFNAMSIZ - 1);
	lw->fn = fn;
	lw->arg = arg;
	TAILQ_INSERT_TAIL(&watches, lw, all);
	link_mark(lw);
	return lw;
}

void link_watch_stop(struct link_watch *lw)
{
	if (!lw)
		return;
	TAILQ_REMOVE(&watches, lw, all);
	if (lw->is_dirty)
		TAILQ_REMOVE(&dirty_watches, lw, dirty);
	free(lw);
}

static int link_open(struct err *e)
{
	int rc;

	ask_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ask_fd < 0)
		return err_set(e, -errno, "link watcher: cannot open a socket: %s", err_name(errno));
	sock = nl_socket_alloc();
	if (!sock)
		return err_set(e, -ENOMEM, "link watcher: out of memory");
	nl_socket_disable_seq_check(sock);
	rc = nl_connect(sock, NETLINK_ROUTE);
	if (rc == 0)
		rc = nl_socket_add_memberships(sock, RTNLGRP_LINK, 0);
	if (rc == 0)
		rc = nl_socket_set_nonblocking(sock);
	if (rc == 0)
		rc = nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, link_heard, NULL);
	if (rc < 0)
		return err_set(e, -EIO, "link watcher: cannot listen to the kernel: %s", nl_geterror(rc));
	sock_watch = watch_start("link", nl_socket_get_fd(sock), link_readable, NULL);
	return sock_watch ? 0 : err_set(e, -ENOMEM, "link watcher: out of memory");
}

int link_init(struct err *e)
{
	int rc = link_open(e);

	if (rc < 0)
		link_fini();
	return rc;
}

void link_fini(void)
{
	while (!TAILQ_EMPTY(&watches))
		link_watch_stop(TAILQ_FIRST(&watches));
	timer_stop(ask_timer);
	ask_timer = NULL;
	watch_stop(sock_watch);
	sock_watch = NULL;
	nl_socket_free(sock);
	sock = NULL;
	if (ask_fd >= 0)
		close(ask_fd);
	ask_fd = -1;
}
