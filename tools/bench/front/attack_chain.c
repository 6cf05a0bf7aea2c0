// Attacks by descriptors: addresses, lengths, flags, chains, tables. A row is the chain itself.

#include "tools/bench/front/attack.h"

#include <string.h>

enum { N = 1, W = 2, I = 4, PER_ROUND = 8, PIECE = 65535 };

#define DATA       (FOE_GPA + FOE_DATA)
#define TABLE      (DATA + 256 * 2048) // in the data of no frame
#define TABLE_SLOT 256
#define HOLE       (FOE_END + (1 << 20))

// Good ones between, so that a ring that goes on is seen to go on.
static void chains(struct foe *f, unsigned ring, const struct ring_desc *links, unsigned n)
{
	for (unsigned i = 0; i < PER_ROUND; i++) {
		foe_frame(f, 0, 60 + i * 200);
		foe_post(f, ring, links, n);
		if (ring == FOE_TX)
			foe_post(f, ring, &(struct ring_desc){foe_frame(f, 8, 60), 72, 0, 0}, 1);
	}
	foe_kick(f, ring);
	if (foe_now() < f->end_s)
		foe_wait(f, ring, 30);
}

static void run_tx(struct foe *f)
{
	chains(f, FOE_TX, f->attack->arg, f->attack->n);
}

static void run_rx(struct foe *f)
{
	chains(f, FOE_RX, f->attack->arg, f->attack->n);
}

// A table with the row's links behind one good descriptor.
static void table(struct foe *f, unsigned ring)
{
	memcpy(foe_data(f, TABLE_SLOT), f->attack->arg, f->attack->n * sizeof(struct ring_desc));
	chains(f, ring, &(struct ring_desc){TABLE, f->attack->n * sizeof(struct ring_desc), I, 0}, 1);
}

static void run_tx_table(struct foe *f)
{
	table(f, FOE_TX);
}

static void run_rx_table(struct foe *f)
{
	table(f, FOE_RX);
}

// A good table, described by the row's only link.
static void described(struct foe *f, unsigned ring)
{
	struct ring_desc good[2] = {{DATA, 12, N, 1}, {DATA + 12, 60, 0, 0}};
	if (ring == FOE_RX)
		good[0] = (struct ring_desc){DATA, 2048, W, 0};
	for (unsigned i = 0; i < 4096; i++)
		memcpy(foe_data(f, TABLE_SLOT) + i * sizeof(good[0]), &good[i % 2], sizeof(good[0]));
	chains(f, ring, f->attack->arg, f->attack->n);
}

static void run_tx_described(struct foe *f)
{
	described(f, FOE_TX);
}

static void run_rx_described(struct foe *f)
{
	described(f, FOE_RX);
}

static void run_bytewise(struct foe *f)
{
	struct ring_desc links[100];
	for (unsigned i = 0; i < 100; i++)
		links[i] = (struct ring_desc){DATA + i, 1, i < 99 ? N : 0, i + 1};
	foe_frame(f, 0, 88);
	foe_post(f, FOE_TX, links, 12 + 14 + f->rounds % 74);
	foe_kick(f, FOE_TX);
	foe_wait(f, FOE_TX, 30);
}

static void run_rx_bytewise(struct foe *f)
{
	struct ring_desc links[200];
	for (unsigned i = 0; i < 200; i++)
		links[i] = (struct ring_desc){DATA + i, 1, i < 199 ? N | W : W, i + 1};
	foe_post(f, FOE_RX, links, 200);
	foe_kick(f, FOE_RX);
	foe_wait(f, FOE_RX, 30);
}

// n descriptors of `len` bytes, the last of which says that more follow if `open`.
static void long_chain(struct foe *f, unsigned n, unsigned len, bool open)
{
	struct ring_desc links[FOE_SIZE];
	for (unsigned i = 0; i < n; i++)
		links[i] = (struct ring_desc){DATA, len, i + 1 < n || open ? N : 0, i + 1 < n ? i + 1 : 0};
	foe_frame(f, 0, 1500);
	foe_post(f, FOE_TX, links, n);
	foe_kick(f, FOE_TX);
	foe_wait(f, FOE_TX, 30);
}

static void run_too_long(struct foe *f)
{
	long_chain(f, 2 + f->rounds % 200, PIECE, false);
}

static void run_whole_ring(struct foe *f)
{
	long_chain(f, FOE_SIZE, 64, false);
}

static void run_open_chain(struct foe *f)
{
	long_chain(f, f->packed ? FOE_SIZE : 4, 64, true);
}

static void run_over_the_end(struct foe *f)
{
	for (unsigned i = 0; i < 60; i++)
		long_chain(f, 5 + i % 3, 20, false);
}

static void run_random(struct foe *f)
{
	struct ring_desc links[8];
	static const uint64_t places[] = {0,    FOE_GPA,          DATA, FOE_GPA2 - 8, FOE_END - 1,
					  HOLE, UINT64_MAX - 100, TABLE};
	static const uint32_t lengths[] = {0, 1, 11, 12, 13, 72, 1514, 65550, UINT32_MAX, 2048, 64, 100};
	for (unsigned k = 0; k < 8; k++) {
		unsigned n = 1 + foe_random(f) % 8;
		for (unsigned i = 0; i < n; i++)
			links[i] = (struct ring_desc){places[foe_random(f) % 8] + foe_random(f) % 64,
						      lengths[foe_random(f) % 12], foe_random(f) % 8,
						      foe_random(f) % 10};
		foe_post(f, foe_random(f) % 2, links, n);
	}
	foe_kick(f, FOE_TX);
	foe_wait(f, FOE_TX, 10);
}

#define LINKS(name, rings, text, run, ...)                                                     \
	{                                                                                      \
		name, rings, text, AT_RUNNING, run, (const struct ring_desc[]){__VA_ARGS__},   \
		    sizeof((const struct ring_desc[]){__VA_ARGS__}) / sizeof(struct ring_desc) \
	}
#define TX(name, text, ...)    LINKS(name, ON_BOTH, text, run_tx, __VA_ARGS__)
#define RX(name, text, ...)    LINKS(name, ON_BOTH, text, run_rx, __VA_ARGS__)
#define SPLIT(name, text, ...) LINKS(name, ON_SPLIT, text, run_tx, __VA_ARGS__)

static const struct attack rows[] = {
    TX("tx-len-0", "a descriptor of no length", {DATA, 0, 0, 0}),
    TX("tx-len-1", "one byte", {DATA, 1, 0, 0}),
    TX("tx-len-11", "less than a header", {DATA, 11, 0, 0}),
    TX("tx-len-12", "a header only", {DATA, 12, 0, 0}),
    TX("tx-len-13", "one byte behind the header", {DATA, 13, 0, 0}),
    TX("tx-len-4g", "4 GB", {DATA, UINT32_MAX, 0, 0}),
    TX("tx-len-wrap", "lengths whose sum wraps around", {DATA, 72, N, 1}, {DATA, UINT32_MAX, N, 2},
       {DATA, 73, 0, 0}),
    TX("tx-len-0-middle", "an empty one in the middle", {DATA, 12, N, 1}, {DATA, 0, N, 2},
       {DATA + 12, 60, 0, 0}),
    TX("tx-len-0-first", "an empty one first", {DATA, 0, N, 1}, {DATA, 72, 0, 0}),
    TX("tx-addr-0", "address 0", {0, 72, 0, 0}),
    TX("tx-addr-last", "the last byte of memory", {FOE_END - 1, 72, 0, 0}),
    TX("tx-addr-hole", "outside memory", {HOLE, 72, 0, 0}),
    TX("tx-addr-max", "the last byte of all addresses", {UINT64_MAX, 72, 0, 0}),
    TX("tx-addr-wrap", "a range that wraps around", {UINT64_MAX - 40, 72, 0, 0}),
    TX("tx-addr-2nd", "data outside memory, header inside", {DATA, 12, N, 1}, {HOLE, 60, 0, 0}),
    TX("tx-straddle", "over the border of two regions", {FOE_GPA2 - 30, 72, 0, 0}),
    TX("tx-straddle-end", "over the end of memory", {FOE_END - 30, 1500, 0, 0}),
    TX("tx-write-only", "descriptors that are not to be read", {DATA, 72, W, 0}),
    TX("tx-write-mixed", "one to be read, one not", {DATA, 12, N, 1}, {DATA + 12, 60, W, 0}),
    TX("tx-flags", "all flags at once", {DATA, 72, 0x7f & ~N, 0}),
    SPLIT("tx-loop-1", "a chain of itself", {DATA, 72, N, 0}),
    SPLIT("tx-loop-2", "a chain that comes back", {DATA, 12, N, 1}, {DATA + 12, 60, N, 0}),
    SPLIT("tx-loop-0", "empty descriptors in a circle", {DATA, 0, N, 1}, {DATA, 0, N, 0}),
    SPLIT("tx-next-out", "a next that no ring has", {DATA, 12, N, 60000}),
    SPLIT("tx-next-size", "a next behind the ring", {DATA, 12, N, FOE_SIZE}),
    {"tx-bytewise", ON_BOTH, "a frame byte by byte", AT_RUNNING, run_bytewise},
    {"tx-too-long", ON_BOTH, "frames of up to 13 MB", AT_RUNNING, run_too_long},
    {"tx-whole-ring", ON_BOTH, "a chain of all descriptors", AT_RUNNING, run_whole_ring},
    {"tx-open-chain", ON_BOTH, "a chain without an end", AT_RUNNING, run_open_chain},
    {"tx-over-the-end", ON_BOTH, "chains over the end of the ring", AT_RUNNING, run_over_the_end},
    LINKS("table-len-0", ON_BOTH, "a table of no length", run_tx_described, {TABLE, 0, I, 0}),
    LINKS("table-len-8", ON_BOTH, "a table shorter than a descriptor", run_tx_described, {TABLE, 8, I, 0}),
    LINKS("table-len-odd", ON_BOTH, "a table of one descriptor and a half", run_tx_described,
	  {TABLE, 24, I, 0}),
    LINKS("table-len-64k", ON_BOTH, "a table of 65,537 descriptors", run_tx_described,
	  {TABLE, 65537 * 16, I, 0}),
    LINKS("table-len-4g", ON_BOTH, "a table of 4 GB", run_tx_described, {TABLE, UINT32_MAX - 15, I, 0}),
    LINKS("table-len-many", ON_BOTH, "a table longer than the ring", run_tx_described,
	  {TABLE, 4096 * 16, I, 0}),
    LINKS("table-hole", ON_BOTH, "a table outside memory", run_tx_described, {HOLE, 32, I, 0}),
    LINKS("table-end", ON_BOTH, "a table over the end of memory", run_tx_described, {FOE_END - 16, 64, I, 0}),
    LINKS("table-straddle", ON_BOTH, "a table over the border of two regions", run_tx_described,
	  {FOE_GPA2 - 8, 32, I, 0}),
    LINKS("table-unaligned", ON_BOTH, "a table at an odd address", run_tx_described, {TABLE + 1, 32, I, 0}),
    LINKS("table-next", ON_BOTH, "a table and a chain at once", run_tx_described, {TABLE, 32, I | N, 1},
	  {DATA, 72, 0, 0}),
    LINKS("table-write", ON_BOTH, "a table that is not to be read", run_tx_described, {TABLE, 32, I | W, 0}),
    LINKS("table-tail", ON_BOTH, "a table behind a descriptor", run_tx_described, {DATA, 12, N, 1},
	  {TABLE, 32, I, 0}),
    LINKS("table-nested", ON_BOTH, "a table in a table", run_tx_table, {TABLE, 32, I, 0}, {DATA, 72, 0, 0}),
    LINKS("table-loop", ON_BOTH, "a circle in a table", run_tx_table, {DATA, 12, N, 1}, {DATA, 60, N, 0}),
    LINKS("table-next-out", ON_BOTH, "a next behind the table", run_tx_table, {DATA, 12, N, 2},
	  {DATA, 60, N, 60000}),
    LINKS("table-addr", ON_BOTH, "addresses outside memory in a table", run_tx_table, {DATA, 12, N, 1},
	  {HOLE, 60, 0, 0}),
    RX("rx-read-only", "receive buffers that are not to be written", {DATA, 2048, 0, 0}),
    RX("rx-len-0", "receive buffers of no length", {DATA, 0, W, 0}),
    RX("rx-len-1", "receive buffers of one byte", {DATA, 1, W, 0}),
    RX("rx-len-11", "receive buffers shorter than a header", {DATA, 11, W, 0}),
    RX("rx-len-12", "receive buffers of a header only", {DATA, 12, W, 0}),
    RX("rx-len-13", "receive buffers of a header and one byte", {DATA, 13, W, 0}),
    RX("rx-len-4g", "receive buffers of 4 GB", {DATA, UINT32_MAX, W, 0}),
    RX("rx-runt-first", "a header over two buffers, the second too short", {DATA, 5, W | N, 1},
       {DATA + 64, 3, W, 0}),
    RX("rx-runt-many", "a header over five buffers", {DATA, 1, W | N, 1}, {DATA, 2, W | N, 2},
       {DATA, 3, W | N, 3}, {DATA, 4, W | N, 4}, {DATA, 2048, W, 0}),
    RX("rx-runt-empty", "empty buffers before a header", {DATA, 0, W | N, 1}, {DATA, 0, W | N, 2},
       {DATA, 2048, W, 0}),
    RX("rx-no-room", "chains shorter than frames", {DATA, 12, W | N, 1}, {DATA, 30, W, 0}),
    RX("rx-addr-0", "address 0", {0, 2048, W, 0}),
    RX("rx-addr-hole", "outside memory", {HOLE, 2048, W, 0}),
    RX("rx-addr-wrap", "a range that wraps around", {UINT64_MAX - 40, 2048, W, 0}),
    RX("rx-addr-2nd", "data outside memory, header inside", {DATA, 12, W | N, 1}, {HOLE, 2048, W, 0}),
    RX("rx-straddle", "over the border of two regions", {FOE_GPA2 - 30, 2048, W, 0}),
    RX("rx-straddle-end", "over the end of memory", {FOE_END - 30, 2048, W, 0}),
    RX("rx-on-ring", "the ring itself as receive buffer", {FOE_GPA, 65536, W, 0}),
    RX("rx-same", "the same buffer in all descriptors", {DATA, 2048, W, 0}),
    RX("rx-mixed", "one to be written, one not", {DATA, 12, W | N, 1}, {DATA, 2048, 0, 0}),
    LINKS("rx-loop", ON_SPLIT, "a chain that comes back", run_rx, {DATA, 12, W | N, 1}, {DATA, 8, W | N, 0}),
    LINKS("rx-loop-0", ON_SPLIT, "empty buffers in a circle", run_rx, {DATA, 0, W | N, 1},
	  {DATA, 0, W | N, 0}),
    LINKS("rx-next-out", ON_SPLIT, "a next that no ring has", run_rx, {DATA, 12, W | N, 60000}),
    {"rx-bytewise", ON_BOTH, "receive buffers byte by byte", AT_RUNNING, run_rx_bytewise},
    LINKS("rx-table-0", ON_BOTH, "a receive table of no length", run_rx_described, {TABLE, 0, I, 0}),
    LINKS("rx-table-odd", ON_BOTH, "a receive table of one descriptor and a half", run_rx_described,
	  {TABLE, 24, I, 0}),
    LINKS("rx-table-hole", ON_BOTH, "a receive table outside memory", run_rx_described, {HOLE, 32, I, 0}),
    LINKS("rx-table-many", ON_BOTH, "a receive table longer than the ring", run_rx_described,
	  {TABLE, 4096 * 16, I, 0}),
    LINKS("rx-table-nested", ON_BOTH, "a receive table in itself", run_rx_table, {TABLE, 16, I | W, 0}),
    LINKS("rx-table-runt", ON_BOTH, "one-byte buffers in a receive table", run_rx_table, {DATA, 1, W | N, 1},
	  {DATA, 1, W, 0}),
    {"desc-random", ON_BOTH, "descriptors by chance", AT_RUNNING, run_random},
};

const struct attack_table attacks_chain = {rows, sizeof(rows) / sizeof(rows[0])};
