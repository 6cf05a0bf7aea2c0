// Ports on a kernel interface by a packet socket: opening, the interface's state, and finding it again.
//
// The socket and its rings live as long as the driver is open. When the interface goes and comes back, the same socket
// is bound to its new index, so nothing changes under the workers. Binding may wait for the kernel's
// network lock: jobs thread. State comes from the link watcher: control thread.
#include "afpacket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_kvargs.h>

#include "ctrl/api/err.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/link.h"
#include "ctrl/api/timer.h"
#include "ethdev.h"
#include "offload.h"

#define RING_BYTES      (2u << 20) // one ring, unless that makes too few slots
#define MIN_FRAMES      256u
#define MAX_FRAMES      65536
#define MAX_FRAME_BYTES (1u << 18)
#define MAX_BLOCK_BYTES (1u << 22)
// What stands before the frame in a receive slot: the kernel's header, 16 bytes or more for the link layer so that
// what follows is aligned, and the virtio header.
#define RX_OVERHEAD    (TPACKET_ALIGN(TPACKET2_HDRLEN + 16) + sizeof(struct virtio_net_hdr))
#define FRAME_OVERHEAD (ETHER_HDR_LEN + 2 * 4) // and two tags
#define SEND_BYTES     (4 << 20)
#define RETRY_US       500000

struct options {
	char ifname[IFNAMSIZ];
	uint32_t frame_bytes, n_frames, block_bytes;
	int qdisc_bypass;
};

struct iface {
	struct afpacket sock; // what workers use
	uint8_t *map;
	size_t map_bytes;
	struct port_live *live;
	char port_name[PORT_NAME_SIZE];
	char ifname[IFNAMSIZ];
	uint16_t mtu; // as opened

	// control thread
	struct port *port;
	struct link_watch *watch;
	struct link_info link; // as told last
	struct rebind *rebind; // under way
	struct timer *retry;
	uint64_t missed; // frames that found the ring full

	// jobs thread
	struct iface *next;
};

struct rebind {          // on its way to the jobs thread and back
	struct iface *a; // NULL: the port was stopped meanwhile; control thread
	int fd;
	char ifname[IFNAMSIZ];
	struct err err;
};

static struct iface *open_list; // jobs thread

// Options

bool device_is_afpacket(const char *device)
{
	return !strncmp(device, "net_af_packet", 13) || !strncmp(device, "eth_af_packet", 13);
}

static bool afpacket_claims(const struct port_conf *c)
{
	return device_is_afpacket(c->device);
}

static int number_get(const struct rte_kvargs *args, const char *key, uint32_t min, uint32_t max, bool power,
		      uint32_t *v, const struct port_conf *c, struct err *e)
{
	const char *text = rte_kvargs_get(args, key);
	char *end;

	if (!text)
		return 0;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text || n < min || n > max || (power && (n & (n - 1))))
		return err_set(e, -EINVAL, "port %s: device option %s=%s is not %s from %u to %u", c->name,
			       key, text, power ? "a power of two" : "a number", min, max);
	*v = n;
	return 0;
}

static int ifname_get(const struct rte_kvargs *args, char ifname[IFNAMSIZ], const struct port_conf *c,
		      struct err *e)
{
	const char *text = rte_kvargs_get(args, "iface");

	if (!text || !*text)
		return err_set(e, -EINVAL,
			       "port %s: device %s names no interface; write ,iface=NAME behind it", c->name,
			       c->device);
	if (strlen(text) >= IFNAMSIZ)
		return err_set(e, -EINVAL, "port %s: interface name %s is longer than %u characters", c->name,
			       text, IFNAMSIZ - 1);
	strcpy(ifname, text);
	return 0;
}

static int options_get(const struct rte_kvargs *args, const struct port_conf *c, struct options *o,
		       struct err *e)
{
	uint32_t need = rte_align32pow2(RX_OVERHEAD + FRAME_OVERHEAD + c->mtu);
	uint32_t page = sysconf(_SC_PAGESIZE), bypass = 1, queues = 1;
	int rc = ifname_get(args, o->ifname, c, e);

	o->frame_bytes = RTE_MAX(need, 2048u);
	if (!rc)
		rc = number_get(args, "framesz", need, MAX_FRAME_BYTES, true, &o->frame_bytes, c, e);
	o->n_frames = RTE_MAX(RING_BYTES / o->frame_bytes, MIN_FRAMES);
	o->block_bytes = RTE_MAX(o->frame_bytes, page);
	if (!rc)
		rc = number_get(args, "framecnt", MIN_FRAMES, MAX_FRAMES, true, &o->n_frames, c, e);
	if (!rc)
		rc =
		    number_get(args, "blocksz", o->block_bytes, MAX_BLOCK_BYTES, true, &o->block_bytes, c, e);
	if (!rc)
		rc = number_get(args, "qdisc_bypass", 0, 1, false, &bypass, c, e);
	if (!rc)
		rc = number_get(args, "qpairs", 1, 1, false, &queues, c, e);
	o->qdisc_bypass = bypass;
	o->n_frames = RTE_MAX(o->n_frames, o->block_bytes / o->frame_bytes);
	return rc;
}

static int options_parse(const struct port_conf *c, struct options *o, struct err *e)
{
	static const char *const keys[] = {"iface",    "qpairs",       "blocksz", "framesz",
					   "framecnt", "qdisc_bypass", NULL};
	const char *comma = strchr(c->device, ',');
	struct rte_kvargs *args = rte_kvargs_parse(comma ? comma + 1 : "", keys);
	int rc;

	if (!args)
		return err_set(
		    e, -EINVAL,
		    "port %s: device %s has an option that is not understood; there are iface, framesz, "
		    "framecnt, blocksz and qdisc_bypass, each as name=value",
		    c->name, c->device);
	rc = options_get(args, c, o, e);
	rte_kvargs_free(args);
	return rc;
}

static int afpacket_validate(const struct port_conf *c, struct err *e)
{
	struct options o;

	if (c->n_queues != 1)
		return err_set(e, -EINVAL, "port %s: a packet socket has one queue, not %u; leave out queues",
			       c->name, c->n_queues);
	return options_parse(c, &o, e);
}

// The socket (jobs thread)

static int refuse(const struct iface *a, const char *what, struct err *e)
{
	int code = errno;

	return err_set(e, -code, "port %s: interface %s: cannot %s: %s%s", a->port_name, a->ifname, what,
		       err_name(code),
		       code == EPERM ? "; run evswitchd with CAP_NET_RAW and CAP_NET_ADMIN" : "");
}

static int option_set(const struct iface *a, int option, int value, const char *what, struct err *e)
{
	return setsockopt(a->sock.fd, SOL_PACKET, option, &value, sizeof(value)) < 0 ? refuse(a, what, e) : 0;
}

static int rings_map(struct iface *a, const struct options *o, struct err *e)
{
	struct tpacket_req req = {
	    .tp_block_size = o->block_bytes,
	    .tp_frame_size = o->frame_bytes,
	    .tp_frame_nr = o->n_frames,
	    .tp_block_nr = o->n_frames / (o->block_bytes / o->frame_bytes),
	};
	size_t ring_bytes = (size_t)o->n_frames * o->frame_bytes;

	if (setsockopt(a->sock.fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) < 0 ||
	    setsockopt(a->sock.fd, SOL_PACKET, PACKET_TX_RING, &req, sizeof(req)) < 0)
		return refuse(a, "make its rings", e);
	a->map = mmap(NULL, 2 * ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, a->sock.fd, 0);
	if (a->map == MAP_FAILED)
		return refuse(a, "map its rings", e);
	a->map_bytes = 2 * ring_bytes;
	a->sock.rx_ring = a->map;
	a->sock.tx_ring = a->map + ring_bytes;
	a->sock.frame_bytes = o->frame_bytes;
	a->sock.n_frames = o->n_frames;
	return 0;
}

// Bound to no protocol yet: nothing is received before bind_to().
static int socket_open(struct iface *a, const struct options *o, struct err *e)
{
	int bytes = SEND_BYTES, rc;

	a->sock.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->sock.fd < 0)
		return refuse(a, "open a packet socket", e);
	rc = option_set(a, PACKET_VERSION, TPACKET_V2, "use mapped rings", e);
	if (!rc) // where a sender left its checksum open, and the other way round
		rc = option_set(a, PACKET_VNET_HDR, 1, "learn of open checksums", e);
	if (!rc) // what cannot be sent must not block the ring
		rc = option_set(a, PACKET_LOSS, 1, "skip bad frames", e);
	if (!rc && o->qdisc_bypass)
		rc = option_set(a, PACKET_QDISC_BYPASS, 1, "bypass the qdisc", e);
	if (!rc) // what the host itself sends there did not come from outside
		rc = option_set(a, PACKET_IGNORE_OUTGOING, 1, "leave out what the host sends", e);
	if (rc)
		return rc;
	// A burst of long frames must fit; without the right to force it, long bursts are cut short.
	if (setsockopt(a->sock.fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(a->sock.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return rings_map(a, o, e);
}

// Binds the socket to the interface of that name. 0 or -errno.
static int bind_to(int fd, const char *ifname)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct packet_mreq all = {.mr_type = PACKET_MR_PROMISC};
	struct ifreq ifr = {0};

	strncpy(ifr.ifr_name, ifname, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
		return -errno;
	if (ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return -EPROTOTYPE;
	if (ioctl(fd, SIOCGIFINDEX, &ifr) < 0)
		return -errno;
	to.sll_ifindex = all.mr_ifindex = ifr.ifr_ifindex;
	if (bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	// A switch receives everything. It ends with the socket or with the interface.
	return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0 ? -errno : 0;
}

// The kernel says -1 once the interface is gone, also when another one has got its name and its index.
static bool is_bound(const struct iface *a)
{
	struct sockaddr_ll at = {0};
	socklen_t len = sizeof(at);

	return a->link.ifindex && getsockname(a->sock.fd, (struct sockaddr *)&at, &len) == 0 &&
	       at.sll_ifindex == a->link.ifindex;
}

static int bind_first(struct iface *a, struct err *e)
{
	int rc = bind_to(a->sock.fd, a->ifname);

	if (rc == -ENODEV)
		return err_set(e, rc,
			       "port %s: there is no interface %s; create it, or see 'ip link' for the names",
			       a->port_name, a->ifname);
	if (rc == -EPROTOTYPE)
		return err_set(e, rc, "port %s: interface %s is not an Ethernet interface", a->port_name,
			       a->ifname);
	errno = -rc;
	if (rc < 0)
		return refuse(a, "bind to it", e);
	return 0;
}

static int check_unused(const struct iface *a, struct err *e)
{
	for (const struct iface *other = open_list; other; other = other->next)
		if (!strcmp(other->ifname, a->ifname))
			return err_set(e, -EBUSY, "port %s: interface %s is already used by port %s",
				       a->port_name, a->ifname, other->port_name);
	return 0;
}

static void iface_free(struct iface *a)
{
	if (a->map_bytes)
		munmap(a->map, a->map_bytes);
	if (a->sock.fd >= 0)
		close(a->sock.fd);
	free(a);
}

static struct iface *iface_new(struct port *p, const struct port_conf *c, const struct options *o)
{
	struct iface *a = aligned_alloc(64, sizeof(*a));

	if (!a)
		return NULL;
	*a = (struct iface){.sock = {.fd = -1, .live = &p->live}, .live = &p->live, .port = p, .mtu = c->mtu};
	memcpy(a->port_name, c->name, sizeof(a->port_name));
	memcpy(a->ifname, o->ifname, sizeof(a->ifname));
	return a;
}

static int afpacket_open(struct port *p, const struct port_conf *c, struct err *e)
{
	struct options o;
	struct iface *a;
	int rc = options_parse(c, &o, e);

	if (rc)
		return rc;
	a = iface_new(p, c, &o);
	if (!a)
		return err_set(e, -ENOMEM, "port %s: out of memory", c->name);
	rc = check_unused(a, e);
	if (!rc)
		rc = socket_open(a, &o, e);
	if (!rc)
		rc = bind_first(a, e);
	if (rc) {
		iface_free(a);
		return rc;
	}
	a->next = open_list;
	open_list = a;
	p->drv = p->rxqs[0].drv = p->txqs[0].drv = a;
	return 0;
}

static void afpacket_close(struct port *p)
{
	struct iface *a = p->drv, **at = &open_list;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	iface_free(a);
	p->drv = p->rxqs[0].drv = p->txqs[0].drv = NULL;
}

// The interface (control thread)

static void rebind_start(void *arg);

static void report(struct iface *a)
{
	const struct link_info *l = &a->link;
	bool bound = is_bound(a), up = bound && l->up && l->running;

	atomic_store(&a->live->n_tx_active, 1);
	atomic_store(&a->live->up, up);
	if (!l->ifindex)
		port_state_set(a->port, PORT_WAITING, "interface %s is gone; waiting for it to come back",
			       a->ifname);
	else if (!bound)
		port_state_set(a->port, PORT_WAITING, "interface %s has come back and is being opened",
			       a->ifname);
	else if (!l->up)
		port_state_set(a->port, PORT_WAITING,
			       "interface %s is down; 'ip link set %s up' switches it on", a->ifname,
			       a->ifname);
	else if (!l->running)
		port_state_set(a->port, PORT_WAITING, "interface %s has no carrier", a->ifname);
	else if (l->mtu < a->mtu)
		port_state_set(a->port, PORT_UP,
			       "interface %s has MTU %u, below the port's %u: it does not send longer frames",
			       a->ifname, l->mtu, a->mtu);
	else
		port_state_set(a->port, PORT_UP, NULL);
}

static void rebind_work(void *arg)
{
	struct rebind *r = arg;
	int rc = bind_to(r->fd, r->ifname);

	if (rc < 0)
		err_set(&r->err, rc, "%s",
			rc == -EPROTOTYPE ? "not an Ethernet interface any more" : err_name(-rc));
}

static void rebind_done(void *arg)
{
	struct rebind *r = arg;
	struct iface *a = r->a;

	if (a) {
		a->rebind = NULL;
		report(a);
		if (r->err.code && a->link.ifindex)
			port_state_set(a->port, PORT_WAITING, "cannot open interface %s: %s; trying again",
				       a->ifname, r->err.text);
		// Also when it went again meanwhile and came back with yet another index.
		if (a->link.ifindex && !is_bound(a) && !a->retry)
			a->retry = timer_start("af_packet", RETRY_US, 0, rebind_start, a);
	}
	free(r);
}

static void rebind_start(void *arg)
{
	struct iface *a = arg;
	struct rebind *r;

	a->retry = NULL;
	if (a->rebind || !a->link.ifindex || is_bound(a))
		return;
	r = calloc(1, sizeof(*r));
	if (!r) {
		a->retry = timer_start("af_packet", RETRY_US, 0, rebind_start, a);
		return;
	}
	*r = (struct rebind){.a = a, .fd = a->sock.fd};
	memcpy(r->ifname, a->ifname, sizeof(r->ifname));
	a->rebind = r;
	job_run("af_packet", rebind_work, rebind_done, r);
}

static void link_changed(const struct link_info *info, void *arg)
{
	struct iface *a = arg;

	a->link = *info;
	report(a);
	if (!a->retry)
		rebind_start(a);
}

static void afpacket_start(struct port *p)
{
	struct iface *a = p->drv;

	// Segments are made before: a slot holds a frame of the MTU.
	atomic_store(&p->live.offloads, OFFLOAD_CSUM);
	a->watch = link_watch_start(a->ifname, link_changed, a);
	if (!a->watch)
		port_state_set(p, PORT_FAILED, "out of memory; delete and add the port to try again");
}

static void afpacket_stop(struct port *p)
{
	struct iface *a = p->drv;

	link_watch_stop(a->watch);
	a->watch = NULL;
	timer_stop(a->retry);
	a->retry = NULL;
	if (a->rebind)
		a->rebind->a = NULL;
	a->rebind = NULL;
	atomic_store(&p->live.up, false);
}

static void afpacket_stats(const struct port *p, json_t *out)
{
	struct iface *a = p->drv;
	struct tpacket_stats s;
	socklen_t len = sizeof(s);

	// Reading them sets them to zero.
	if (getsockopt(a->sock.fd, SOL_PACKET, PACKET_STATISTICS, &s, &len) == 0)
		a->missed += s.tp_drops;
	json_object_set_new(out, "interface", json_string(a->ifname));
	json_object_set_new(out, "rx_missed", json_integer((json_int_t)a->missed));
}

const struct port_driver afpacket_driver = {
    .name = "af_packet",
    .claims = afpacket_claims,
    .validate = afpacket_validate,
    .open = afpacket_open,
    .start = afpacket_start,
    .stop = afpacket_stop,
    .close = afpacket_close,
    .stats = afpacket_stats,
    .rx = afpacket_rx,
    .notify = afpacket_notify,
    .rx_done = afpacket_rx_done,
    .tx = afpacket_tx,
};
