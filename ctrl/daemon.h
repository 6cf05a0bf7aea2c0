// The switch process: everything is started here, in order, and stopped in reverse.
//
// Control thread, which is the process's first thread.
#pragma once

#include "ctrl/options.h"
#include "ctrl/preflight.h"
#include "ctrl/role.h"

// Runs until it is asked to stop. Returns the exit status; the caller ends the process with it at once.
int daemon_run(const struct options *o, const struct role *r);

// The steps that a successor takes when its time has come: the objects as they were; then the sockets, whose first
// answer already knows them. From then on this process is the switch.
int daemon_restore(struct err *e);
int daemon_serve(struct err *e);
// Ends the process soon with this status, and leaves everything outside as it is: another process has it, or will.
void daemon_leave(int status);
bool daemon_is_stopping(void);

// What the process runs with, for `system show`.
const struct options *daemon_options(void);
const struct setup *daemon_setup(void);
uint64_t daemon_started_ns(void); // CLOCK_MONOTONIC
unsigned daemon_generation(void); // how many switch processes its supervisor has started, with this one
