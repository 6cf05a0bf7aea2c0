// Ports on any DPDK device: probing, setting up, link state, removing.
//
// Opening and closing run on the jobs thread. Link state is asked of the device every 200 ms, or comes from the
// kernel when the device string names an interface (`iface=`). Control thread.
#include "ethdev.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>

#include "ctrl/api/err.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/link.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "ethdev_priv.h"
#include "offload.h"
#include "pool.h"

#define LINK_POLL_US   200000
#define RING_SIZE      1024
#define OWN_BUFFERS    1024
#define FRAME_OVERHEAD (RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN + 2 * RTE_VLAN_HLEN)
#define DRAIN_POLL_US  100000
#define CSUM_OFFLOADS  (RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM)
#define TSO_OFFLOADS \
	(RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
#define DRAIN_POLLS 100

static struct ethdev *owners[RTE_MAX_ETHPORTS]; // jobs thread

static bool ethdev_claims(const struct port_conf *c)
{
	return c->device[0] && !device_is_afpacket(c->device);
}

// Some drivers (vhost) call a path so.
static void iface_get(const char *device, char ifname[IFNAMSIZ])
{
	const char *at = strstr(device, ",iface=");
	size_t n = at ? strcspn(at + 7, ",") : 0;

	ifname[0] = '\0';
	if (n > 0 && n < IFNAMSIZ && !memchr(at + 7, '/', n)) {
		memcpy(ifname, at + 7, n);
		ifname[n] = '\0';
	}
}

static int ethdev_validate(const struct port_conf *c, struct err *e)
{
	size_t n = strcspn(c->device, ",");

	if (n == 0 || n >= sizeof(((struct ethdev *)0)->device_name))
		return err_set(
		    e, -EINVAL,
		    "port %s: device %s does not begin with a device's name (0000:03:00.0, net_tap0, …)",
		    c->name, c->device);
	return 0;
}

// Opening (jobs thread)

static int device_find(const struct ethdev *d, const char *device, uint16_t *id)
{
	struct rte_dev_iterator it;

	if (rte_eth_dev_get_port_by_name(d->device_name, id) == 0)
		return 0;
	RTE_ETH_FOREACH_MATCHING_DEV(*id, device, &it)
	{
		rte_eth_iterator_cleanup(&it);
		return 0;
	}
	return -ENODEV;
}

static int device_probe(struct ethdev *d, const char *device, struct err *e)
{
	struct rte_eth_dev_info info;
	int rc;

	if (rte_eth_dev_count_total() >= RTE_MAX_ETHPORTS)
		return err_set(
		    e, -ENOSPC,
		    "port %s: this DPDK allows %u devices, and they are in use; delete another one",
		    d->port_name, RTE_MAX_ETHPORTS);
	rc = rte_dev_probe(device);
	if (rc == -EFAULT || rc == -ENODEV || rc == -ENOENT)
		return err_set(e, -ENODEV,
			       "port %s: DPDK knows neither a device %s nor a driver of that name",
			       d->port_name, d->device_name);
	if (rc < 0)
		return err_set(
		    e, rc,
		    "port %s: cannot open device %s: %s; the driver's own words are in the daemon's log",
		    d->port_name, d->device_name, err_name(-rc));
	if (device_find(d, device, &d->id) < 0)
		return err_set(e, -ENODEV, "port %s: device %s is not a network device", d->port_name,
			       d->device_name);
	if (rte_eth_dev_info_get(d->id, &info) == 0)
		d->device = info.device;
	return 0;
}

// A device that is there already (found at start) is used and left there.
static int device_take(struct ethdev *d, const char *device, struct err *e)
{
	int rc = 0;

	if (device_find(d, device, &d->id) < 0)
		rc = device_probe(d, device, e);
	if (rc)
		return rc;
	if (owners[d->id])
		return err_set(e, -EBUSY, "port %s: device %s is already used by port %s", d->port_name,
			       d->device_name, owners[d->id]->port_name);
	owners[d->id] = d;
	return 0;
}

static int check_fits(const struct ethdev *d, const struct port_conf *c, const struct rte_eth_dev_info *info,
		      struct err *e)
{
	uint16_t has = RTE_MIN(info->max_rx_queues, info->max_tx_queues);

	if (has < c->n_queues)
		return err_set(e, -ERANGE,
			       "port %s: device %s cannot serve %u queues, at most %u; give queues %u",
			       d->port_name, d->device_name, c->n_queues, has, has);
	if (info->max_mtu && c->mtu > info->max_mtu)
		return err_set(e, -ERANGE, "port %s: device %s has an MTU of at most %u, not %u; give mtu %u",
			       d->port_name, d->device_name, info->max_mtu, c->mtu, info->max_mtu);
	return 0;
}

static bool is_long(uint16_t mtu)
{
	return mtu + FRAME_OVERHEAD > RTE_MBUF_DEFAULT_DATAROOM;
}

// What the device can finish of that which senders leave open. CWR of a first segment is no driver's promise.
static uint32_t offloads_of(const struct rte_eth_dev_info *info)
{
	uint64_t capa = info->tx_offload_capa;
	uint32_t offloads = 0;

	if ((capa & CSUM_OFFLOADS) == CSUM_OFFLOADS)
		offloads |= OFFLOAD_CSUM;
	// net_tap segments by itself, IPv4 only, whatever it says.
	if (offloads && (capa & TSO_OFFLOADS) == TSO_OFFLOADS && strcmp(info->driver_name, "net_tap") != 0)
		offloads |= OFFLOAD_TSO4 | OFFLOAD_TSO6;
	return offloads;
}

static uint64_t tx_offloads_for(const struct rte_eth_dev_info *info)
{
	uint32_t offloads = offloads_of(info);

	return (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) |
	       (offloads & OFFLOAD_CSUM ? CSUM_OFFLOADS : 0) | (offloads & OFFLOAD_TSO4 ? TSO_OFFLOADS : 0);
}

static struct rte_eth_conf conf_for(const struct port_conf *c, const struct rte_eth_dev_info *info)
{
	struct rte_eth_conf conf = {.rxmode.mtu = c->mtu};

	conf.txmode.offloads = tx_offloads_for(info);
	if (is_long(c->mtu))
		conf.rxmode.offloads = info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	if (c->n_queues > 1) {
		conf.rx_adv_conf.rss_conf.rss_hf =
		    info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
		if (conf.rx_adv_conf.rss_conf.rss_hf)
			conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	}
	return conf;
}

// Long frames need long buffers where the device cannot spread them over several.
static int pool_choose(struct ethdev *d, const struct port_conf *c, const struct rte_eth_conf *conf,
		       struct err *e)
{
	char name[RTE_MEMPOOL_NAMESIZE];

	d->takes_chains = conf->txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (d->takes_chains && (!is_long(c->mtu) || conf->rxmode.offloads & RTE_ETH_RX_OFFLOAD_SCATTER))
		return 0;
	snprintf(name, sizeof(name), "dev%u_%u", d->id, d->port->index);
	d->pool = pool_create(name, OWN_BUFFERS + c->n_queues * RING_SIZE,
			      c->mtu + FRAME_OVERHEAD + RTE_PKTMBUF_HEADROOM, e);
	return d->pool ? 0 : -ENOMEM;
}

static int setup_failed(const struct ethdev *d, const char *what, int rc, struct err *e)
{
	return err_set(e, rc, "port %s: device %s: its driver refuses to %s: %s", d->port_name,
		       d->device_name, what, err_name(-rc));
}

static int queues_setup(struct ethdev *d, const struct port_conf *c, struct err *e)
{
	struct rte_mempool *pool = d->pool ? d->pool : pool_shared();
	uint16_t n_rx = RING_SIZE, n_tx = RING_SIZE;
	int rc = rte_eth_dev_adjust_nb_rx_tx_desc(d->id, &n_rx, &n_tx);

	if (rc)
		return setup_failed(d, "tell its ring sizes", rc, e);
	for (uint16_t q = 0; q < c->n_queues; q++) {
		rc = rte_eth_rx_queue_setup(d->id, q, n_rx, rte_eth_dev_socket_id(d->id), NULL, pool);
		if (rc)
			return setup_failed(d, "set up a receive queue", rc, e);
		rc = rte_eth_tx_queue_setup(d->id, q, n_tx, rte_eth_dev_socket_id(d->id), NULL);
		if (rc)
			return setup_failed(d, "set up a transmit queue", rc, e);
	}
	return 0;
}

static int device_setup(struct ethdev *d, const struct port_conf *c, struct err *e)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf;
	int rc = rte_eth_dev_info_get(d->id, &info);

	if (rc)
		return setup_failed(d, "describe the device", rc, e);
	rc = check_fits(d, c, &info, e);
	if (rc)
		return rc;
	conf = conf_for(c, &info);
	d->offloads = offloads_of(&info);
	rc = rte_eth_dev_configure(d->id, c->n_queues, c->n_queues, &conf);
	if (rc)
		return setup_failed(d, "be configured", rc, e);
	rc = pool_choose(d, c, &conf, e);
	if (!rc)
		rc = queues_setup(d, c, e);
	if (rc)
		return rc;
	rc = rte_eth_dev_start(d->id);
	if (rc)
		return setup_failed(d, "start", rc, e);
	d->started = true;
	rc = rte_eth_promiscuous_enable(d->id);
	if (rc && rc != -ENOTSUP)
		return setup_failed(d, "receive every address", rc, e);
	rte_eth_allmulticast_enable(d->id); // promiscuous includes it; some drivers want to be told
	return 0;
}

// Closing (jobs thread)

struct
    drain { // an own pool that waits for its buffers: frames may still stand in others' queues and mailboxes
	struct rte_mempool *pool;
	struct timer *timer;
	unsigned n_polls;
};

static void drain_poll(void *arg)
{
	struct drain *w = arg;

	if (rte_mempool_full(w->pool))
		rte_mempool_free(w->pool);
	else if (++w->n_polls < DRAIN_POLLS)
		return;
	else
		log_warn("packet buffers %s: %u of %u did not come back from a removed device; they are lost "
			 "until the "
			 "daemon restarts",
			 w->pool->name, rte_mempool_in_use_count(w->pool), w->pool->size);
	timer_stop(w->timer);
	free(w);
}

static void drain_start(void *arg)
{
	struct drain *w = arg;

	w->timer = timer_start("device buffers", 0, DRAIN_POLL_US, drain_poll, w);
}

static void pool_release(struct rte_mempool *pool)
{
	struct drain *w;

	if (!pool)
		return;
	if (rte_mempool_full(pool)) {
		rte_mempool_free(pool);
		return;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return;
	w->pool = pool;
	control_post("device buffers", drain_start, w);
}

static void device_release(struct ethdev *d)
{
	int rc;

	if (owners[d->id] == d)
		owners[d->id] = NULL;
	if (d->started)
		rte_eth_dev_stop(d->id);
	if (d->device) {
		rte_eth_dev_close(d->id);
		rc = rte_dev_remove(d->device);
		if (rc < 0)
			log_warn("port %s: device %s was closed, but could not be removed: %s", d->port_name,
				 d->device_name, err_name(-rc));
	}
	pool_release(d->pool);
}

static struct ethdev *ethdev_new(struct port *p, const struct port_conf *c)
{
	struct ethdev *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->id = RTE_MAX_ETHPORTS;
	d->port = p;
	d->live = &p->live;
	memcpy(d->port_name, c->name, sizeof(d->port_name));
	snprintf(d->device_name, sizeof(d->device_name), "%.*s", (int)strcspn(c->device, ","), c->device);
	iface_get(c->device, d->ifname);
	return d;
}

static int ethdev_open(struct port *p, const struct port_conf *c, struct err *e)
{
	struct ethdev *d = ethdev_new(p, c);
	int rc;

	if (!d)
		return err_set(e, -ENOMEM, "port %s: out of memory", c->name);
	rc = device_take(d, c->device, e);
	if (!rc) {
		rc = device_setup(d, c, e);
		if (rc)
			device_release(d);
	}
	if (rc) {
		free(d);
		return rc;
	}
	p->drv = d;
	for (uint16_t q = 0; q < c->n_queues; q++)
		p->rxqs[q].drv = p->txqs[q].drv = d;
	return 0;
}

static void ethdev_close(struct port *p)
{
	struct ethdev *d = p->drv;

	device_release(d);
	free(d);
	p->drv = NULL;
}

// Link state (control thread)

static void link_report(struct ethdev *d, bool up)
{
	atomic_store(&d->live->up, up);
	if (up)
		port_state_set(d->port, PORT_UP, NULL);
	else
		port_state_set(d->port, PORT_WAITING, "device %s has no link", d->device_name);
}

static void link_poll(void *arg)
{
	struct ethdev *d = arg;
	struct rte_eth_link link = {0};

	link_report(d, rte_eth_link_get_nowait(d->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP);
}

static void link_changed(const struct link_info *info, void *arg)
{
	struct ethdev *d = arg;

	if (info->up && info->running) {
		link_report(d, true);
		return;
	}
	atomic_store(&d->live->up, false);
	if (!info->ifindex)
		port_state_set(d->port, PORT_FAILED,
			       "interface %s is gone; delete and add the port to use a new one", d->ifname);
	else if (!info->up)
		port_state_set(d->port, PORT_WAITING,
			       "interface %s is down; 'ip link set %s up' switches it on", d->ifname,
			       d->ifname);
	else
		port_state_set(d->port, PORT_WAITING, "interface %s has no carrier", d->ifname);
}

static void ethdev_start(struct port *p)
{
	struct ethdev *d = p->drv;

	atomic_store(&p->live.n_tx_active, p->conf.n_queues);
	atomic_store(&p->live.offloads, d->offloads);
	if (d->ifname[0])
		d->watch = link_watch_start(d->ifname, link_changed, d);
	else
		d->poll = timer_start("device link", 0, LINK_POLL_US, link_poll, d);
	if (!d->watch && !d->poll)
		port_state_set(p, PORT_FAILED, "out of memory; delete and add the port to try again");
}

static void ethdev_stop(struct port *p)
{
	struct ethdev *d = p->drv;

	timer_stop(d->poll);
	d->poll = NULL;
	link_watch_stop(d->watch);
	d->watch = NULL;
	atomic_store(&p->live.up, false);
}

static void ethdev_stats(const struct port *p, json_t *out)
{
	const struct ethdev *d = p->drv;
	struct rte_eth_stats s;

	json_object_set_new(out, "device", json_string(d->device_name));
	if (rte_eth_stats_get(d->id, &s))
		return;
	json_object_set_new(out, "rx_missed", json_integer((json_int_t)s.imissed));
	json_object_set_new(out, "rx_errors", json_integer((json_int_t)s.ierrors));
	json_object_set_new(out, "rx_no_buffer", json_integer((json_int_t)s.rx_nombuf));
	json_object_set_new(out, "tx_errors", json_integer((json_int_t)s.oerrors));
}

const struct port_driver ethdev_driver = {
    .name = "ethdev",
    .claims = ethdev_claims,
    .validate = ethdev_validate,
    .open = ethdev_open,
    .start = ethdev_start,
    .stop = ethdev_stop,
    .close = ethdev_close,
    .stats = ethdev_stats,
    .rx = ethdev_rx,
    .tx = ethdev_tx,
};
