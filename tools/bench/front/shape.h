// How one buffer is described to a switch: in one piece or in several, directly or by a table. All shapes describe
// the same bytes, which stay contiguous in the shared memory. Pure but for the table it writes.
#pragma once

#include "tools/bench/front/ring.h"

#define SHAPE_PIECES 8                           // most descriptors of one frame
#define SHAPE_TABLE  (SHAPE_PIECES * 16)         // bytes of an indirect table
#define SHAPE_HEAD   (BUFFER_HEAD + SHAPE_TABLE) // its place before the virtio header

enum layout {
	LAYOUT_SINGLE,
	LAYOUT_HEADER_SPLIT,
	LAYOUT_CHAIN,
	LAYOUT_INDIRECT,
	LAYOUT_MIXED,
	LAYOUT_TAIL,
	N_LAYOUTS
};

extern const char *const layout_names[N_LAYOUTS];

// Most descriptors of the ring that a frame takes.
unsigned layout_most(enum layout l);
// Describes `len` bytes at `off` of the region; `turn` counts up and varies the sizes. Returns descriptors in `out`
// (SHAPE_PIECES), for ring_post_chain().
unsigned shape_make(enum layout l, const struct ring *r, char *region, uint32_t off, uint32_t len,
		    uint32_t turn, struct ring_desc *out);
