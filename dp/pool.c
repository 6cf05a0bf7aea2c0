// Pools of packet buffers.
//
// Guests' frames take a buffer only while they are being handled or held in a mailbox, devices keep
// their receive rings filled; so the shared pool takes a third of the memory and the rest is left to
// tables, rings and DPDK itself. Control and jobs threads.
#include "pool.h"

#include <errno.h>

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "ctrl/api/err.h"

#define BUFFER_BYTES (RTE_MBUF_DEFAULT_BUF_SIZE + sizeof(struct rte_mbuf) + 64)
#define CACHE        256

static struct rte_mempool *shared;

struct rte_mempool *pool_create(const char *name, uint32_t n, uint16_t data_room, struct err *e)
{
	uint32_t cache = n >= 4 * CACHE ? CACHE : 0;
	struct rte_mempool *pool = rte_pktmbuf_pool_create(name, n, cache, 0, data_room, SOCKET_ID_ANY);

	if (pool == NULL)
		err_set(e, -rte_errno, "packet buffers: cannot make %u of %u bytes: %s; give more --memory",
			n, data_room, err_name(rte_errno));
	return pool;
}

int pool_init(uint32_t memory_mb, struct err *e)
{
	uint32_t n = memory_mb * 1024ull * 1024 / 3 / BUFFER_BYTES;

	shared = pool_create("evs", n, RTE_MBUF_DEFAULT_BUF_SIZE, e);
	return shared == NULL ? -ENOMEM : 0;
}

void pool_fini(void)
{
	rte_mempool_free(shared);
	shared = NULL;
}

struct rte_mempool *pool_shared(void)
{
	return shared;
}
