// Guests that take memory away from under us: they truncate the file that is mapped here, and the next access is a
// SIGBUS in whoever made it, mostly a worker. The signal's handler maps an empty page over the hole, so that the access
// goes on with zeros, and notes whose memory it was; that port is then taken out of use.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

// control thread: once, before any guest is there.
int hole_init(struct err *e);

// vhost thread. From now on accesses to the range are survived, and `hit` is set. False: no place for one more range.
bool hole_watch(void *at, size_t bytes, _Atomic bool *hit);
void hole_forget(const _Atomic bool *hit); // all of its ranges; nobody accesses them any more

// Any thread that works on memory which nobody watches yet: from now on it survives every such access.
void hole_survive(void);
