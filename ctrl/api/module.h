// A module: one feature's entry in the table of ctrl/modules.c.
//
// Modules are initialised in the table's order and finished in reverse. Control thread.
#pragma once

#include <jansson.h>

#include "conf.h"
#include "err.h"
#include "method.h"
#include "metrics.h"

struct module {
	const char *name;
	int (*init)(struct err *e);    // after EAL, before the stored state is restored; may be NULL
	void (*fini)(void);            // workers have stopped; may be NULL
	const struct method *methods;  // may be NULL
	const struct conf_kind *kinds; // opened in the order of the tables, deleted in reverse; may be NULL
	const struct metric_family *metrics; // may be NULL
	// Run-time state of one port that migration and upgrade carry along, as records of at most 32 KiB. It is this
	// module's by its name; no number of a port, a switch or a worker is in it. Each call takes less than 1 ms;
	// all three, or none. `save`: a record (a new reference), or NULL if there is none in this step. *at is 0 in the
	// first call, whatever it was left as in the next ones, and 0 after the last one.
	json_t *(*save)(const char *port, uint64_t *at);
	// Every finding about one of the records, which may be anything, for the port that `conf` is or will be of; the
	// rows that go along with it are {kind: {name: conf}}, NULL = those that are there.
	int (*check)(const char *port, const json_t *conf, const json_t *rows, const json_t *records,
		     size_t which, struct err *e);
	// Takes over all records, which `check` passed, as a part of the change that makes or shows the port: as
	// conf_kind.open does, for which the port is there already.
	int (*restore)(struct change *ch, const char *port, const json_t *records, struct err *e);
	// Upgrade: what is saved is numbers that workers count until they end, so it is moved when they have; else before.
	bool saved_last;
};

extern const struct module *const modules[]; // NULL-terminated
