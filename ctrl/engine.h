// The change engine: takes write requests in batches through open, build, commit, publish and grace.
//
// One per process. Needs conf_init(), a running loop and an open store. Control thread.
#pragma once

#include <stdbool.h>

#include "api/err.h"

struct change;
struct request;

// Runs fn(arg) at its turn: among the writers, when no batch is on its way. Only such a function, and the
// handlers of requests given to engine_hook(), may call change_submit().
void engine_queue(void (*fn)(void *arg), void *arg);
// For server_write_hook_set().
void engine_hook(struct request *rq);

// Brings all stored rows to life, before the first request. Refuses when one of them cannot be. The
// grace period of it may end after the return.
int change_restore(struct err *e);

// No batch is on its way and nothing waits: the process can stop without leaving a request unanswered.
bool engine_is_idle(void);

void engine_add(struct change *ch); // for change_submit(): opened, joins the batch
