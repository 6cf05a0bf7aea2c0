// Attacks by what stands around descriptors: indices, heads, events, wrap counters; and by a second thread that rewrites
// frames and rings while they are handled.

#include "tools/bench/front/attack.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { AVAIL = 1 << 7, USED = 1 << 15 };

static void settle(struct foe *f)
{
	foe_kick(f, FOE_TX);
	foe_kick(f, FOE_RX);
	usleep(1000);
}

static void index_set(struct foe *f, unsigned ring, uint16_t index)
{
	__atomic_store_n(&f->rings[ring].avail->idx, index, __ATOMIC_RELEASE);
	settle(f);
}

// The ring is given up: none of its positions means anything now.
static void over(struct foe *f)
{
	usleep(2000);
	foe_leave(f);
}

static void run_index_jump(struct foe *f)
{
	static const uint16_t jumps[] = {FOE_SIZE + 1, 32768, 65535, 1000};
	foe_send(f, 8);
	index_set(f, f->rounds % 2, f->rings[f->rounds % 2].posted + jumps[f->rounds / 2 % 4]);
	over(f);
}

static void run_index_back(struct foe *f)
{
	foe_send(f, 16);
	foe_wait(f, FOE_TX, 10);
	index_set(f, FOE_TX, f->rings[FOE_TX].posted - 1 - f->rounds % 16);
	over(f);
}

static void run_index_random(struct foe *f)
{
	foe_send(f, 64);
	for (unsigned i = 0; i < 20; i++)
		index_set(f, i % 2, foe_random(f));
	over(f);
}

static void run_index_full(struct foe *f)
{
	foe_send(f, 64);
	memset(f->rings[FOE_TX].avail->ring, 0, 2 * FOE_SIZE); // one head for all
	index_set(f, FOE_TX, f->rings[FOE_TX].posted + FOE_SIZE - 64);
	foe_wait(f, FOE_TX, 20);
	over(f);
}

static void run_head_out(struct foe *f)
{
	static const uint16_t heads[] = {FOE_SIZE, FOE_SIZE + 1, 32768, 65535};
	unsigned ring = f->rounds % 2;
	struct foe_ring *r = &f->rings[ring];
	for (unsigned i = 0; i < 8; i++)
		r->avail->ring[r->posted++ % FOE_SIZE] = heads[f->rounds / 2 % 4];
	index_set(f, ring, r->posted);
	foe_wait(f, ring, 20);
	over(f);
}

static void run_events(struct foe *f)
{
	for (unsigned i = 0; i < 16; i++) {
		struct foe_ring *r = &f->rings[i % 2];
		if (f->packed) {
			r->driver->where = foe_random(f);
			r->driver->flags = foe_random(f);
		} else {
			r->avail->flags = foe_random(f);
			r->avail->ring[FOE_SIZE] = foe_random(f);
		}
		foe_send(f, 2);
		usleep(200);
	}
	foe_wait(f, FOE_TX, 50);
}

// The switch's own words are written over.
static void run_used(struct foe *f)
{
	for (unsigned i = 0; i < 16; i++) {
		struct foe_ring *r = &f->rings[i % 2];
		foe_send(f, 4);
		memset((void *)r->used, 0xff, f->packed ? 4 : 4 + 8 * FOE_SIZE + 2);
		settle(f);
	}
	over(f);
}

// Flags of all descriptors, in ways that none can have in a row.
static void wrap_lies(struct foe *f, unsigned ring, uint16_t flags, uint16_t id)
{
	struct foe_ring *r = &f->rings[ring];
	for (unsigned i = 0; i < FOE_SIZE; i++) {
		r->pdesc[i] = (struct ring_pdesc){foe_data_gpa(i % 8), 72, id == 1 ? i : id, 0};
		__atomic_store_n(&r->pdesc[i].flags, flags | (ring == FOE_RX ? 2 : 0), __ATOMIC_RELEASE);
	}
	settle(f);
}

static void run_wrap_wrong(struct foe *f)
{
	foe_send(f, 8);
	wrap_lies(f, f->rounds % 2, (uint16_t[]){USED, AVAIL, AVAIL | USED, 0}[f->rounds / 2 % 4], 1);
	over(f);
}

static void run_wrap_flip(struct foe *f)
{
	for (unsigned i = 0; i < 10; i++)
		wrap_lies(f, FOE_TX, i % 2 ? AVAIL : USED, 1);
	over(f);
}

static void run_ids(struct foe *f)
{
	static const uint16_t ids[] = {FOE_SIZE, 65535, 32768, 0};
	for (unsigned i = 0; i < 4; i++)
		wrap_lies(f, f->rounds % 2, i % 2 ? USED : AVAIL, ids[(f->rounds / 2 + i) % 4]);
	over(f);
}

static void run_next_everywhere(struct foe *f)
{
	for (unsigned i = 0; i < 4; i++)
		wrap_lies(f, f->rounds % 2, (i % 2 ? USED : AVAIL) | 1, 1);
	over(f);
}

struct writer {
	struct foe *foe;
	uint8_t *from;
	size_t bytes;
	atomic_bool over;
};

static void *rewrite(void *arg)
{
	struct writer *w = arg;
	uint64_t x = w->foe->random;
	while (!w->over) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		w->from[(x >> 8) % w->bytes] = x;
	}
	return NULL;
}

// Traffic in both directions while `bytes` from `from` are rewritten; some of it comes to nothing.
static void under_a_writer(struct foe *f, uint8_t *from, size_t bytes)
{
	struct writer w = {f, from, bytes, false};
	pthread_t thread;
	if (pthread_create(&thread, NULL, rewrite, &w) != 0)
		return;
	for (unsigned i = 0; i < 20; i++) {
		foe_fill(f, 8);
		foe_send(f, 16);
		usleep(500);
	}
	w.over = true;
	pthread_join(thread, NULL);
	over(f);
}

static void run_rewrite_frames(struct foe *f)
{
	under_a_writer(f, foe_data(f, 0), 16 * 2048);
}

static void run_rewrite_headers(struct foe *f)
{
	for (unsigned i = 0; i < 16; i++)
		foe_frame(f, i, 1500);
	under_a_writer(f, foe_data(f, f->rounds % 16), 12 + 14 + 20 + 20);
}

static void run_rewrite_descriptors(struct foe *f)
{
	under_a_writer(f, (uint8_t *)f->rings[f->rounds % 2].desc, FOE_SIZE * 16);
}

static void run_rewrite_ring(struct foe *f)
{
	under_a_writer(f, (uint8_t *)f->rings[0].desc, 128 << 10);
}

// What a table's descriptors say flips between good and far outside.
static void run_rewrite_table(struct foe *f)
{
	struct ring_desc *t = (void *)foe_data(f, 256);
	struct writer w = {f, (uint8_t *)t, 32, false};
	pthread_t thread;
	t[0] = (struct ring_desc){foe_data_gpa(0), 12, 1, 1};
	t[1] = (struct ring_desc){foe_data_gpa(0) + 12, 60, 0, 0};
	if (pthread_create(&thread, NULL, rewrite, &w) != 0)
		return;
	for (unsigned i = 0; i < 100; i++) {
		foe_post(f, FOE_TX, &(struct ring_desc){foe_data_gpa(256), 32, 4, 0}, 1);
		foe_kick(f, FOE_TX);
		usleep(100);
	}
	w.over = true;
	pthread_join(thread, NULL);
	over(f);
}

// The last byte of both addresses flips between what policy allows and what it forbids, or another port's. The feeder
// looks at what comes of it.
static void *readdress(void *arg)
{
	struct writer *w = arg;
	for (uint64_t x = w->foe->random | 1; !w->over; x ^= x << 13, x ^= x >> 7, x ^= x << 17) {
		volatile uint8_t *frame = foe_data(w->foe, x >> 32 & 15) + VIRTIO_HEAD;
		frame[5] = x & 1 ? FOE_FEEDER : FOE_OTHER;
		frame[11] = x & 2 ? FOE_SELF : FOE_FORGED;
	}
	return NULL;
}

static void run_rewrite_addresses(struct foe *f)
{
	static const unsigned lens[] = {60, 64, 128, 200, 590, 1514, 61, 1000};
	struct writer w = {.foe = f};
	pthread_t thread;
	for (unsigned i = 0; i < 16; i++) {
		foe_frame(f, i, lens[i % 8]);
		memcpy(foe_data(f, i) + VIRTIO_HEAD, foe_data(f, i) + VIRTIO_HEAD + 6, 6);
	}
	if (pthread_create(&thread, NULL, readdress, &w) != 0)
		return;
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned k = 0; k < 16; k++)
			foe_post(f, FOE_TX,
				 &(struct ring_desc){foe_data_gpa(k), VIRTIO_HEAD + lens[k % 8], 0, 0}, 1);
		foe_kick(f, FOE_TX);
		foe_wait(f, FOE_TX, 20);
	}
	w.over = true;
	pthread_join(thread, NULL);
}

static const struct attack rows[] = {
    {"index-jump", ON_SPLIT, "an available index further than the ring is long", AT_RUNNING, run_index_jump},
    {"index-back", ON_SPLIT, "an available index that goes back", AT_RUNNING, run_index_back},
    {"index-random", ON_SPLIT, "available indices by chance", AT_RUNNING, run_index_random},
    {"index-full", ON_SPLIT, "one descriptor in all places of the ring", AT_RUNNING, run_index_full},
    {"head-out", ON_SPLIT, "heads that no ring has", AT_RUNNING, run_head_out},
    {"events", ON_BOTH, "event indices and flags by chance", AT_RUNNING, run_events},
    {"used-rewritten", ON_BOTH, "the used ring is written by the guest", AT_RUNNING, run_used},
    {"wrap-wrong", ON_PACKED, "wrap bits that cannot be", AT_RUNNING, run_wrap_wrong},
    {"wrap-flip", ON_PACKED, "wrap bits of the whole ring flip", AT_RUNNING, run_wrap_flip},
    {"ids", ON_PACKED, "ids out of range, or all the same", AT_RUNNING, run_ids},
    {"next-everywhere", ON_PACKED, "all descriptors say that more follow", AT_RUNNING, run_next_everywhere},
    {"rewrite-frames", ON_BOTH, "a thread rewrites frames while they are handled", AT_RUNNING,
     run_rewrite_frames},
    {"rewrite-addresses", ON_BOTH, "a thread flips frames' addresses between allowed and forbidden ones",
     AT_RUNNING, run_rewrite_addresses},
    {"rewrite-headers", ON_BOTH, "a thread rewrites one frame's headers", AT_RUNNING, run_rewrite_headers},
    {"rewrite-desc", ON_BOTH, "a thread rewrites descriptors", AT_RUNNING, run_rewrite_descriptors},
    {"rewrite-ring", ON_BOTH, "a thread rewrites all of both rings", AT_RUNNING, run_rewrite_ring},
    {"rewrite-table", ON_BOTH, "a thread rewrites an indirect table", AT_RUNNING, run_rewrite_table},
};

const struct attack_table attacks_ring = {rows, sizeof(rows) / sizeof(rows[0])};
