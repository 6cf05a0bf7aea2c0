// `system doctor`: looks for what makes the switch slow or keeps it from working, and says what to type. Changes nothing.
//
// Facts about objects are taken by the control thread; files of the machine are read by the jobs thread. The checks are
// functions of facts, or of files below `root`, so that tests need no broken machine.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "ctrl/api/findings.h"
#include "ctrl/preflight.h"

struct doctor_worker {
	int core;
	pid_t tid;
	uint16_t index;
};

struct doctor {
	struct findings found;
	const char *root; // stands for "/": "" or a test's directory
	struct options options;
	struct setup setup;
	struct doctor_worker workers[OPTIONS_MAX_CORES];
	unsigned n_workers;
	unsigned n_ports, n_devices;
	bool has_host_ports, has_nics; // ports of type host; ports on a device of the PCI bus
};

struct doctor_space {
	const char *what, *path, *fix;
	uint64_t least_mb;
};

// Control thread.
void doctor_take(struct doctor *d);
// Jobs thread: all of the below with what the machine has.
void doctor_examine(struct doctor *d);

void doctor_huge(struct doctor *d, struct huge_pages pages, uint64_t available_mb);
void doctor_pools(struct doctor *d);
void doctor_nofile(struct doctor *d, const struct rlimit *limit, uint64_t n_used);
void doctor_memlock(struct doctor *d, uint64_t limit_bytes, bool is_exempt);
void doctor_space(struct doctor *d, const struct doctor_space *s, uint64_t free_mb);
void doctor_kernel(struct doctor *d);
void doctor_devices(struct doctor *d);
// doctor_cpu.c
void doctor_cpus(struct doctor *d);

// The first `size` - 1 bytes of a file below root, without the newline at its end. False if it cannot be read.
bool doctor_read(const struct doctor *d, char *buf, size_t size, const char *path, ...)
    __attribute__((format(printf, 4, 5)));
