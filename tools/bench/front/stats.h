// What arrived and how: loss, repetition and order per flow, latency. Pure.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct counts { // w: worker, control: r
	uint64_t tx, rx, rx_bytes;
	uint64_t lost;      // sequence numbers that are missing so far
	uint64_t dup, late; // late: came after a later one
	uint64_t stray;     // frames that are not the peer's to this device
	uint64_t bad;       // the peer's, without a readable stamp
};

struct seq { // of one flow
	uint32_t next;
	uint64_t window; // bit n: next − 1 − n has come
};

struct seq_table {
	struct seq *flows;
	uint32_t n;
};

void seq_seen(struct seq *s, uint32_t seq, struct counts *c);

#define HIST_SUB   32
#define HIST_SLOTS (64 * HIST_SUB)

struct hist {
	uint64_t slots[HIST_SLOTS];
	uint64_t max;
};

void hist_add(struct hist *h, uint64_t value);
// h = a − b
void hist_diff(struct hist *h, const struct hist *a, const struct hist *b);
uint64_t hist_count(const struct hist *h);
// Smallest value with at least this share (0…1) at or below it; 0 if there is none.
uint64_t hist_quantile(const struct hist *h, double share);
