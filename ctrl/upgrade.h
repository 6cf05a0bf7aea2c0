// Upgrade, the side of the switch process that is to be replaced.
//
//   start     the supervisor starts the successor, which gets itself ready: nothing has changed yet
//   hold      writes wait; the last commit is done, the state file is closed
//   load      the successor restores all objects from the file, without touching what the ports stand on
//   learn     it gets the run-time state of the ports; packets still flow here
//   go        workers end, ports are let go, sockets are handed over: no way back
//   end       it gets the counters; the request is answered, and this process ends
//
// Whatever goes wrong before `go`, the successor is killed and everything goes on here as if nothing had been. If this
// process dies, the successor takes its place with what it has. Control thread.
#pragma once

#include <stdbool.h>

#include "ctrl/api/err.h"
#include "ctrl/role.h"

struct request;

// Once, when this process has become the switch.
void upgrade_init(int channel);

// For the method's handler. program -1 = the file that this process was started from, as it is now.
int upgrade_begin(struct request *rq, int program, struct err *e);

// Ends what is under way, as the process is to stop.
void upgrade_cancel(void);
