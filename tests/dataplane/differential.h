// I1 as a program: the same random run through flows and through the walk, compared. See differential.c.
#pragma once

#include <stdint.h>

// What a program adds to the run. Each may be NULL.
struct differential_more {
	void (*begin)(void);  // of each of the two runs, with the ports there
	void (*change)(void); // one more change, in place of about each second
	void (*say)(void);    // its own counters, by differential_say()
	void (*end)(void);    // nothing is configured any more
};

// Runs it as a suite and returns main()'s status. `more` may be NULL.
int differential_run(const char *name, const struct differential_more *more);
uint32_t differential_dice(uint32_t n); // 0 … n - 1, the same in both runs
void differential_say(uint64_t value, const char *what, const char *whose);
