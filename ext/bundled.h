// The extension that comes with the daemon, capture: its methods are always there, and the first use of them on a switch
// loads it for that switch. It is no part of the configuration, and ends with its switch. Control thread.
#pragma once

#include "ext.h"
#include "ext_feature.h"

// Its instance for this switch, which is being loaded if need be: jobs that are given from now on find it loaded, or
// failed. NULL with a sentence.
struct ext *bundled_get(uint16_t sw, struct err *e);
// Ends those whose switch has gone.
void bundled_look(void);
