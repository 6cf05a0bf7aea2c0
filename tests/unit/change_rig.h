// The path of a change on a real loop and a real store, with kinds of objects that write down what is
// done with them: a `thing`, and a `tail` that its thing owns.
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "ctrl/api/err.h"

extern int grace_rounds; // polls until the workers have passed
extern bool build_fails;

void change_setup(void);
void change_teardown(void);
void store_start(void);
void store_stop(void);
void idle(void); // turns the loop until the engine has nothing left

const char *history(void); // what was done since the last call, in words
int disk_rows(void);       // rows on disk

// A request as a client would make it.
struct ask {
	const char *verb; // add, set, del, or two (adds name and "second", which cannot be opened)
	const char *kind, *name, *conf;
	struct err e; // its answer
	const char *answer;
};

#define ASK(v, k, n, c)                                            \
	{                                                          \
		.verb = (v), .kind = (k), .name = (n), .conf = (c) \
	}

void ask_queue(struct ask *a);
void ask_turn(void *ask); // the same, now: within a turn of the loop
void ask_now(const char *verb, const char *kind, const char *name, const char *text); // and must succeed
void ask_answered(const struct err *e, void *ask);
json_t *conf_text(const char *text); // 'quoted' so
