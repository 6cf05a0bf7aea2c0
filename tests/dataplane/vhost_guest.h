// A guest that we did not write: DPDK's net_virtio_user, in the test's own process.
#pragma once

#include <check.h>
#include <rte_mbuf.h>

#include "driver_rig.h"

struct guest {
	char name[32];
	char args[256];
	uint16_t n_queues;
	uint16_t id; // ethdev
	int rc;
	_Atomic bool done;
};

// `more` = further arguments of the device, beginning with a comma. Returns what attaching it did.
int guest_try(struct guest *g, const struct port *p, uint16_t n_queues, const char *more);
int guest_use(struct guest *g); // its driver starts
void guest_start(struct guest *g, struct port *p, uint16_t n_queues,
		 const char *more);                    // both, and the port is up
void guest_end(struct guest *g, const struct port *p); // and the port, unless NULL, waits again

bool guest_send(struct guest *g, uint16_t queue, const uint8_t *frame, uint32_t len);
struct rte_mbuf *guest_receive(struct guest *g); // from any queue; NULL = nothing

// Messages to the back end, behind the guest's back: n times one with a number, which counts up; returns when all of
// them have been handled.
void guest_say(const struct port *p, uint32_t request, uint64_t value, unsigned n);
// Replaces the kick descriptor of a ring that is in use, behind the guest's back.
void guest_kick_replace(const struct port *p, uint16_t ring, int kick);
