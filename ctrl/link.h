// The link watcher's life (its use: api/link.h). Control thread, after the event loop was made.
#pragma once

struct err;

int link_init(struct err *e); // opens the netlink socket; -errno with a sentence
void link_fini(void);         // frees the watches that are left
