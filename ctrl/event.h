// Watchers of events, and what an event looks like. Control thread.
#pragma once

#include <jansson.h>

#include "ctrl/api/event.h"
#include "ctrl/api/method.h"
#include "ctrl/api/module.h"

// The event's JSON: time, kind, object (left out when NULL), text.
json_t *event_json(const char *kind, const char *object, const char *text);

// Makes the request a watcher of events of this kind and object (NULL = all) until its client goes.
// Returns rq_later()'s 0, or -ENOMEM.
int event_watch(struct request *rq, const char *kind, const char *object, struct err *e);

extern const struct module event_module; // brings event.watch
