// The whole configuration as one JSON document, as people save and load it:
//
//   {"evswitch": 1, "switch": [{"name": "sw0", "kind": "internal"}, …], "port": […], …}
//
// Kinds stand in their order, rows sorted by name. Any thread (needs conf_init()).
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "api/err.h"

json_t *document_make(const json_t *state); // a new reference

// The state that a document describes: confs decoded, an absent kind has no rows. Every finding is
// reported, as many as fit, then "and N more".
int document_read(const json_t *document, json_t **state, struct err *e);
int document_parse(const char *text, size_t n, json_t **state, struct err *e);
