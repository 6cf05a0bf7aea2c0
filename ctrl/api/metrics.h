// Metrics: what a module shows on /metrics, in OpenMetrics text.
//
// A module lists families; each is filled in steps, so that a thousand ports never hold the loop. Control thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct metrics; // one answer under way

enum metric_type { METRIC_GAUGE, METRIC_COUNTER };

struct metric_family {
	const char *name; // "evs_port_received_packets": counters get "_total"; NULL ends the table
	enum metric_type type;
	const char *help;
	// Adds some samples with metric_add(), from *at (0 at first) on; false when these were the last.
	bool (*fill)(struct metrics *m, const struct metric_family *f, uint64_t *at);
	uint32_t arg; // for fill
};

// One sample. `labels` is "name=\"value\",…" or NULL; values hold object names only, which need no escapes.
void metric_add(struct metrics *m, const char *labels, uint64_t value);
