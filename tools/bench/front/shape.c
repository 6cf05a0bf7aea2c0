// Cuts a buffer into pieces, the virtio header in the middle of one if the layout is bad enough. Pure.

#include "tools/bench/front/front.h"

#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

const char *const layout_names[N_LAYOUTS] = {
    [LAYOUT_SINGLE] = "single", [LAYOUT_HEADER_SPLIT] = "header-split",
    [LAYOUT_CHAIN] = "chain",   [LAYOUT_INDIRECT] = "indirect",
    [LAYOUT_MIXED] = "mixed",   [LAYOUT_TAIL] = "tail-indirect",
};

unsigned layout_most(enum layout l)
{
	switch (l) {
	case LAYOUT_SINGLE:
	case LAYOUT_INDIRECT:
		return 1;
	case LAYOUT_HEADER_SPLIT:
	case LAYOUT_TAIL:
		return 2;
	default:
		return SHAPE_PIECES;
	}
}

static unsigned cut(struct seg *out, unsigned n, uint32_t *off, uint32_t *left, uint32_t bytes)
{
	bytes = bytes < *left ? bytes : *left;
	if (bytes == 0)
		return n;
	out[n] = (struct seg){*off, bytes};
	*off += bytes;
	*left -= bytes;
	return n + 1;
}

// The header in two pieces, the rest in up to six of uneven sizes.
static unsigned cut_chain(struct seg *out, uint32_t off, uint32_t left, uint32_t turn)
{
	uint32_t first = 1 + turn % (VIRTIO_HEAD - 1), pieces = 1 + turn % (SHAPE_PIECES - 3);
	unsigned n = cut(out, 0, &off, &left, first);
	n = cut(out, n, &off, &left, VIRTIO_HEAD - first + turn % 3);
	for (uint32_t each = left / (pieces + 1) + turn % 7 + 1; pieces > 0; pieces--)
		n = cut(out, n, &off, &left, each);
	return cut(out, n, &off, &left, left);
}

static unsigned cut_as(enum layout l, struct seg *out, uint32_t off, uint32_t left, uint32_t turn)
{
	if (l == LAYOUT_CHAIN)
		return cut_chain(out, off, left, turn);
	unsigned n = l == LAYOUT_SINGLE ? 0 : cut(out, 0, &off, &left, VIRTIO_HEAD);
	return cut(out, n, &off, &left, left);
}

static struct ring_desc table_make(const struct ring *r, char *region, uint32_t table,
				   const struct seg *pieces, unsigned n)
{
	struct ring_desc *d = (void *)(region + table);
	struct ring_pdesc *packed = (void *)d;
	for (unsigned i = 0; i < n; i++) {
		bool more = i + 1 < n;
		if (r->conf.packed) // no chain, the table's length counts
			packed[i] = (struct ring_pdesc){pieces[i].off + RING_GPA, pieces[i].len, 0, r->flags};
		else
			d[i] = (struct ring_desc){pieces[i].off + RING_GPA, pieces[i].len,
						  r->flags | (more ? DESC_NEXT : 0), more ? i + 1 : 0};
	}
	return (struct ring_desc){table + RING_GPA, n * sizeof(*d), DESC_INDIRECT, 0};
}

unsigned shape_make(enum layout l, const struct ring *r, char *region, uint32_t off, uint32_t len,
		    uint32_t turn, struct ring_desc *out)
{
	static const enum layout mix[] = {LAYOUT_SINGLE, LAYOUT_CHAIN, LAYOUT_INDIRECT, LAYOUT_HEADER_SPLIT};
	struct seg pieces[SHAPE_PIECES];
	unsigned direct = 0, n;
	if (l == LAYOUT_MIXED)
		l = mix[turn % 4];
	bool table = l == LAYOUT_INDIRECT || l == LAYOUT_TAIL;
	if (l == LAYOUT_INDIRECT)
		n = cut_as((enum layout[]){LAYOUT_CHAIN, LAYOUT_SINGLE, LAYOUT_HEADER_SPLIT}[turn / 4 % 3],
			   pieces, off, len, turn);
	else
		n = cut_as(l == LAYOUT_TAIL ? LAYOUT_HEADER_SPLIT : l, pieces, off, len, turn);
	direct = l == LAYOUT_TAIL ? 1 : table ? 0 : n;
	for (unsigned i = 0; i < direct; i++)
		out[i] = (struct ring_desc){pieces[i].off + RING_GPA, pieces[i].len, r->flags, 0};
	if (direct == n)
		return n;
	out[direct] = table_make(r, region, off - SHAPE_HEAD, pieces + direct, n - direct);
	return direct + 1;
}
