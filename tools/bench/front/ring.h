// One virtqueue of a guest, split or packed (virtio 1.2, sections 2.7 and 2.8), in memory that a
// switch shares. A driver's view: buffers are posted, published, and taken back when the switch has
// used them. A buffer is named by the offset of its virtio header in the shared region.
//
// The switch is not trusted to be right: what it names but was never posted is counted in `errors`.
// One thread at a time: the worker, or the control thread while the device is parked.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_MAX  32768
#define RING_SEGS 8          // most buffers in one frame that is sent
#define RING_GPA  (1u << 20) // guest physical address of the region's first byte
#define RING_NONE UINT32_MAX // offset of a descriptor that is not where a buffer begins

#define VIRTIO_HEAD 12
#define BUFFER_HEAD 52 // its place: the frame behind it begins a line, as with most drivers

struct ring_desc { // split
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct ring_pdesc { // packed
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

struct ring_avail {
	uint16_t flags, idx, ring[];
};

struct ring_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[];
};

struct ring_event {
	uint16_t where, flags;
};

struct seg {
	uint32_t off, len;
};

struct ring_slot {
	uint32_t off;
	uint16_t n, next; // n: descriptors of the frame that starts here, 0: free or not the first
};

struct ring_conf {
	unsigned size; // a power of two
	bool packed, in_order, event_idx;
	bool receive; // the switch writes into what is posted
};

struct ring {
	struct ring_conf conf;
	union {
		struct ring_desc *desc;
		struct ring_pdesc *pdesc;
	};
	union {
		struct ring_avail *avail;
		struct ring_event *driver;
	};
	union {
		struct ring_used *used;
		struct ring_event *device;
	};
	uint16_t mask, flags;
	uint16_t posted, published; // split: avail index; packed: position
	uint16_t taken;             // split: used index; packed: position
	bool post_wrap, take_wrap;
	bool skipping; // packed, in order: completing all up to `until`
	uint16_t until;
	uint32_t len;
	uint16_t batch_flags; // packed: of the first descriptor that is not published yet
	uint16_t batch;       // packed: descriptors that are not published yet
	uint32_t id_get, id_put;
	uint64_t errors;
	struct ring_slot *slots;
	uint16_t
	    *ids; // free ones, first in first out: a switch that completes in order finds them counting up
};

// Bytes of shared memory of a ring, a multiple of 4096.
size_t ring_bytes(const struct ring_conf *conf);

// `memory` is zeroed and page-aligned. Returns 0 or -ENOMEM.
int ring_init(struct ring *r, const struct ring_conf *conf, void *memory);
void ring_fini(struct ring *r);

// Free descriptors.
static inline unsigned ring_room(const struct ring *r)
{
	return r->id_put - r->id_get;
}

// What the switch holds.
static inline unsigned ring_held(const struct ring *r)
{
	return r->conf.size - ring_room(r);
}

// One frame of n buffers; there must be room for n. Not seen by the switch before ring_publish().
void ring_post(struct ring *r, const struct seg *segs, unsigned n);

// One buffer, at `off`, by any n descriptors; their order is the array's, flags without NEXT. It is taken back as
// one buffer.
void ring_post_chain(struct ring *r, uint32_t off, const struct ring_desc *chain, unsigned n);

// Shows the switch what was posted. True if it wants to be kicked.
bool ring_publish(struct ring *r);

// Up to `max` buffers (≥ RING_SEGS) that the switch has used, in the order of its completions. For a receive
// ring `len` is what was written.
unsigned ring_take(struct ring *r, struct seg *out, unsigned max);

// Whether the switch has used all that was published. Only reads.
bool ring_all_used(const struct ring *r);

// Where a back end that comes (back) has to go on: behind what was completed, all of which is taken
// (VHOST_USER_SET_VRING_BASE; packed: bit 15 is the wrap counter).
uint16_t ring_base(const struct ring *r);
