// Upgrade, the side of the new switch process. What the two say to each other stands in handover.h.
//
// It is a whole switch process whose ports touch nothing yet, until the one before it says `go` or has ended. Control
// thread.
#pragma once

#include "ctrl/api/err.h"
#include "ctrl/preflight.h"
#include "ctrl/role.h"

// Before DPDK starts: shows what this process is and learns what the other one runs with. Changes the cores in `setup`.
int successor_greet(int predecessor, struct setup *setup, struct err *e);

// Behind modules_init(), with all ports standing by: the loop does the rest.
void successor_begin(const struct role *r);
