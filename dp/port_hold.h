// A port that waits for its state (conf key await-state): shown to nobody until it has come, or for so long after
// its guest has started. What the outside is told of a port's state comes from here. Control thread.
#pragma once

#include <stddef.h>

#include "port.h"

// The state as people see it, with the reason in `why`.
enum port_state port_hold_state(const struct port *p, char *why, size_t size);
// After each change of its state or conf: tells watchers, starts and stops the clock.
void port_hold_sync(struct port *p);
