// Guests by vhost-user: what a guest did that takes it out of use, and workers whom it holds up. Control thread, under the
// lock of vhost_talk.c, which looks now and then.
#include "vhost.h"

#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static const char *const faults[VIRTQ_N_FAULTS] = {
    [VIRTQ_INDEX] = "it made more entries available than the ring has",
    [VIRTQ_HEAD] = "a descriptor beyond the ring",
    [VIRTQ_OUTSIDE] = "a buffer outside its memory",
    [VIRTQ_DIRECTION] = "a buffer of the wrong direction",
    [VIRTQ_CHAIN] = "a chain of descriptors that is too long or does not end",
    [VIRTQ_INDIRECT] = "an indirect table of a wrong length, or within another",
    [VIRTQ_SHORT] = "buffers without room for the virtio header",
    [VIRTQ_LONG] = "a frame that is longer than 64 KB",
};

// A guest may make its descriptor blocking and fill it, so that who interrupts it stands still. Emptying it sets him free.
// That must not block in turn, as the guest may empty it at the same time. A worker that the host does not let run looks the
// same, but for what the descriptor holds.
static bool call_blocks(struct vhost_ring *r)
{
	uint32_t n = __atomic_load_n(&r->q.n_calls, __ATOMIC_RELAXED);
	bool stands = __atomic_load_n(&r->q.calling, __ATOMIC_RELAXED) && n == r->n_calls_seen;
	struct pollfd p = {.fd = r->q.call, .events = POLLOUT};
	eventfd_t value;
	struct iovec to = {&value, sizeof(value)};

	r->n_calls_seen = n;
	if (!stands || poll(&p, 1, 0) < 0 || p.revents & POLLOUT)
		return false;
	(void)!preadv2(r->q.call, &to, 1, -1, RWF_NOWAIT);
	return true;
}

// Also where somebody waits for the worker to leave the ring.
bool vhost_fault_free_calls(struct vhost *v)
{
	bool blocks = false;

	for (uint16_t i = 0; i < 2 * v->n_queues; i++)
		blocks |= v->rings[i].attached && call_blocks(&v->rings[i]);
	return blocks;
}

void vhost_fault_print(struct vhost *v, char *buf, size_t size)
{
	if (atomic_load(&v->hole) || atomic_load(&v->log_hole)) {
		snprintf(buf, size, "its %s was cut off", atomic_load(&v->hole) ? "memory" : "dirty log");
		return;
	}
	for (uint16_t i = 0; i < 2 * v->n_queues; i++) {
		struct vhost_ring *r = &v->rings[i];
		uint8_t fault = r->attached ? __atomic_load_n(&r->q.fault, __ATOMIC_RELAXED) : VIRTQ_FINE;

		if (fault != VIRTQ_FINE && fault != VIRTQ_ANEW) {
			snprintf(buf, size, "%s ring %d: %s", i % 2 == 0 ? "receive" : "transmit", i / 2,
				 faults[fault]);
			return;
		}
	}
}
