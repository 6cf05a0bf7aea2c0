// The module's start and end: for flow_rpc.c. Control thread.
#pragma once

struct err;

int flow_init(struct err *e);
void flow_fini(void);
