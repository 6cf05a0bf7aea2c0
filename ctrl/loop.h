// The control thread's event loop, with the timers, watches, posts and jobs of ctrl/api.
//
// One loop per process. All calls are for the control thread, which is the one that calls loop_init().
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/api/err.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/timer.h"

struct event_base;

int loop_init(struct err *e);
void loop_run(void);  // until loop_stop()
void loop_turn(void); // waits for something to happen, runs what is due, and returns
void loop_stop(void); // loop_run() returns after the present callback
bool jobs_idle(void); // no job waits or runs; what the last one posted may still be due
// Finishes the jobs that were given, runs what they and others have posted, and ends. Timers and
// watches must have been stopped.
void loop_fini(void);

struct event_base *loop_base(void); // for ctrl/ code that needs more than a watch

// The watchdog: what runs between enter and leave is blamed under `name` if it takes more than 1 ms
// (warning: 20 ms). Calls nest; an outer one is not blamed again for an inner one.
struct loop_mark {
	uint64_t start_ns, blamed_ns;
};
struct loop_mark loop_enter(void);
void loop_leave(const char *name, struct loop_mark mark);
