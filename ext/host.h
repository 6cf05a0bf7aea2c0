// What the daemon does for extensions: the functions of the host table.
#pragma once

#include "ext.h"

extern const struct evs_host ext_host;

// The sentence of a refusal by the extension itself. Returns its code.
int ext_refusal(const struct ext *x, struct evs_why *why, const char *what, struct err *e);

// control thread

// Takes back answers that extensions have asked to be taken back, and hears of faults. Every 5 ms.
void ext_tick(void *arg);
