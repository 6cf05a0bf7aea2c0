// What an examination finds: one row for each thing that was looked at, and for what is not fine what to type.
//
// Filled by one thread at a time; any but workers.
#pragma once

#include <jansson.h>

struct findings {
	json_t *rows; // {"check", "fine", "found", "fix"}
	unsigned n_bad;
};

// `check` names what was looked at, the text says what it is like.
void findings_fine(struct findings *f, const char *check, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void findings_bad(struct findings *f, const char *check, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// What to type, to be called behind findings_bad(). Commands of evsctl begin with "evsctl".
void findings_fix(struct findings *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
