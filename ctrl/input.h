// All bytes of a descriptor that a client opened for us, read without holding up anybody.
//
// Control thread.
#pragma once

#include <stddef.h>

#include "api/err.h"

struct input;

// Reads `fd` (stays the caller's, who keeps it open) to its end. Then done(text, n, e, arg), once: e->code 0
// and text, to be freed by the callee, or the refusal and NULL. Never called from within input_start().
struct input *input_start(int fd, size_t max_bytes,
			  void (*done)(char *text, size_t n, const struct err *e, void *arg), void *arg);
// Forgets it: `done` is not called. Not after `done`.
void input_cancel(struct input *in);
