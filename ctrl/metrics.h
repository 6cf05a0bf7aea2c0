// The metrics server: GET /metrics on DIR/metrics.sock, for Prometheus and the like. Control thread.
#pragma once

#include "ctrl/api/err.h"

// Listens on a unix socket that group evswitch-ro may use, if there is one.
int metrics_start(const char *run_dir, struct err *e);
void metrics_stop(void);

// For an upgrade, as server.h.
int metrics_listener(void);
void metrics_leave(void);
void metrics_inherit(int fd);
