// Handlers of ext.policy-set and ext.policy-show, for ext_rpc.c. Control thread.
#pragma once

#include "ctrl/api/conf.h"

int policy_set(struct request *rq, struct err *e);
int policy_show(struct request *rq, struct err *e);
