// Bypass: a device that carries a guest's frames past the switch, such as a function of a NIC by SR-IOV, for as long as
// nothing is asked of the port that the device cannot do itself.
//
// A port may name one (key `bypass`). Its driver says of every step of the port's walk whether the device does the same;
// the first one that it does not do withdraws the device: the guest's frames then take the port's own back-end, which
// the guest's failover driver has beside it, with the same address (virtio 1.2, 5.1.3, VIRTIO_NET_F_STANDBY). When no
// such step is left the device is offered again. So a feature that adds a step needs to know nothing of this. While the
// port waits for its state (port_hold.h) the device is withdrawn, too.
//
//   unknown ▸ offered ⇄ withdrawn        failed: the device did not do as it was told; tried again by time
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define BYPASS_SIZE 64 // of a device's name

struct err;
struct port;
struct port_conf;
struct step;

// What the device does in place of the walk while it is offered.
struct bypass_policy {
	bool has_mac; // no other source address passes
	uint8_t mac[6];
	uint16_t vid; // access VLAN
};

struct bypass_driver {
	const char *name;
	// control thread, pure
	bool (*claims)(const char *device);
	// control thread, pure: whether the device does what this step of the port does
	bool (*honours)(const struct port *p, const struct step *s);
	// jobs thread: offers it to the guest, with this policy; NULL = withdraws it. -errno with a sentence.
	int (*set)(const char *device, const struct bypass_policy *policy, struct err *e);
};

// control thread

void bypass_driver_register(const struct bypass_driver *d);
int bypass_validate(const struct port_conf *c, struct err *e);
// The port is shown as `p->part` from now on; NULL = not at all.
void bypass_follow(struct port *p);
// The port goes: a device that is offered is withdrawn.
void bypass_end(struct port *p);
json_t *bypass_show(const struct port *p); // {device, driver, state, why}; NULL = none
