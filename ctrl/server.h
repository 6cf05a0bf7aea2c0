// The control server: JSON-RPC 2.0, one message per line, on DIR/control.sock.
//
// Writers (root, the daemon's own user, members of group `evswitch`) and readers (members of
// `evswitch-ro`) are told apart by the peer's credentials. When group `evswitch-ro` exists, there is a
// second socket, DIR/control-ro.sock, whose clients are readers. Control thread; needs a running loop
// (loop_init) and the methods' registry (methods_init).
#pragma once

#include <stdint.h>

#include "ctrl/api/err.h"

struct request;

// Listens. Refuses when the socket cannot be made or another daemon answers on it.
int server_start(const char *run_dir, struct err *e);
// Closes all clients. Requests still under way stay valid until their rq_done().
void server_stop(void);

// For an upgrade. The listening sockets, which stay ours (at most two); nobody is listened to any more, and clients stay;
// what clients have not read yet is sent as far as there is room.
unsigned server_listeners(int *fds);
void server_deafen(void);
void server_flush(void);
// Before server_start(), which then takes these over instead of making its own.
void server_inherit(const int *fds, unsigned n);

// METHOD_WRITE requests, decoded and accepted, go to `fn`, which sees that request_run() is called
// when it is their turn. NULL (the start) = they run at once.
void server_write_hook_set(void (*fn)(struct request *rq));
