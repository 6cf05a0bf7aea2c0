// Shared objects become extensions: found worthy of trust, loaded, examined, and called on the jobs thread.
#pragma once

#include "ext.h"

// jobs thread

// Loads x->conf.path and makes the instance. -errno with a sentence; then nothing is left.
int ext_load(struct ext *x, struct err *e);
// Loads it and reads its description, and makes no instance. Any thread, for what comes with the daemon.
int ext_examine(struct ext *x, struct err *e);
// Lets `x` take over what `old` has, which workers may be inside of.
int ext_take_over(struct ext *x, struct ext *old, struct err *e);
// Ends the instance and unloads it; does nothing if it is not loaded. One that has failed is not called, and stays in memory.
void ext_unload(struct ext *x);

static inline bool ext_is_callable(const struct ext *x)
{
	return atomic_load(&x->loaded) && atomic_load(&x->fault) == EXT_FAULT_NONE;
}
