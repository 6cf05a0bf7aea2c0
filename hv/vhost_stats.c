// Guests by vhost-user: the driver's own figures for 'port show NAME'. Control thread.
#include "vhost.h"

#include <rte_common.h>
#include <rte_vhost.h>

#define BIT(n) (1ULL << (n))

static json_t *features_json(uint64_t features)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} known[] = {
	    {VIRTIO_NET_F_CSUM, "csum"},
	    {VIRTIO_NET_F_GUEST_CSUM, "guest-csum"},
	    {VIRTIO_NET_F_GUEST_TSO4, "guest-tso4"},
	    {VIRTIO_NET_F_GUEST_TSO6, "guest-tso6"},
	    {VIRTIO_NET_F_GUEST_ECN, "guest-ecn"},
	    {VIRTIO_NET_F_GUEST_UFO, "guest-ufo"},
	    {VIRTIO_NET_F_HOST_TSO4, "host-tso4"},
	    {VIRTIO_NET_F_HOST_TSO6, "host-tso6"},
	    {VIRTIO_NET_F_HOST_ECN, "host-ecn"},
	    {VIRTIO_NET_F_HOST_UFO, "host-ufo"},
	    {VIRTIO_NET_F_GUEST_USO4, "guest-uso4"},
	    {VIRTIO_NET_F_GUEST_USO6, "guest-uso6"},
	    {VIRTIO_NET_F_HOST_USO, "host-uso"},
	    {VIRTIO_NET_F_MRG_RXBUF, "mergeable"},
	    {VIRTIO_NET_F_MQ, "multiqueue"},
	    {VIRTIO_NET_F_MTU, "mtu"},
	    {VIRTIO_RING_F_INDIRECT_DESC, "indirect"},
	    {VIRTIO_RING_F_EVENT_IDX, "event-idx"},
	    {VIRTIO_F_VERSION_1, "version-1"},
	    {VIRTIO_F_RING_PACKED, "packed"},
	    {VIRTIO_F_IN_ORDER, "in-order"},
	    {VHOST_F_LOG_ALL, "dirty-log"},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < RTE_DIM(known); i++)
		if (features & BIT(known[i].bit))
			json_array_append_new(list, json_string(known[i].name));
	return list;
}

void vhost_stats(const struct port *p, json_t *out)
{
	const struct vhost *v = p->drv;
	struct vhost_talk t = vhost_talk_read(v);
	int n_up = 0;

	for (uint16_t q = 0; q < v->n_queues; q++)
		n_up += t.rx_up[q] && t.tx_up[q];
	json_object_set_new(out, "datapath", json_string(v->own ? "own" : "library"));
	json_object_set_new(out, "mode", json_string(v->server ? "server" : "client"));
	json_object_set_new(out, "socket", json_string(v->path));
	json_object_set_new(out, "connections", json_integer(t.n_connections));
	json_object_set_new(out, "features", features_json(t.phase == VHOST_RUNNING ? t.features : 0));
	json_object_set_new(out, "queues_enabled", json_integer(t.phase == VHOST_RUNNING ? n_up : 0));
	if (t.guest_mtu != 0)
		json_object_set_new(out, "guest_mtu", json_integer(t.guest_mtu));
}
