// Allocations of the change engine: small, bounded by one request, and in the middle of steps that
// could not be taken back half-way. Without memory for them the process ends, as it does at start.
// Any thread.
#pragma once

#include <stdio.h>
#include <stdlib.h>

static inline void *must(void *p)
{
	if (!p) {
		fputs("evswitchd: out of memory\n", stderr);
		abort();
	}
	return p;
}
