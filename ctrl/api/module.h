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
	// Run-time state of one port that migration and upgrade carry along: `save` returns a new
	// reference or NULL (nothing to carry); `restore` gets what `save` made, maybe on another host,
	// and never sees a port's number in it. May be NULL.
	json_t *(*save)(const char *port);
	int (*restore)(const char *port, const json_t *state, struct err *e);
};

extern const struct module *const modules[]; // NULL-terminated
