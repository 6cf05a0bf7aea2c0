// A port in a file: what 'port export' writes and 'port import' reads.
//
// Lines of JSON, none longer than 64 KiB, all together at most 16 MiB:
//
//   {"evswitch-port": 1, "conf": {…}}                       the port's configuration
//   {"kind": "vlan", "conf": {…}}                           a row that the port owns, by the port's name
//   {"kind": "fdb", "name": "sw0/0/02:…", "conf": {…}}      or by one of its own
//   {"owner": "fdb", "state": …}                            run-time state, of the module of that name
//   {"end": 4}                                              how many lines were before: nothing is missing
//
// The port's own name is nowhere in it: it may have another one where it goes to. Pure, any thread.
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "api/err.h"

#define SAVED_MAX_BYTES (16u << 20)
#define SAVED_MAX_LINE  (64u << 10)

struct saved {
	json_t *conf;
	json_t *rows;   // as in the lines
	json_t *states; // {owner: [state, …]}, in the order of the lines
	size_t n_values;
};

json_t *saved_head(const json_t *conf);                                    // a line: a new reference
json_t *saved_row(const char *kind, const char *name, const json_t *conf); // name NULL = the port's
json_t *saved_state(const char *owner, json_t *state);                     // takes over the reference

// The text of all lines and the last one, to be freed; NULL if it would be too long.
char *saved_write(const json_t *lines, size_t *n, struct err *e);

// Refuses whatever saved_write() would not have written. A sentence without a subject. saved_free() in any case.
int saved_read(const char *text, size_t n, struct saved *s, struct err *e);
void saved_free(struct saved *s);
