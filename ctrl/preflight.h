// Everything that is checked before the daemon starts for real: a machine that cannot run it is told
// in one sentence instead of by a crash or an endless respawn.
//
// The supervisor asks once before it starts the switch process; the switch process asks again and acts
// on the setup. Nothing here uses DPDK. The functions that take facts as arguments are pure.
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/api/err.h"
#include "ctrl/options.h"

struct setup {
	char run_dir[96]; // absolute, without links
	char state_path[4096];
	int cores[OPTIONS_MAX_CORES];
	unsigned n_cores;
	cpu_set_t control; // CPUs of all other threads
	int node;          // NUMA node of the first worker
	bool huge;
	char note[256]; // "" or why ordinary pages are used although huge ones were wished
	char fix[128];  // what to type then
};

// Pages of 2 MB on one NUMA node.
struct huge_pages {
	uint64_t n, n_free;
};

#define PREFLIGHT_PORT_NOFILE 12 // descriptors that a guest's port may take

// All of the below in order. Makes the directories. -errno with a sentence.
int preflight(const struct options *o, struct setup *setup, struct err *e);

// The directories, which are made if they are missing; fills in run_dir and state_path.
int preflight_dirs(const struct options *o, struct setup *setup, struct err *e);
// The workers' CPUs among the `allowed` ones, and what is left for the control threads.
int preflight_cores(const struct options *o, const cpu_set_t *allowed, struct setup *setup, struct err *e);
// Huge pages if enough of them (2 MB each) are free, else ordinary ones of which enough must be available.
int preflight_memory(const struct options *o, struct huge_pages pages, uint64_t available_mb,
		     struct setup *setup, struct err *e);
// What to type to have `n` more free pages on the node than are in use now. Returns buf.
char *preflight_huge_fix(int node, struct huge_pages pages, uint64_t n, char *buf, size_t size);
// Raises the limit of open descriptors as far as the rights allow; returns what it is now.
uint64_t preflight_nofile(void);
// Makes room for that many in the kernel's table, but not for more than some thousands: once there are threads, each
// time it grows costs a wait for the whole machine. To be called while there is one.
void preflight_nofile_reserve(uint64_t n);

// The facts: what the machine has at this moment. Any thread.
struct huge_pages preflight_huge_pages(int node);
uint32_t preflight_huge_needed(const struct options *o); // pages
uint64_t preflight_available_mb(void);
// Whether a directory is there and can be written.
int preflight_dir_usable(const char *what, const char *dir, struct err *e);
