// The durable state: one SQLite file, written by the store thread.
//
// Every row carries a checksum, and the file knows how many rows it must have and the sum of their
// checksums: damage that SQLite does not see, a lost or a foreign row is noticed at start. A state that
// is damaged is refused with a sentence that says how to recover; it never counts as empty.
// One store per process. Control thread.
#pragma once

#include <stddef.h>

#include "api/err.h"

struct store_edit {
	char *kind, *name;
	char *conf; // JSON text; NULL = delete the row
};

// Opens and checks the whole file, or makes a new one if there is none. Starts the store thread.
int store_open(const char *path, struct err *e);

// Calls fn for every row, sorted by kind and name, until it refuses. Not while a commit is under way.
int store_load(int (*fn)(const char *kind, const char *name, const char *conf, void *arg, struct err *e),
	       void *arg, struct err *e);

// Writes the edits as one transaction, in order: all of them are durable or (e->code not 0) none is
// known to be. Then done(e, arg) runs on the control thread. One commit at a time; the edits must stay
// as they are until then.
void store_commit(const struct store_edit *edits, size_t n, void (*done)(const struct err *e, void *arg),
		  void *arg);

// Closes the file, so that another process can have it; the next commit opens and checks it again. Not while a commit is
// under way.
void store_release(void);
// Waits for a commit under way; its `done` may still come.
void store_close(void);
