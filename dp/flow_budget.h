// How many flows there may be: in sum, and for one port. Control thread.
#pragma once

#include <stdint.h>

// Set once at start, before the first port. 0 = no flows: every packet takes the walk.
void flow_budget_set(uint32_t max);
uint32_t flow_budget(void);

#define FLOW_QUEUE_SHARE 4 // one receive queue gets at most a fourth of the sum
