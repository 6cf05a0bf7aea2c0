// Puts results, notifications and progress before the user.
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "ctrl/api/err.h"

// As JSON: indented for a terminal, one line for a program.
void show_json(const json_t *value);

// As text: a table if there are columns, nothing for "done", else what the value is.
void show_text(const json_t *columns, const json_t *result);

// A client's notify callback; `arg` is a struct show_notify.
struct show_notify {
	const json_t *columns; // of the method, may be NULL
	bool json;
	bool drawn; // a progress line stands on the terminal
};
void show_notification(const char *method, const json_t *params, void *arg);
void show_progress_end(struct show_notify *s);

void show_error(const char *sentence);
// Flushes standard output: 0, or a sentence if it cannot be written.
int show_flush(struct err *e);
