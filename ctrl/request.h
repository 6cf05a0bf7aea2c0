// One call of one client, from its decoded parameters to its answer.
//
// Belongs to the server until it is run, then to the handler until it is answered; it outlives its
// client if that goes first. Freed with its answer. Control thread. Handlers use ctrl/api/method.h.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctrl/api/err.h"
#include "ctrl/api/method.h"

#define REQUEST_MAX_FDS 8

struct client;
struct evbuffer;

struct request {
	struct client *client; // NULL once it has gone
	struct request *next;  // the client's streams; the owner's (change engine) while it waits its turn
	const struct method *method;
	json_t *id;     // string or integer
	json_t *params; // decoded
	uid_t uid;      // of the peer
	pid_t pid;
	int fds[REQUEST_MAX_FDS];
	unsigned n_fds;

	// the answer
	struct evbuffer *rows; // rows not yet given to the client
	bool has_rows;
	bool head_sent; // the answer's beginning is on its way: it can no longer become an error
	json_t *result;
	uint64_t progress_ns; // when progress was last told
	uint64_t n_lost;      // notifications that found the client's buffer full

	// how it goes on after the handler
	bool in_handler, is_later, is_stream;
	bool is_done; // rq_done() came while the handler was still running
	struct err done_err;
	int (*step)(struct request *rq, void *state, struct err *e);
	void (*release)(void *state);
	void *state;
	void (*gone)(struct request *rq, void *arg);
	void *gone_arg;
};

// Takes over the references and the descriptors.
struct request *request_create(struct client *c, const struct method *m, json_t *id, json_t *params,
			       const int *fds, unsigned n_fds);

// Calls the handler. Returns true when the request has been answered (and is gone), false when its
// answer comes later.
bool request_run(struct request *rq);

// How many descriptors belong to a parameter that is one.
unsigned request_n_fds(const struct param *p, const json_t *params);

// For the client's side.
void request_step(struct request *rq);        // one step of rq_more(); may end the request
void request_client_gone(struct request *rq); // may end the request
void request_drained(struct request *rq);     // a stream whose client reads again
