// A received line becomes a request. Control thread.
#pragma once

#include <stddef.h>

#include "client.h"

// -32001 and -32000 are ours, the others JSON-RPC's.
enum rpc_code {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_UNKNOWN_METHOD = -32601,
	RPC_BAD_PARAMS = -32602,
	RPC_NOT_ALLOWED = -32001, // refused by role
	RPC_REFUSED = -32000,     // refused by the daemon
};

// Answers with an error, or hands the request to its handler or to the write hook. Takes over the
// descriptors.
void dispatch_line(struct client *c, const char *line, size_t len, const int *fds, unsigned n_fds);
