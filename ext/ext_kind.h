// The configured kind "ext": for ext_rpc.c. Control thread.
#pragma once

#include "ctrl/api/conf.h"

int ext_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e);
int ext_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e);
