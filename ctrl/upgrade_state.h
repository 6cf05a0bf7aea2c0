// Run-time state of ports on its way to the successor, by the modules' save and restore. Control thread.
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "ctrl/api/err.h"

struct handover;

// Says the state of all ports, in steps of the loop: of the modules whose state is final only now that workers have
// ended, or of all others. Then calls done().
void upgrade_state_send(struct handover *h, bool final, void (*done)(void));

// The other side: collects what was said, and takes it over in one change, at its turn. What does not fit is logged and
// left out: the port is more than its state.
void upgrade_state_heard(const json_t *m);
void upgrade_state_apply(void (*done)(void));
