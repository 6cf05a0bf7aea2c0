// Fuzzes the check of a front end's messages before the library acts on them.
//
// Input: two bytes of what is known of the conversation, then the message. It stands in an allocation of its size, so that
// ASan sees an access beyond. A message that is refused must have become one that the library refuses or that does
// nothing; one that is not is unchanged, and its table, sizes and rings are within their bounds.
#include <stdlib.h>
#include <string.h>

#include "hv/vhost_check.c"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_memory_is_sound(const struct vhost_message *m)
{
	must(m->memory.n >= 1 && m->memory.n <= VHOST_REGIONS && m->size >= 8 + m->memory.n * 32);
	for (uint32_t i = 0; i < m->memory.n; i++) {
		struct vhost_region r = m->memory.regions[i];

		must(r.size > 0 && r.gpa + r.size > r.gpa && r.uva + r.size > r.uva);
		must(r.offset + r.size > r.offset && r.offset + r.size <= MAX_ADDRESS);
	}
}

static void check_fine(const struct vhost_message *m, const struct vhost_known *k)
{
	uint32_t n = m->state.num;

	must(vhost_ring_of(m) < k->n_rings);
	switch (m->request) {
	case VHOST_MSG_SET_MEM_TABLE:
		check_memory_is_sound(m);
		break;
	case VHOST_MSG_SET_LOG_BASE:
		must(m->size >= 16 && m->log.offset == 0 && m->log.size > 0);
		break;
	case VHOST_MSG_SET_VRING_NUM:
		must(!k->running && n > 0 && n <= MAX_RING && (k->packed || (n & (n - 1)) == 0));
		break;
	case VHOST_MSG_POSTCOPY_ADVISE:
	case VHOST_MSG_IOTLB_MSG:
	case VHOST_MSG_GET_INFLIGHT_FD:
	case VHOST_MSG_SET_INFLIGHT_FD:
		must(false);
	}
}

static void check_spoilt(const struct vhost_message *m, const struct vhost_message *before)
{
	must(m->request == before->request && m->flags == before->flags);
	switch (m->request) {
	case VHOST_MSG_SET_MEM_TABLE:
		must(m->memory.n > VHOST_REGIONS);
		break;
	case VHOST_MSG_SET_LOG_BASE:
	case VHOST_MSG_GET_INFLIGHT_FD:
		must(m->size == 0);
		break;
	case VHOST_MSG_SET_VRING_NUM:
		must(m->state.num > MAX_RING);
		break;
	case VHOST_MSG_SET_INFLIGHT_FD:
		must(m->in_flight.n_queues == 0 && m->in_flight.offset == 0 && m->in_flight.size == PAGE);
		break;
	default:
		must(m->request == VHOST_MSG_IOTLB_MSG || before->size < least_size(m->request) ||
		     memcmp(m, before, sizeof(*m)) == 0);
	}
	if (before->size < least_size(m->request) && m->request != VHOST_MSG_SET_VRING_NUM)
		must(m->u64 == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	if (size < 2)
		return 0;
	struct vhost_known k = {
	    .n_rings = 2 + input[0] % 32, .packed = input[1] & 1, .running = input[1] & 2};
	struct vhost_message *m = calloc(1, sizeof(*m)), before;

	must(m != NULL);
	size -= 2;
	memcpy(m, input + 2, size < sizeof(*m) ? size : sizeof(*m));
	memcpy(&before, m, sizeof(before));
	if (vhost_check(m, &k) == NULL) {
		must(memcmp(m, &before, sizeof(before)) == 0);
		check_fine(m, &k);
	} else {
		check_spoilt(m, &before);
	}
	vhost_touches_rings(m->request);
	free(m);
	return 0;
}
