// Starting DPDK's environment: memory and the main thread's place, no device.
//
// Devices are attached later, one by one, when a port asks for them. Control thread, once.
#pragma once

#include "ctrl/preflight.h"

// Pins this thread, and with it every thread that it makes, to the setup's control CPUs, and starts EAL with
// `memory_mb`. EAL's warnings go to the log. -errno with a sentence.
int eal_start(const struct setup *setup, uint32_t memory_mb, struct err *e);
