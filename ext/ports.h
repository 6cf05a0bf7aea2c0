// Ports as extensions hear of them: the steps of their lives, in order, on the jobs thread.
#pragma once

#include "ext.h"

struct change;

// control thread

int ext_ports_init(void);
// A job's part of the change that loads `x`: all ports that there are now. To be done behind ext_load().
struct port_news *ext_ports_now(const struct ext *x);
void ext_ports_free(struct port_news *news); // accepts NULL
// What has happened to ports since then, while `x` could not be told.
void ext_ports_sync(struct ext *x);

// jobs thread
int ext_ports_tell(struct ext *x, const struct port_news *news, struct err *e);
bool ext_port_next(const struct ext *x, uint32_t *at, struct evs_port *port);
bool ext_port_find(const struct ext *x, const char *name, struct evs_port *port);
void ext_ports_forget(struct ext *x); // what it was told
