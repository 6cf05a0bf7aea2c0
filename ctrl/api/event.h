// Events that a person or a program can watch (`evsctl event watch`).
//
// Control thread.
#pragma once

#include <jansson.h>

// Tells all watchers. `kind` is a stable word ("port-up"), `object` the name of what it happened
// to (may be NULL), the text a sentence without the object's name.
void event_emit(const char *kind, const char *object, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// Of what ended the process before, which nobody can watch: told to those who begin to watch within half a minute, too.
void event_emit_late(const char *kind, const char *object, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
