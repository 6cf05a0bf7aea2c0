// The supervisor: the process that a person or systemd starts. It holds the run directory, starts the
// switch process (the same program, or what it was upgraded to), passes on the request to stop and restarts it after a
// crash.
//
// No DPDK and one thread only, so that nothing in it can fail together with the switch. If it dies itself,
// the kernel kills the switch process (parent-death signal).
#pragma once

#include <stdint.h>

#include "ctrl/options.h"

enum exit_status {
	EXIT_STOPPED = 0, // as asked
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_REFUSED = 3, // cannot run on this machine, or not like this: starting again does not help
};

// Statuses with which the switch process ends by itself have this bit: exit() in code that it has loaded has not.
#define SWITCH_ENDS 64

// Runs until the switch process has ended for good. Returns the exit status.
int supervisor_run(const struct options *o, char *const *argv);

// Milliseconds to wait before the next start when the process has crashed after `lived_ms`: none at
// first, then 100 doubling to 5,000 for as long as it does not live 10 s. Pure.
struct backoff {
	unsigned n_crashes;
};
uint32_t backoff_next_ms(struct backoff *b, uint64_t lived_ms);
