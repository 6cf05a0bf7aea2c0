// Bytes to a descriptor that a client opened for us, written without holding up anybody.
//
// Control thread.
#pragma once

#include <stddef.h>

#include "api/err.h"

struct output;

// Writes all of `text` (taken over) to `fd` (stays the caller's, who keeps it open, and who flushes a file if it has to be
// on the disk). Then done(e, arg), once. Never called from within output_start().
struct output *output_start(int fd, char *text, size_t n, void (*done)(const struct err *e, void *arg),
			    void *arg);
// Forgets it: `done` is not called. Not after `done`.
void output_cancel(struct output *out);
