// From the words of a command line to a request, by the method table of the daemon.
//
// `methods` is the list, `method` one entry of what system.methods answers (ctrl/methods.h). Pure, but
// for command_open().
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ctrl/api/err.h"

// A string member of an object, "" if it has none; a member that is true.
const char *text_of(const json_t *object, const char *key);
bool is_set(const json_t *object, const char *key);

// The object's part of a method's name is `object`.
bool method_is_of(const json_t *method, const char *object);
const char *method_verb(const json_t *method);
const char *method_title(const json_t *method); // "port add"; valid until the next call

// The method "object.verb", or a sentence that names what could have been meant.
const json_t *method_find(const json_t *methods, const char *object, const char *verb, struct err *e);
// The method that n >= 2 words begin with, and how many of them name it.
const json_t *method_take(const json_t *methods, char *const *word, size_t n, size_t *n_used, struct err *e);
const json_t *method_param(const json_t *method, const char *key); // by name, or NULL

// How far a line of words has got.
struct words {
	json_t *params;       // what was given, by name; strings
	const json_t *awaits; // the parameter whose value comes next, NULL = none
	const json_t *flag;   // the last word was this flag, whose value may come next
	size_t n_positional;  // positional parameters passed
	const char *rest;     // the key that is no parameter's, whose value comes next
	bool keyed;           // a key has been seen: nothing positional comes any more
};

// Reads n words of a line that has n_all (more than n for completion). words_fini() in any case.
int words_read(struct words *w, const json_t *method, char *const *word, size_t n, size_t n_all,
	       struct err *e);
const json_t *words_positional(const struct words *w, const json_t *method); // that comes next, or NULL
void words_fini(struct words *w);

// The parameters of a whole line, JSON parsed, names of files as they were given; NULL with a sentence.
json_t *command_params(const json_t *method, char *const *word, size_t n, struct err *e);

struct files {
	int fds[8];
	char *path[8], *written[8]; // an output goes to a file of another name first; NULL = it does not
	size_t n;
	bool on_stdout; // an output goes there: nothing else may
};

// Opens the files that parameters name and puts {"fd": I} in their place. files_close() in any case.
int command_open(const json_t *method, json_t *params, struct files *f, struct err *e);
int files_keep(struct files *f, struct err *e); // all was written: outputs take the place of what was there
void files_close(struct files *f);              // outputs that were not kept are removed
