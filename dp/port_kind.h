// The configured kind "port": for port_rpc.c. Control thread.
#pragma once

#include "ctrl/api/conf.h"
#include "port.h"

const char *port_state_name(enum port_state state);
void port_conf_from(const char *name, const json_t *conf, struct port_conf *c);
int port_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e);
int port_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e);
