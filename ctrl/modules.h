// Which modules there are: one line in modules.c each.
#pragma once

#include "ctrl/api/module.h"

// Initialises all in order; when one refuses, those before it are finished again.
int modules_init(struct err *e);
void modules_fini(void); // in reverse
