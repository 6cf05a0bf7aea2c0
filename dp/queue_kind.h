// The configured kind "queue" (one row per queue whose worker was set by hand): for queue_rpc.c. Control thread.
#pragma once

#include "ctrl/api/conf.h"
#include "port.h"

#define QUEUE_NAME_SIZE (PORT_NAME_SIZE + 8)

void queue_name(const struct rxq *q, char out[QUEUE_NAME_SIZE]);
struct rxq *queue_find(const char *name); // NULL
int queue_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e);
int queue_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e);
