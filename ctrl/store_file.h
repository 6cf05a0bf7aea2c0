// The state file as a thing that is opened and checked; what is written to it is store.c's.
//
// One thread at a time.
#pragma once

#include <limits.h>
#include <sqlite3.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/err.h"

struct store_file {
	char path[PATH_MAX];
	sqlite3 *db; // NULL = closed
	dev_t dev;   // of the file that was opened
	ino_t ino;   // 0 = never opened
};

// What the file must hold, as it says itself.
struct store_totals {
	int64_t rows;
	uint64_t sums; // exclusive or of the rows' checksums
};

// Opens and checks the whole file. If it was never opened and there is none, makes a new one. Closed again
// when it refuses.
int store_file_open(struct store_file *f, struct err *e);
void store_file_close(struct store_file *f); // statements must have been finalised

// Calls fn (may be NULL) for every row, sorted by kind and name, until it refuses; checks all sums.
int store_file_load(struct store_file *f,
		    int (*fn)(const char *kind, const char *name, const char *conf, void *arg, struct err *e),
		    void *arg, struct err *e);

// Runs statements without results; `doing` completes "cannot …".
int store_file_run(struct store_file *f, const char *text, const char *doing, struct err *e);
// Refuses when the file has lost its name: what is written to it would be gone at the next start.
int store_file_same(const struct store_file *f, struct err *e);
// What SQLite's `rc` of the last call means, as a sentence.
int store_file_refused(const struct store_file *f, int rc, const char *doing, struct err *e);

uint64_t store_file_sum(const char *kind, const char *name, const char *conf); // of a row
