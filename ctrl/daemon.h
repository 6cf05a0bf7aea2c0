// The switch process: everything is started here, in order, and stopped in reverse.
//
// Control thread, which is the process's first thread.
#pragma once

#include "ctrl/options.h"
#include "ctrl/preflight.h"

// Runs until it is asked to stop. `pipe_fd` takes the readiness notice. Returns the exit status; the
// caller ends the process with it at once.
int daemon_run(const struct options *o, int pipe_fd);

// What the process runs with, for `system show`.
const struct options *daemon_options(void);
const struct setup *daemon_setup(void);
uint64_t daemon_started_ns(void); // CLOCK_MONOTONIC
