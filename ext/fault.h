// Extensions that have failed: said, noted, and left out until a person says otherwise. Control thread.
#pragma once

#include "ext.h"

// `text` may begin with the extension's name.
void ext_fail(struct ext *x, enum ext_state state, const char *text);
// Tells one version and configuration of an extension from another: what one has done says nothing of the other.
uint64_t ext_fault_key(const struct ext_conf *c);
// Whether it is not to be loaded: `known` is what the configuration says of it, NULL = nothing. At a restore what
// processes before have died of counts, too, and is noted.
bool ext_is_left_out(struct ext *x, const char *known, bool is_restore);
// One that workers have marked is taken out.
void ext_fault_hear(struct ext *x);
// Marks it if it took more time than it may.
void ext_budget_look(struct ext *x);
