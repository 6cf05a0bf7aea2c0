// Run-time state of a port that travels with it: counters and learned addresses. Control thread.
#pragma once

#include <jansson.h>

#include "ctrl/api/err.h"

json_t *port_save(const char *port);
int port_restore(const char *port, const json_t *state, struct err *e);
json_t *fdb_save(const char *port);
int fdb_restore(const char *port, const json_t *state, struct err *e);
