// Properties of extensions that people set, for a port or for the switch: the configured kind "ext-policy", one row for
// each extension and port (or the switch) with all values.
#pragma once

#include <jansson.h>

#include "ext.h"

struct change;
struct conf_view;
struct policies; // what one extension is to be told

// control thread

int policy_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e);
int policy_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e);
// "fw:vm1", "fw:" for the switch. `out` has POLICY_NAME_SIZE bytes.
#define POLICY_NAME_SIZE (2 * PORT_NAME_SIZE)
void policy_name(const char *ext, const char *port, char *out);

// Everything that is set for the extension of this name, for an instance that has just been made. NULL: out of memory.
struct policies *policies_now(const char *ext);
void policies_free(struct policies *all); // accepts NULL

// jobs thread
int policies_tell(struct ext *x, const struct policies *all, struct err *e);
const struct evs_property *policy_property(const struct ext *x, const char *name); // NULL
// The next description; a newer extension's are longer.
const struct evs_property *policy_next(const struct ext *x,
				       const struct evs_property *p); // p NULL = the first
