// The command line of evswitchd.
//
// Pure: parsing looks at nothing but its arguments, so that tests need no process. What the machine
// can or cannot do is checked by preflight.h. Any thread.
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/api/err.h"
#include "ctrl/api/log.h"

#define OPTIONS_MAX_CORES 16 // = MAX_WORKERS

enum options_action { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_METHODS };

struct options {
	enum options_action action;
	const char *run_dir;   // the control socket and everything else that ends with the daemon
	const char *state_dir; // state.db
	const char *trusted_dir;
	int cores[OPTIONS_MAX_CORES]; // workers' CPUs as given: may not exist, may repeat
	unsigned n_cores;             // 0 = not given
	uint32_t memory_mb;
	uint32_t max_flows;
	bool no_huge;
	bool allow_unsigned;
	enum log_level log_level;
	int ready_fd; // -1 = none
};

// Fills `o`, which borrows from argv. -EINVAL with a sentence.
int options_parse(int argc, char *const *argv, struct options *o, struct err *e);
const char *options_usage(void); // whole help text
