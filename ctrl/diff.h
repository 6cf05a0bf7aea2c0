// What must change to get from one state to another.
//
// A *state* is a JSON object {kind: {name: conf}}. *Edits* have the same shape, where a null in place
// of the conf deletes the row. A *step* is one edit with what was there before, in the order in which
// steps are taken: deletes against the order of kinds, then adds and changes along it.
// Pure, any thread.
#pragma once

#include <jansson.h>
#include <stddef.h>

struct diff_step {
	const char *kind; // borrowed from `kinds`
	char *name;
	json_t *old; // NULL = the row is added
	json_t *now; // NULL = the row is deleted
};

// The edits that make `to` of `from`; a new reference. Equal rows are not mentioned.
json_t *diff_states(const json_t *from, const json_t *to);

// The edits as steps; those that change nothing are left out. `kinds` ends with NULL; kinds that are not
// in it are left out. Returns the number of steps; *steps is freed with diff_free().
size_t diff_steps(const char *const *kinds, const json_t *from, const json_t *edits,
		  struct diff_step **steps);
void diff_free(struct diff_step *steps, size_t n);
