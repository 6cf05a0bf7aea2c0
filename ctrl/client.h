// One connection of the control socket: bytes in, lines of JSON out.
//
// Requests of a client are taken one after the other; the next one waits for the answer of the one
// before. Control thread. Only the calls under "may close" end a client, and the loop makes them;
// all others are safe from any handler.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "request.h"

#define CLIENT_MAX_REQUEST (1 << 20)
#define CLIENT_MAX_FDS     64 // received for requests that have not yet begun
#define CLIENT_MAX_STREAMS 16
#define CLIENT_FULL_BYTES  (256 << 10) // above this much unread output the client gets no more work
#define CLIENT_STALL_NS    UINT64_C(60000000000)

struct event;
struct evbuffer;

struct client {
	struct client *next, **link; // all clients
	int fd;
	uid_t uid;
	pid_t pid;
	bool writer;
	struct event *read_event, *write_event, *turn_event;

	char *in;                         // not yet consumed: in[in_start .. in_end)
	size_t in_start, in_end, in_size; // in_size: allocated
	size_t in_scanned;                // no newline before this index
	uint64_t in_pos;                  // place of in[0] in the stream of all bytes received
	struct client_fd {
		int fd;
		uint64_t pos; // place of the last byte that came with it
	} in_fds[CLIENT_MAX_FDS];
	unsigned n_in_fds;
	bool eof;     // the client sends no more, but may still read
	bool closing; // takes no more requests; closes when all output is read

	struct evbuffer *out;
	struct evbuffer *notes;  // notifications that came in the middle of an answer
	bool mid_answer;         // `out` ends inside a line
	uint64_t stall_ns;       // since when the output is full and nothing was read; 0 = it is not
	struct request *request; // under way
	struct request *streams;
	unsigned n_streams;
};

struct client *client_create(int fd, uid_t uid, pid_t pid, bool writer); // takes fd if it succeeds
extern struct client *client_list;
extern unsigned n_clients;

void client_wake(struct client *c); // its turn comes soon
bool client_has_room(const struct client *c);
// One line with an error response; id NULL = the request's id is not known.
void client_error(struct client *c, const json_t *id, int code, const char *text);
// A whole line, at once or behind the answer that is being sent.
void client_note(struct client *c, const json_t *message);
void client_answered(struct client *c); // the request under way is over
void client_stream_add(struct client *c, struct request *rq);
void client_stream_del(struct client *c, struct request *rq);
// Bytes received, with the descriptors that came with them (taken over).
int client_input(struct client *c, const void *bytes, size_t len, const int *fds, unsigned n_fds);
// Sends what the socket takes now. False when the other side has gone.
bool client_send(struct client *c);

// may close
void client_turn(struct client *c);
void client_check_stall(struct client *c, uint64_t now_ns);
void client_close(struct client *c);
