// A guest's side of virtqueues, split or packed, in plain memory: what a driver does, and room to do it
// wrong.
//
// Guest memory is three regions, each an allocation of exactly its size, of which the first two are
// neighbours for the guest only. gring_init() makes it anew. Test thread only.
#pragma once

#include "hv/virtq.h"

#define GUEST_MEMORY       0x100000ull // where the first region begins
#define GUEST_REGION       0x800000ull // bytes of the first two
#define GUEST_SEAM         (GUEST_MEMORY + GUEST_REGION)
#define GUEST_ISLAND       0x40000000ull // the third one
#define GUEST_ISLAND_BYTES 4096
#define GUEST_UNTOUCHED    0xee // what all memory is filled with

extern struct virtq_memory gring_memory;

struct guest_buffer {
	uint64_t gpa;
	uint32_t len;
};

struct guest_ring {
	struct virtq q; // ours
	bool packed;
	uint16_t size;
	uint16_t *free_ids; // split: descriptors
	uint16_t n_free;
	uint16_t *n_desc;     // packed: of each id
	uint16_t n_free_desc; // packed
	uint16_t next, used;  // entries
	bool wrap, used_wrap; // packed
};

void gring_init(void);
uint64_t gring_alloc(uint32_t bytes, uint32_t align); // in the first region; for ever
uint8_t *gring_va(uint64_t gpa);
void gring_read(void *to, uint64_t gpa, uint32_t n); // across regions
void gring_write(uint64_t gpa, const void *from, uint32_t n);
uint64_t gring_sum(uint64_t gpa, uint64_t n); // of these bytes
uint64_t gring_end(void);                     // of what was allocated

// A ring whose every position is 0. Header of 12 bytes, no event index, calls go nowhere.
void gring_open(struct guest_ring *g, bool packed, uint16_t size);
void gring_close(struct guest_ring *g);
// Starts a ring that has just been opened at a later position: what comes after a migration.
void gring_start_at(struct guest_ring *g, uint16_t at, bool wrap);
// Makes a chain available, to write or to read. Returns its id, -1 when the ring is full.
int gring_add(struct guest_ring *g, const struct guest_buffer *b, uint16_t n, bool write, bool indirect);
// The next used one. False: none.
bool gring_used(struct guest_ring *g, uint16_t *id, uint32_t *len);
void gring_expect_used(struct guest_ring *g, int id, uint32_t len); // the next one is this
void gring_expect_none_used(struct guest_ring *g);

// What the driver says of interrupts: any or none, or (event index) when the used entry `distance` from now
// is passed.
void gring_want(struct guest_ring *g, bool any);
void gring_want_at(struct guest_ring *g, uint16_t distance);
// Whether it would notify us of one more entry.
bool gring_would_notify(const struct guest_ring *g);

uint16_t gring_take(struct worker *w, struct guest_ring *g, struct pkt *pkts, uint16_t n);
void gring_give_back(struct guest_ring *g);
uint16_t gring_put(struct guest_ring *g, struct pkt **pkts, uint16_t n);
void gring_notify(struct guest_ring *g, bool on);
// The whole frame of a packet.
void gring_pkt_bytes(const struct pkt *p, uint8_t *to);
