// Fuzzes virtqueues: the guest's memory with its rings, split or packed, is the input.
//
// Input: a byte of options, a byte for the ring's size, two bytes of position, then memory. Memory is two
// regions, each an allocation of its size, so that ASan sees an access beyond; the ring's areas stand where
// areas_lay() puts them, what is left holds tables and frames. Taking and putting go on until the ring has a
// fault, a few rounds at most. What is lent must lie within the regions, and every call must end.

#include "hv/virtq_dp.c"

#include "hv/packed_dp.c"
#define chain_indirect split_chain_indirect
#define chain_read     split_chain_read
#define used_put       split_used_put
#define used_log       split_used_log
#define wants_call     split_wants_call
#define publish        split_publish
#define take_hard      split_take_hard
#define quad_read      split_quad_read
#define slot_four      split_slot_four
#define slot_next      split_slot_next
#define slots_log      split_slots_log
#define collect        split_collect
#define put_collected  split_put_collected
#define put_hard       split_put_hard
#include "hv/split_dp.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define REGION_BYTES 8192
#define GPA_FIRST    0x1000 // two neighbours
#define N_ROUNDS     8

enum option {
	PACKED = 1,
	EVENT_IDX = 2,
	MERGEABLE = 4,
	LEGACY = 8,
	ASKS = 16,
	WRAP = 32,
	RECEIVE = 64,
	LONG_FRAME = 128,
};

static struct worker worker;
static struct pkt pkts[PKT_BURST];

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void areas_lay(struct virtq *r, uint8_t *at)
{
	if (r->is_packed) {
		r->packed = (void *)at;
		r->driver_event = (void *)(at + r->size * sizeof(*r->packed));
		r->device_event = r->driver_event + 1;
		return;
	}
	r->desc = (void *)at;
	r->avail = (void *)(at + r->size * sizeof(*r->desc));
	r->used = (void *)(at + RTE_ALIGN(r->size * (sizeof(*r->desc) + sizeof(uint16_t)) + 6, 4));
}

static void ring_open(struct virtq *r, const uint8_t *how, const struct virtq_memory *memory)
{
	uint8_t options = how[0];

	memset(r, 0, sizeof(*r));
	r->memory = memory;
	r->is_packed = options & PACKED;
	r->size = r->is_packed ? how[1] % 64 + 1 : 1 << how[1] % 7;
	r->event_idx = options & EVENT_IDX;
	r->mergeable = options & MERGEABLE;
	r->header = options & LEGACY ? VIRTIO_NET_HEADER - 2 : VIRTIO_NET_HEADER;
	r->asks = options & ASKS;
	r->next_wrap = r->done_wrap = options & WRAP;
	r->next = how[2] | how[3] << 8;
	if (r->is_packed)
		r->next %= r->size;
	r->done = r->next;
	r->call = -1;
	areas_lay(r, memory->regions[0].va);
}

static bool is_inside(const struct virtq_memory *memory, const struct iovec *piece)
{
	for (uint32_t i = 0; i < memory->n; i++) {
		const struct virtq_region *m = &memory->regions[i];
		uint64_t off = (uintptr_t)piece->iov_base - (uintptr_t)m->va;

		if (off < m->size && piece->iov_len <= m->size - off)
			return true;
	}
	return false;
}

static void check_lent(const struct virtq_memory *memory, const struct pkt *p)
{
	uint64_t sum = p->head_len;

	must(p->head_len <= PKT_HEAD && p->len <= VIRTQ_MAX_FRAME);
	for (uint16_t i = 0; i < p->n_tail; i++) {
		must(is_inside(memory, &p->tail.iov[i]));
		sum += p->tail.iov[i].iov_len;
	}
	must(sum == p->len);
}

static uint16_t take(struct virtq *r)
{
	uint16_t n = r->is_packed ? packed_take(&worker, r, pkts, PKT_BURST, 1)
				  : split_take(&worker, r, pkts, PKT_BURST, 1);

	must(n <= PKT_BURST);
	for (uint16_t i = 0; i < n; i++)
		check_lent(r->memory, &pkts[i]);
	if (r->is_packed)
		packed_give_back(r);
	else
		split_give_back(r);
	return n;
}

static uint16_t put(struct virtq *r, uint32_t len)
{
	static uint8_t frame[VIRTQ_MAX_FRAME];
	struct iovec rest[2], from[2] = {{frame, len / 2 + 1}, {frame + len / 2 + 1, len - len / 2 - 1}};
	struct pkt p, *all[3] = {&p, &p, &p};
	uint16_t n;

	pkt_init_borrowed(&p, from, 2, rest, 0);
	n = r->is_packed ? packed_put(r, all, 3) : split_put(r, all, 3);
	must(n <= 3);
	return n;
}

static void notify(struct virtq *r, bool on)
{
	if (r->is_packed)
		packed_notify(r, on);
	else
		split_notify(r, on);
	must(r->next == r->done && (!r->is_packed || r->next < r->size));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct virtq_memory memory = {.n = 2};
	struct virtq r;

	if (size < 4 || size > 4 + 2 * REGION_BYTES)
		return 0;
	for (uint32_t i = 0, at = 4; i < memory.n; i++, at += REGION_BYTES) {
		uint8_t *va = calloc(1, REGION_BYTES);

		must(va != NULL);
		if (size > at)
			memcpy(va, input + at, RTE_MIN(size - at, REGION_BYTES));
		memory.regions[i] = (struct virtq_region){GPA_FIRST + i * REGION_BYTES, REGION_BYTES, va};
	}
	ring_open(&r, input, &memory);
	for (int i = 0; i < N_ROUNDS && r.fault == VIRTQ_FINE; i++) {
		notify(&r, i & 1);
		if ((input[0] & RECEIVE ? put(&r, input[0] & LONG_FRAME ? 3000 : 60) : take(&r)) == 0)
			break;
	}
	notify(&r, true);
	for (uint32_t i = 0; i < memory.n; i++)
		free(memory.regions[i].va);
	return 0;
}
