// What the data plane shows on /metrics. Control thread.
#pragma once

#include "ctrl/api/metrics.h"

extern const struct metric_family dp_metrics[];
