// A port driver of arrays: what a test sends is received, what is delivered is kept for the test to take.
#pragma once

#include "house.h"

void ring_register(void);
