// Transmit queues: a guest's ring or a device's queue that several workers deliver to.
//
// A queue is entered by try, never waited for. Who gets in drains the mailbox, writes directly, and drains
// again; who does not puts owned packets into the mailbox (bounded), and whoever is inside takes them along.
// A sender's packets keep their order: it writes directly only behind what it left in the mailbox.
#pragma once

#include "port.h"

struct tx_batch;
struct snap_port;

// control thread
int txq_init(struct txq *q, uint16_t id, struct err *e);
void txq_fini(struct txq *q); // frees what is still held

// workers: delivers a batch to `dst`, with all accounting.
void txq_send(struct worker *w, const struct snap_port *dst, struct txq *q, struct tx_batch *b);
