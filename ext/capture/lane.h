// A lane: captured packets on their way from one worker to a session's writer. One writes, one reads, nobody waits.
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LANE_BYTES (4u << 20) // of address space: memory is taken as it is used

struct record {
	uint32_t bytes; // of all, a multiple of 8; 0 = nothing, up to the end of the ring
	uint32_t captured, length;
	uint16_t comment; // bytes of it behind the frame, with its end
	uint8_t interface;
	uint64_t time_ns;
	uint8_t frame[];
};

struct lane {
	alignas(64) _Atomic uint64_t head; // worker
	_Atomic uint64_t n_packets[2];     // worker: by interface
	_Atomic uint64_t n_lost[2];
	uint64_t skip;                     // worker: packets until the next of the sample
	alignas(64) _Atomic uint64_t tail; // writer
	uint8_t *bytes;
};

bool lane_open(struct lane *l);
void lane_close(struct lane *l);

// worker

// Room for a record with so many bytes of frame and comment; NULL = there is none. Seen by the reader with lane_push().
struct record *lane_room(struct lane *l, uint32_t bytes);
void lane_push(struct lane *l, const struct record *r);

// writer

const struct record *lane_first(struct lane *l); // NULL = it is empty
void lane_pop(struct lane *l, const struct record *r);
