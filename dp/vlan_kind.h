// The configured kind "vlan": for vlan_rpc.c and its test. Control thread.
#pragma once

#include "ctrl/api/conf.h"
#include "port.h"

void vlan_conf_from(const json_t *conf, struct vlan_conf *c); // NULL = untagged
int vlan_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e);
int vlan_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e);
