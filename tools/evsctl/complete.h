// Candidates for the completion of a command line.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

// Asks for the names of all objects of a kind ("port"): an array of strings, or NULL. New reference.
typedef json_t *complete_names_fn(const char *kind, void *arg);

// Prints what can stand in the place of the last of n words (n >= 1), which may be begun, one per
// line. Returns false if a file name belongs there.
bool complete_print(FILE *out, const json_t *methods, char *const *word, size_t n, complete_names_fn *names,
		    void *arg);
