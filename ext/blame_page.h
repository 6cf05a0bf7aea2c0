// The page's file, and what processes that have died left on it. For blame.c; control thread and supervisor.
#pragma once

#include "blame.h"

// A verdict: who, 1 + the index on the page or nobody, and how: a signal or one of these.
#define BLAME_NOBODY    0xffffu
#define BLAME_LOOP      0x100u
#define BLAME_LOOP_JOBS 0x101u
#define BLAME_EXIT      0x102u
#define BLAME_UNSEEN    0x103u

static inline uint32_t blame_verdict(uint32_t who, uint32_t how)
{
	return how << 16 | who;
}

// NULL with a sentence. Stays mapped.
struct blame_page *blame_page_map(const char *dir, struct err *e);
// Takes the verdict on the process before over to those who are left out, and empties the rest.
void blame_page_begin(struct blame_page *page);
