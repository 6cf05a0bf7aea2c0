// Announcing a guest that has moved here (VHOST_USER_SEND_RARP). The vhost thread asks, a worker does it.
#pragma once

#include "vhost.h"

#define ANNOUNCE_MASK 0xffffffffffffULL // the address, its first byte lowest
#define ANNOUNCE_SET  (1ULL << 48)      // so that no address is 0

// vhost thread. In place of an address that was not announced yet, so that a flood costs nothing.
static inline void announce_ask(struct vhost *v, uint64_t address)
{
	uint64_t value = (address & ANNOUNCE_MASK) | ANNOUNCE_SET;

	if (atomic_exchange(&v->rings[1].announce, value) == 0)
		vhost_kick_bell(v);
}

// worker, inside the ring

static inline bool announce_is_asked(const struct vhost_ring *r)
{
	return __builtin_expect(atomic_load_explicit(&r->announce, memory_order_relaxed) != 0, 0);
}

// The frame. False: none now.
bool announce_take(struct worker *w, struct vhost_ring *r, struct pkt *p, uint16_t src);
