// Parameters as a client or a stored row gives them, checked against their table.
//
// Pure: no server, no state. Any thread.
#pragma once

#include <jansson.h>

#include "ctrl/api/err.h"
#include "ctrl/api/method.h"

// Decodes the object `in` (NULL = empty) into a new object `*out`, in the order of the table, every
// value in canonical form, defaults filled in. Descriptors become their index (JSON integer). A value
// that PARAM_CLEARS was given as "" or null is JSON null in `*out`. Adds one finding to `e` that names
// every unknown, missing, mistyped and out-of-range parameter, beginning with `what` ("port add").
int decode_params(const struct param *table, const json_t *in, const char *what, json_t **out, struct err *e);

// One value by its table entry: a new reference in canonical form; NULL with the finding in `e`.
json_t *decode_value(const struct param *p, const json_t *in, struct err *e);

const char *decode_type_name(enum param_type type); // "int"
