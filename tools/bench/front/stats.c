// Sequence windows and the latency histogram (32 steps per power of two: at most 3 % off).

#include "tools/bench/front/stats.h"

enum { WINDOW = 64 };

void seq_seen(struct seq *s, uint32_t seq, struct counts *c)
{
	uint32_t ahead = seq - s->next;
	if (ahead < 1u << 31) {
		c->lost += ahead;
		s->window = ahead + 1 < WINDOW ? s->window << (ahead + 1) | 1 : 1;
		s->next = seq + 1;
		return;
	}
	uint32_t back = s->next - 1 - seq;
	if (back < WINDOW && !(s->window & 1ull << back)) {
		s->window |= 1ull << back;
		c->late++;
		c->lost -= c->lost > 0;
	} else if (back < WINDOW) {
		c->dup++;
	} else {
		c->late++; // too old to be told from a repetition
	}
}

static unsigned slot_of(uint64_t v)
{
	if (v < HIST_SUB)
		return v;
	unsigned shift = 63 - __builtin_clzll(v) - 5;
	return (shift + 1) * HIST_SUB + (v >> shift) - HIST_SUB;
}

static uint64_t slot_value(unsigned slot)
{
	if (slot < HIST_SUB)
		return slot;
	unsigned shift = slot / HIST_SUB - 1;
	return (uint64_t)(slot % HIST_SUB + HIST_SUB) << shift;
}

void hist_add(struct hist *h, uint64_t value)
{
	h->slots[slot_of(value)]++;
	if (value > h->max)
		h->max = value;
}

void hist_diff(struct hist *h, const struct hist *a, const struct hist *b)
{
	h->max = 0;
	for (unsigned i = 0; i < HIST_SLOTS; i++) {
		h->slots[i] = a->slots[i] - b->slots[i];
		if (h->slots[i])
			h->max = slot_value(i);
	}
}

uint64_t hist_count(const struct hist *h)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < HIST_SLOTS; i++)
		n += h->slots[i];
	return n;
}

uint64_t hist_quantile(const struct hist *h, double share)
{
	uint64_t all = hist_count(h), sum = 0;
	for (unsigned i = 0; i < HIST_SLOTS; i++) {
		sum += h->slots[i];
		if (sum > 0 && sum >= share * all)
			return slot_value(i);
	}
	return 0;
}
