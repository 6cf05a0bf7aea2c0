// The rows: all configured objects in memory, and the rules that hold between them.
//
// Rows are kept as one state (diff.h). A view is the rows with the edits of a change laid over them;
// nothing is copied. The change engine (change.h) is the only writer. Control thread, except where noted.
#pragma once

#include "api/conf.h"
#include "api/module.h"

struct conf_view {
	json_t *edits; // {kind: {name: conf or null}}; owned by the view's holder
};

// Takes the kinds of all modules, in order (NULL-terminated). Starts with no rows.
void conf_init(const struct module *const *mods);
void conf_fini(void);

const struct conf_kind *conf_kind_find(const char *kind); // NULL if unknown; any thread
const char *const *conf_kinds(void);                      // names in order, NULL-terminated; any thread

// The present state, borrowed.
const json_t *conf_rows(void);
// Sets a row (takes over the reference), conf NULL deletes it.
void conf_row_set(const char *kind, const char *name, json_t *conf);

// The conf of a row from what a person or the disk gave: decoded by the kind's table, defaults filled
// in, nulls left out. Any thread.
int conf_decode(const char *kind, const char *name, const json_t *in, json_t **out, struct err *e);

// Adds to the edits the deletion of all rows that are owned by a row being deleted.
void conf_cascade(struct conf_view *v);
// All findings about the edits: rows that are missing or still needed, and what the kinds' own
// validate() says of edited rows and of rows that name an edited one.
int conf_validate(const struct conf_view *v, struct err *e);
