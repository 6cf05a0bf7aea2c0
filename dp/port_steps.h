// Steps that every port has: frames that no switch may forward, the port's own address, its MTU. And the driver that
// a port is shown with while its own is not open: it takes nothing.
#pragma once

#include "stage.h"

struct port_driver;

extern const struct snap_feature port_feature;
extern const struct port_driver port_closed;

// workers

enum drop port_classify(struct walk *k, struct pkt *p, const void *arg);
enum drop port_in_own_mac(struct walk *k, struct pkt *p, const void *arg);
enum drop port_out_mtu(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
		       const void *arg);
