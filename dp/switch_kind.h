// The configured kind "switch": for switch_rpc.c. Control thread.
#pragma once

#include "ctrl/api/conf.h"

int switch_init(struct err *e);
void switch_fini(void);
int switch_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e);
int switch_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e);
