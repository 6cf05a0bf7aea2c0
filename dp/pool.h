// Pools of packet buffers (mbufs).
//
// One shared pool serves every worker; a device that needs larger buffers gets one of its own.
// Control and jobs threads.
#pragma once

#include <stdint.h>

struct err;
struct rte_mempool;

// Makes the shared pool out of a share of `memory_mb`. Once, after EAL.
int pool_init(uint32_t memory_mb, struct err *e);
void pool_fini(void);
struct rte_mempool *pool_shared(void);

// A pool of `n` buffers with `data_room` bytes each (headroom included). NULL with a sentence.
struct rte_mempool *pool_create(const char *name, uint32_t n, uint16_t data_room, struct err *e);
