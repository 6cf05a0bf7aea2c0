// Control methods of extensions: registered while an instance of the extension is loaded, and called on the jobs thread.
//
// All instances of an extension share one table, under the word that it has declared (`capture`). The table is a copy:
// it outlives the extension until the last request of it is answered.
#pragma once

#include "ctrl/api/method.h"
#include "ext.h"

#define EXT_MAX_METHODS 16
#define EXT_MAX_PARAMS  32

struct ext_verb {
	uint32_t flags;   // enum evs_method_flags
	const char *port; // the parameter that says of which switch the instance is, NULL = all are called
};

struct ext_object {
	struct ext_object *next;
	char *word, *id;
	bool bundled;
	bool retired;   // not among the methods any more
	bool passed;    // and whoever was about to call one has done so
	uint32_t users; // calls under way
	size_t n, n_texts;
	char **texts; // what the tables point to, and the tables
	struct ext_verb verbs[EXT_MAX_METHODS];
	struct method methods[EXT_MAX_METHODS + 1];
};

// any thread
int ext_methods_check(const struct ext *x, struct err *e);

// control thread

// An instance came up, or goes. What is wrong with its methods it says in its log; it runs without them.
void ext_methods_add(struct ext *x);
void ext_methods_del(struct ext *x);
struct ext_object *ext_object_of(const struct method *m);
void ext_object_give(struct ext_object *o); // a call has ended

int ext_method_call(struct request *rq, struct err *e);
// Answers what still stays of an instance that will not do it.
void ext_calls_end(struct ext *x, const char *why);
