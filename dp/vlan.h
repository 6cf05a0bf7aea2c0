// VLAN modes of a port: untagged, access, trunk. Uplinks are trunks of every VLAN.
//
// The steps only annotate in classify; what is not allowed is refused in the policy stages.
#pragma once

#include "stage.h"

extern const struct snap_feature vlan_feature;

// workers

enum drop vlan_classify_access(struct walk *k, struct pkt *p, const void *arg);
enum drop vlan_classify_trunk(struct walk *k, struct pkt *p, const void *arg);
enum drop vlan_in_access(struct walk *k, struct pkt *p, const void *arg);
enum drop vlan_in_trunk(struct walk *k, struct pkt *p, const void *arg);
enum drop vlan_out_access(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
			  const void *arg);
enum drop vlan_out_trunk(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
			 const void *arg);
