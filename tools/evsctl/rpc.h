// A connection to the daemon: JSON-RPC 2.0, one message per line on a unix socket.
//
// Blocking. Owned by main(); calls are made one after the other.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ctrl/api/err.h"

struct rpc {
	const char *path;
	int fd;
	int silence_ms; // how long the daemon may say nothing before it is taken for dead
	int64_t last_id;
	char *buf; // bytes received and not yet handed out: buf[start..end)
	size_t start, end, size;
};

// What is asked of the daemon.
struct call {
	const char *method;
	json_t *params; // borrowed
	const int *fds; // go with the request
	size_t n_fds;
	bool stream; // no end: notifications come until the daemon or the user goes
	// Called with each notification of this call: method and parameters.
	void (*notify)(const char *method, const json_t *params, void *arg);
	void *arg;
};

// Outcomes, which are also the exit codes of the program.
enum outcome { OUTCOME_OK = 0, OUTCOME_REFUSED = 1, OUTCOME_FAILED = 2 };

int rpc_open(struct rpc *c, const char *path, int silence_ms, struct err *e);
void rpc_close(struct rpc *c);

// Sends the request and waits for its answer. OK: *result is the caller's. Otherwise `e` says why.
enum outcome rpc_call(struct rpc *c, const struct call *call, json_t **result, struct err *e);

// Waits so long for the daemon to close the connection; true if it did.
bool rpc_closed_within(struct rpc *c, int ms);
