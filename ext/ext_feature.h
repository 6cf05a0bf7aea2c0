// What the extension host is to snapshots and to the daemon. Control thread.
#pragma once

#include <stdbool.h>

#include "dp/stage.h"

extern const struct snap_feature ext_feature;

// Once, before modules start: whose signatures are trusted, and whether none is needed. `trusted_dir` stays valid.
void ext_trust_set(const char *trusted_dir, bool allow_unsigned);
// Methods of what comes with the daemon. Once, behind methods_init().
void bundled_init(void);
