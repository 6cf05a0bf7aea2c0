// Control methods: one table entry is the decoder, the command line, the help and the manual.
//
// A module lists its methods in a static table (x_rpc.c). The server checks a request's
// parameters against the table before the handler runs: a handler sees only parameters that
// exist, of the right type and in range, defaults filled in. Control thread.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"

struct request; // one call of one client, until it is answered

// How a value is written by people, and what the handler gets (canonical form).
enum param_type {
	PARAM_STRING, // string, 1..255 bytes of printable UTF-8
	PARAM_NAME,   // string: [A-Za-z0-9_.:-]{1,63}, beginning with a letter or digit
	PARAM_PATH,   // string: absolute path, 1..4095 bytes
	PARAM_BOOL,   // on|off|yes|no|true|false      -> JSON boolean
	PARAM_INT,    // decimal within min..max       -> JSON integer
	PARAM_RATE,   // bits per second: 1G, 500M, 0  -> JSON integer
	PARAM_SIZE,   // bytes: 4K, 1M                 -> JSON integer
	PARAM_ENUM,   // one of `values`               -> JSON string
	PARAM_MAC,    // 02:00:00:00:00:01             -> JSON string, lower case
	PARAM_IP,     // IPv4 or IPv6 address          -> JSON string, canonical
	PARAM_PREFIX, // 10.0.0.0/8, host bits zero    -> JSON string, canonical
	PARAM_UUID,   // -> JSON string, lower case
	PARAM_VLANS,  // 10-20,30 (1..4094)            -> JSON string, sorted and merged
	PARAM_NAMES,  // a,b,c                         -> JSON array of strings (PARAM_NAME each)
	PARAM_HEX,    // even number of hex digits     -> JSON string, lower case, no separators
	PARAM_JSON,   // any JSON value
	PARAM_INPUT,  // a descriptor opened by the client for reading  -> rq_fd()
	PARAM_OUTPUT, // a descriptor opened by the client for writing  -> rq_fd()
};

enum param_flags {
	PARAM_REQUIRED = 1,
	PARAM_POSITIONAL = 2, // on the command line the value stands first, without its name
	PARAM_FLAG = 4,       // a PARAM_BOOL that may stand alone as a word: "drops only"
	PARAM_CLEARS = 8,     // the empty string is taken, as JSON null: "set back to none"
	PARAM_HERE = 16,      // a kind's key that is about this host: where an object moves to, it may differ
	PARAM_LIVE = 32,      // an output that is written in place: others read it meanwhile
	PARAM_REST =
	    64, // a PARAM_JSON: on the command line all keys that are no parameters', as an object of strings
};

struct param {
	const char *name; // NULL ends the table
	enum param_type type;
	unsigned flags;
	const char *help; // one line, for people
	const char *def;  // default as a person would write it, NULL = absent stays absent
	const char *unit; // "ms", "packets/s", NULL
	int64_t min, max; // PARAM_INT, PARAM_RATE, PARAM_SIZE
	const char *
	    values; // PARAM_ENUM: "client|server"; PARAM_OUTPUT: which number says how many files, NULL = one
};

struct column {
	const char *name; // JSON key and table head; NULL ends the table
	const char *help;
	const char *unit; // NULL = none
};

enum method_flags {
	METHOD_READ = 0,
	METHOD_WRITE = 1,  // needs the writer role; runs in the order of changes (conf.h)
	METHOD_STREAM = 2, // answers with notifications until the client goes
};

struct method {
	const char *name;             // "port.add"; NULL ends the table
	const char *help;             // one line
	const struct param *params;   // NULL = none
	const struct column *columns; // of the rows in the result; NULL = result is no table
	unsigned flags;
	// Answers with rq_row()s or rq_result(), or with none ("ok"), and returns 0; returns a
	// negative errno with a sentence in `e` to refuse. Also see rq_more().
	int (*call)(struct request *rq, struct err *e);
};

// Methods that come and go while the daemon runs: a table that stays valid until it is taken out and no request of it is
// unanswered. Refused if one of its objects is there already. Control thread.
int methods_add(const struct method *table, struct err *e);
void methods_del(const struct method *table);
bool methods_are_static(const char *object); // a word of the daemon's own; any thread

const struct method *rq_method(const struct request *rq);
// Parameters: NULL, 0, false, -1 when absent.
bool rq_has(const struct request *rq, const char *param);
const json_t *rq_get(const struct request *rq, const char *param); // borrowed
const char *rq_str(const struct request *rq, const char *param);   // borrowed
int64_t rq_int(const struct request *rq, const char *param);
bool rq_bool(const struct request *rq, const char *param);
int rq_fd(const struct request *rq, const char *param);                // closed after the answer: dup to keep
int rq_fd_at(const struct request *rq, const char *param, unsigned i); // of several; -1 = there are no more
// A new object of the given parameters except those named in `except` (a NULL-terminated list,
// may be NULL): the conf of an object that is made from a request. Defaults are included.
json_t *rq_params(const struct request *rq, const char *const *except);

// Results. Each takes over the reference to its JSON value.
void rq_row(struct request *rq, json_t *row); // one row of the result array
void rq_result(struct request *rq, json_t *result);
void rq_progress(struct request *rq, uint64_t done, uint64_t total);
void rq_notify(struct request *rq, const char *method, json_t *params); // METHOD_STREAM

// For long lists and long work: `step` is called once per turn of the loop, when the client has read
// what was sent, until it returns 0 (done) or a negative errno; 1 = call again. `release(state)` is
// called once at the end, also when the client goes away first. The handler returns rq_more()'s 0.
int rq_more(struct request *rq, int (*step)(struct request *rq, void *state, struct err *e), void *state,
	    void (*release)(void *state));

// Answers later, by rq_done(): from a control-thread callback. The handler returns rq_later()'s 0.
// When the client goes away first, `gone` is called (may be NULL) and rq_done() is still required.
int rq_later(struct request *rq, void (*gone)(struct request *rq, void *arg), void *arg);
void rq_done(struct request *rq, const struct err *e); // e->code 0 or e NULL = success
