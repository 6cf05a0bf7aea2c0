// The ring of flow_end.c, for flow_end_dp.c.
#pragma once

#include <stdatomic.h>

#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "flow_end.h"

extern struct rte_ring *_Atomic flow_ends;
extern _Atomic uint64_t flow_ends_n_lost;
