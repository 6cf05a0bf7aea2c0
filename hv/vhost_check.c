// Messages of a vhost-user front end, looked at before the library acts on them. Vhost thread.
#include "vhost_check.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_version.h>

#define MAX_ADDRESS     (1ULL << 47) // of a process; regions are mapped into ours
#define MAX_MEMORY      (1ULL << 44) // of a guest, so that all of it can be mapped
#define MAX_RING        32768
#define RING_MASK       0xff
#define IN_FLIGHT_BYTES 24
#define IOTLB_TYPE      25 // its place in the message
// DPDK 22.11: bytes of a message with its largest payload; descriptors follow
#define KNOWN_YEAR  22
#define KNOWN_MONTH 11
#define KNOWN_BYTES 644
#define PAGE        4096

static bool fits(uint64_t at, uint64_t size)
{
	return at <= UINT64_MAX - size;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static const char *check_memory(const struct vhost_message *m)
{
	struct vhost_region r[VHOST_REGIONS];
	uint64_t sum = 0;

	if (m->size < 8 || m->memory.n == 0 || m->memory.n > VHOST_REGIONS ||
	    m->size < 8 + m->memory.n * sizeof(r[0]))
		return "its memory table has no or too many regions";
	memcpy(r, m->memory.regions, sizeof(r));
	for (uint32_t i = 0; i < m->memory.n; i++) {
		if (r[i].size == 0 || !fits(r[i].gpa, r[i].size) || !fits(r[i].uva, r[i].size) ||
		    !fits(r[i].offset, r[i].size) || r[i].offset + r[i].size > MAX_ADDRESS)
			return "a region of its memory is empty or wraps round";
		sum += r[i].size;
		if (sum > MAX_MEMORY)
			return "its memory is larger than 16 TB";
		for (uint32_t j = 0; j < i; j++)
			if (overlap(r[i].gpa, r[i].size, r[j].gpa, r[j].size) ||
			    overlap(r[i].uva, r[i].size, r[j].uva, r[j].size))
				return "regions of its memory overlap";
	}
	return NULL;
}

static const char *check_size(const struct vhost_message *m, const struct vhost_known *k)
{
	uint32_t n = m->state.num;

	if (k->running)
		return "it changed the size of a ring in use";
	if (n == 0 || n > MAX_RING || (!k->packed && (n & (n - 1)) != 0))
		return "the size of a ring is not a power of two up to 32,768";
	return NULL;
}

static uint32_t least_size(uint32_t request)
{
	switch (request) {
	case VHOST_MSG_SET_VRING_ADDR:
		return 40;
	case VHOST_MSG_SET_LOG_BASE:
		return 16;
	case VHOST_MSG_SET_FEATURES:
	case VHOST_MSG_SET_PROTOCOL_FEATURES:
	case VHOST_MSG_SET_VRING_NUM:
	case VHOST_MSG_SET_VRING_BASE:
	case VHOST_MSG_GET_VRING_BASE:
	case VHOST_MSG_SET_VRING_ENABLE:
	case VHOST_MSG_SET_VRING_KICK:
	case VHOST_MSG_SET_VRING_CALL:
	case VHOST_MSG_SET_VRING_ERR:
	case VHOST_MSG_SEND_RARP:
	case VHOST_MSG_NET_SET_MTU:
	case VHOST_MSG_SET_STATUS:
		return 8;
	default:
		return 0;
	}
}

static const char *check(const struct vhost_message *m, const struct vhost_known *k)
{
	int64_t ring = vhost_ring_of(m);

	if (m->size < least_size(m->request))
		return "a message was cut";
	if (ring >= k->n_rings)
		return "it named a ring that the port does not have";
	switch (m->request) {
	case VHOST_MSG_SET_MEM_TABLE:
		return check_memory(m);
	case VHOST_MSG_SET_LOG_BASE:
		return m->log.size == 0 || m->log.offset != 0
			   ? "its dirty log is empty or does not begin at 0"
			   : NULL;
	case VHOST_MSG_SET_VRING_NUM:
		return check_size(m, k);
	case VHOST_MSG_IOTLB_MSG:
	case VHOST_MSG_POSTCOPY_ADVISE:
	case VHOST_MSG_POSTCOPY_LISTEN:
	case VHOST_MSG_POSTCOPY_END:
	case VHOST_MSG_GET_INFLIGHT_FD:
	case VHOST_MSG_SET_INFLIGHT_FD:
		return "it asked for what was not offered";
	default:
		return NULL;
	}
}

static void spoil(struct vhost_message *m)
{
	if (m->size < least_size(m->request))
		memset(m->bytes, 0, sizeof(m->bytes)); // what was not sent is whatever was there
	switch (m->request) {
	case VHOST_MSG_SET_MEM_TABLE:
		m->memory.n = UINT32_MAX; // there must be as many descriptors
		break;
	case VHOST_MSG_SET_LOG_BASE:
	case VHOST_MSG_GET_INFLIGHT_FD:
		m->size = 0;
		break;
	case VHOST_MSG_SET_VRING_NUM:
		m->state.num = UINT32_MAX;
		break;
	case VHOST_MSG_SET_INFLIGHT_FD:
		m->size = IN_FLIGHT_BYTES;
		m->in_flight.size = PAGE; // mapped, not touched, and closed with the conversation
		m->in_flight.offset = 0;
		m->in_flight.n_queues = 0;
		break;
	case VHOST_MSG_IOTLB_MSG:
		m->bytes[IOTLB_TYPE] = UINT8_MAX;
		break;
	}
}

const char *vhost_check(struct vhost_message *m, const struct vhost_known *k)
{
	const char *wrong = check(m, k);

	if (wrong != NULL)
		spoil(m);
	return wrong;
}

// What follows the message in the library's own struct: descriptors, and how many.
struct with_files {
	uint8_t message[KNOWN_BYTES];
	int fds[VHOST_REGIONS];
	int n;
} __attribute__((packed));

static struct with_files *files_of(struct vhost_message *m)
{
	bool is_known = rte_version_year() == KNOWN_YEAR && rte_version_month() == KNOWN_MONTH;

	return is_known ? (struct with_files *)(void *)m : NULL;
}

// NULL, or why a region cannot be mapped with the file behind it.
static const char *check_file(int fd, uint64_t bytes)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return "the files behind its memory cannot be mapped";
	if ((uint64_t)st.st_size < bytes)
		return "its memory is larger than the file behind it";
	void *at = mmap(NULL, st.st_blksize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return at != MAP_FAILED && munmap(at, st.st_blksize) == 0
		   ? NULL
		   : "the files behind its memory cannot be mapped";
}

const char *vhost_check_files(struct vhost_message *m)
{
	const struct with_files *f = m->request == VHOST_MSG_SET_MEM_TABLE ? files_of(m) : NULL;

	for (int i = 0; f != NULL && i < f->n && i < VHOST_REGIONS && (uint32_t)i < m->memory.n; i++) {
		struct vhost_region r = m->memory.regions[i];
		const char *wrong = check_file(f->fds[i], r.offset + r.size);

		if (wrong != NULL) {
			spoil(m);
			return wrong;
		}
	}
	return NULL;
}

int vhost_file_of(struct vhost_message *m)
{
	const struct with_files *f = files_of(m);

	return f != NULL && f->n == 1 ? f->fds[0] : -1;
}

void vhost_close_files(struct vhost_message *m)
{
	struct with_files *f = files_of(m);

	for (int i = 0; f != NULL && i < f->n && i < VHOST_REGIONS; i++)
		close(f->fds[i]);
	if (f != NULL)
		f->n = 0;
}

bool vhost_touches_rings(uint32_t request)
{
	switch (request) {
	case VHOST_MSG_GET_FEATURES:
	case VHOST_MSG_SET_OWNER:
	case VHOST_MSG_SET_VRING_ERR:
	case VHOST_MSG_GET_PROTOCOL_FEATURES:
	case VHOST_MSG_SET_PROTOCOL_FEATURES:
	case VHOST_MSG_GET_QUEUE_NUM:
	case VHOST_MSG_SEND_RARP:
	case VHOST_MSG_NET_SET_MTU:
	case VHOST_MSG_SET_STATUS:
	case VHOST_MSG_GET_STATUS:
		return false;
	default:
		return true;
	}
}

int64_t vhost_ring_of(const struct vhost_message *m)
{
	switch (m->request) {
	case VHOST_MSG_SET_VRING_NUM:
	case VHOST_MSG_SET_VRING_ADDR:
	case VHOST_MSG_SET_VRING_BASE:
	case VHOST_MSG_GET_VRING_BASE:
	case VHOST_MSG_SET_VRING_ENABLE:
		return m->state.index;
	case VHOST_MSG_SET_VRING_KICK:
	case VHOST_MSG_SET_VRING_CALL:
	case VHOST_MSG_SET_VRING_ERR:
		return m->u64 & RING_MASK;
	default:
		return -1;
	}
}
