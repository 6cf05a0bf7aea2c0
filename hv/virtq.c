// Virtqueues between the vhost-user library and the workers: taking them over as the front end has set them up, and
// giving their positions back before the library acts on them. Vhost thread (and jobs thread, when it unregisters);
// no worker is inside.
#include "virtq.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/virtio_net.h>
#include <rte_vhost.h>

#include "hole.h"
#include "journal.h"

#define BIT(n)      (1ULL << (n))
#define PACKED_WRAP 0x8000
#define EVENT_BYTES 2 // behind the avail and the used ring
#define HAS(f, n)   (((f)&BIT(n)) != 0)

// The whole range of a region is behind its file: what is not would be a signal in the worker, as is what goes away later.
static bool region_read(struct virtq_memory *memory, const struct rte_vhost_mem_region *m, _Atomic bool *hit)
{
	uint64_t offset = m->host_user_addr - (uintptr_t)m->mmap_addr;
	struct stat st;

	memory->regions[memory->n++] =
	    (struct virtq_region){m->guest_phys_addr, m->size, (uint8_t *)(uintptr_t)m->host_user_addr};
	if (fstat(m->fd, &st) != 0)
		return false;
	memory->page_bytes = RTE_MIN(memory->page_bytes, (uint32_t)st.st_blksize);
	return st.st_size >= 0 && offset + m->size <= (uint64_t)st.st_size &&
	       hole_watch(m->mmap_addr, m->mmap_size, hit);
}

bool virtq_memory_read(struct virtq_memory *to, int vid, _Atomic bool *hit)
{
	struct rte_vhost_memory *from;

	to->n = 0;
	to->page_bytes = UINT32_MAX;
	if (rte_vhost_get_mem_table(vid, &from) != 0)
		return false;
	bool ok = from->nregions <= VIRTQ_REGIONS;

	for (uint32_t i = 0; ok && i < from->nregions; i++)
		ok = region_read(to, &from->regions[i], hit);
	if (!ok)
		virtq_memory_forget(to, hit);
	free(from);
	return ok;
}

void virtq_memory_forget(struct virtq_memory *m, const _Atomic bool *hit)
{
	m->n = 0;
	hole_forget(hit);
}

bool virtq_log_open(struct virtq_memory *m, int fd, uint64_t bytes, _Atomic bool *hit)
{
	struct stat st;

	virtq_log_close(m, hit);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < bytes)
		return false;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return false;
	m->log = at;
	m->log_bytes = bytes;
	if (hole_watch(at, bytes, hit))
		return true;
	virtq_log_close(m, hit);
	return false;
}

void virtq_log_close(struct virtq_memory *m, _Atomic bool *hit)
{
	hole_forget(hit);
	if (m->log != NULL)
		munmap(m->log, m->log_bytes);
	m->log = NULL;
	atomic_store(hit, false);
}

static bool is_within(const struct virtq_memory *memory, const void *at, uint64_t bytes, uint64_t alignment)
{
	if (at == NULL || (uintptr_t)at % alignment != 0)
		return false;
	for (uint32_t i = 0; i < memory->n; i++) {
		const struct virtq_region *m = &memory->regions[i];
		uint64_t off = (uintptr_t)at - (uintptr_t)m->va;

		if (off < m->size && bytes <= m->size - off)
			return true;
	}
	return false;
}

// The library checks less than all of a ring's areas.
static bool areas_fit(const struct virtq *r)
{
	const struct virtq_memory *m = r->memory;
	uint64_t n = r->size, event = r->event_idx ? EVENT_BYTES : 0;

	if (r->is_packed)
		return is_within(m, r->packed, n * sizeof(*r->packed), sizeof(*r->packed)) &&
		       is_within(m, r->driver_event, sizeof(*r->driver_event), sizeof(uint32_t)) &&
		       is_within(m, r->device_event, sizeof(*r->device_event), sizeof(uint32_t));
	return (n & (n - 1)) == 0 && is_within(m, r->desc, n * sizeof(*r->desc), sizeof(*r->desc)) &&
	       is_within(m, r->avail, sizeof(*r->avail) + n * sizeof(uint16_t) + event, sizeof(uint16_t)) &&
	       is_within(m, r->used, sizeof(*r->used) + n * sizeof(struct vring_used_elem) + event,
			 sizeof(uint32_t));
}

static void positions_take(struct virtq *r, uint16_t next, uint16_t done)
{
	r->next_wrap = r->done_wrap = true;
	if (r->is_packed) {
		r->next_wrap = next & PACKED_WRAP;
		r->done_wrap = done & PACKED_WRAP;
		next &= ~PACKED_WRAP;
		done &= ~PACKED_WRAP;
	}
	r->next = next;
	r->done = done;
}

// An eventfd, which is nothing that a guest could make slow, and that does not block.
static bool call_take(struct virtq *r, int fd)
{
	static const char eventfd[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(eventfd)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof(target)) != sizeof(eventfd) - 1 ||
	    memcmp(target, eventfd, sizeof(eventfd) - 1) != 0)
		return false;
	r->call = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return r->call >= 0 && fcntl(r->call, F_SETFL, O_NONBLOCK) == 0;
}

static void ring_describe(struct virtq *r, const struct rte_vhost_vring *v, uint64_t features)
{
	r->size = v->size;
	r->is_packed = HAS(features, VIRTIO_F_RING_PACKED);
	r->event_idx = HAS(features, VIRTIO_RING_F_EVENT_IDX);
	r->mergeable = HAS(features, VIRTIO_NET_F_MRG_RXBUF);
	r->asks = HAS(features, VIRTIO_NET_F_CSUM);
	r->log = HAS(features, VHOST_F_LOG_ALL);
	r->header =
	    features & (BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED))
		? VIRTIO_NET_HEADER
		: VIRTIO_NET_HEADER - sizeof(uint16_t);
	r->desc = v->desc;
	r->avail = v->avail;
	r->used = v->used;
}

// The library says what the front end told. Of a split ring it corrects that by what the ring itself says.
static bool position_find(struct virtq *r, const struct journal *j, bool *resumed)
{
	uint16_t next, done;

	if (rte_vhost_get_vring_base(r->vid, r->index, &next, &done) != 0)
		return false;
	positions_take(r, next, done);
	*resumed = r->is_packed && journal_resume(j, r);
	return !r->is_packed || (r->next < r->size && r->done == r->next);
}

bool virtq_attach(struct virtq *r, int vid, uint16_t index, const struct virtq_memory *memory,
		  uint64_t features, const struct journal *j)
{
	struct rte_vhost_vring v;
	bool resumed;

	memset(r, 0, sizeof(*r));
	r->call = -1;
	if (rte_vhost_get_vhost_vring(vid, index, &v) != 0)
		return false;
	r->memory = memory;
	r->vid = vid;
	r->index = index;
	r->fault = VIRTQ_ANEW;
	ring_describe(r, &v, features);
	if (v.size == 0 || v.size > VIRTQ_MAX_SIZE || !areas_fit(r) || !position_find(r, j, &resumed))
		return false;
	if (v.callfd >= 0 && !call_take(r, v.callfd))
		return false;
	if (r->is_packed) {
		journal_follow(j, r, resumed); // an old record goes before the event word vouches for it
		packed_notify(r, false);
	} else {
		split_notify(r, false);
		journal_end(j);
	}
	return true;
}

static uint16_t position(const struct virtq *r, uint16_t at, bool wrap)
{
	return r->is_packed && wrap ? at | PACKED_WRAP : at;
}

void virtq_detach(struct virtq *r)
{
	rte_vhost_set_vring_base(r->vid, r->index, position(r, r->next, r->next_wrap),
				 position(r, r->done, r->done_wrap));
	if (r->call >= 0)
		close(r->call);
	r->call = -1;
}
