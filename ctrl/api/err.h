// An error as a sentence for a person: what, why and what to do.
//
// Owned by the caller, usually on its stack. Any thread; not shared between threads.
#pragma once

#include <stddef.h>

struct err {
	int code;       // negative errno, 0 = no error
	char text[760]; // one sentence; several findings are joined by "; "
	// Hears of every finding by itself, also of those that `text` has no room for. NULL = nobody; err_set() forgets it.
	void (*each)(const char *finding, void *arg);
	void *arg;
};

// Sets code (negative errno) and the sentence. Returns code, so that a failing function
// is one statement. `e` may be NULL.
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// Like err_set(), but keeps what is there and adds one more finding behind it.
int err_add(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// Adds what `one` has found. Whoever hears of each finding of `e` is told only if `one` has not done so itself.
int err_join(struct err *e, const struct err *one);

// "permission denied" for EACCES: the C library's text with a small first letter. Static
// storage or thread-local; valid until the thread's next call.
const char *err_name(int errnum);
