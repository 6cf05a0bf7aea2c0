// What extensions show on /metrics. Control thread.
#pragma once

#include "ctrl/api/metrics.h"

extern const struct metric_family ext_metrics[];
