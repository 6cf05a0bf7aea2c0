// From a line to a request: parse, look up, check the role, decode, run.
//
// Nothing has changed when a line is refused here. A line of the largest size takes jansson some
// milliseconds; it is the one thing on the control thread that a client's bytes can make long.
#include "dispatch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/api/log.h"
#include "decode.h"
#include "loop.h"
#include "methods.h"
#include "server.h"

static void (*write_hook)(struct request *rq);

void server_write_hook_set(void (*fn)(struct request *rq))
{
	write_hook = fn;
}

// JSON-RPC's envelope. Returns 0, or the code of the error response.
static int envelope_check(const json_t *message, struct err *e)
{
	const json_t *id = json_object_get(message, "id");
	const char *version = json_string_value(json_object_get(message, "jsonrpc"));

	if (json_is_array(message))
		err_set(e, -EINVAL, "batches are not taken: send one request per line");
	else if (!json_is_object(message))
		err_set(e, -EINVAL, "a request must be a JSON object");
	else if (!version || strcmp(version, "2.0") != 0)
		err_set(e, -EINVAL, "a request needs \"jsonrpc\": \"2.0\"");
	else if (!json_is_string(id) && !json_is_integer(id))
		err_set(e, -EINVAL, "a request needs an \"id\", a string or a whole number");
	else if (!json_is_string(json_object_get(message, "method")))
		err_set(e, -EINVAL, "a request needs a \"method\", a string");
	return e->code ? RPC_INVALID_REQUEST : 0;
}

static int method_find(const struct client *c, const json_t *message, const struct method **method,
		       struct err *e)
{
	const char *name = json_string_value(json_object_get(message, "method"));
	const struct method *m = *method = methods_find(name);

	if (!m) {
		const struct method *near = methods_nearest(name);
		err_set(e, -ENOSYS, "unknown method %.100s%s%s; system.methods lists all", name,
			near ? ", did you mean " : "", near ? near->name : "");
		return RPC_UNKNOWN_METHOD;
	}
	if ((m->flags & METHOD_WRITE) && !c->writer) {
		err_set(e, -EPERM,
			"%s: user %u may only read here; changes are for root and members of group evswitch, "
			"on control.sock",
			name, c->uid);
		return RPC_NOT_ALLOWED;
	}
	return 0;
}

static int fd_check(const struct method *m, const struct param *p, int64_t index, const int *fds,
		    unsigned n_fds, struct err *e)
{
	if (index >= n_fds)
		return err_set(e, -EBADF, "%s: %s names descriptor %d, but %u came with the request", m->name,
			       p->name, (int)index, n_fds);
	int flags = fcntl(fds[index], F_GETFL);
	int wrong = p->type == PARAM_INPUT ? O_WRONLY : O_RDONLY;

	if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == wrong)
		return err_set(e, -EBADF, "%s: the descriptor for %s is not open for %s", m->name, p->name,
			       p->type == PARAM_INPUT ? "reading" : "writing");
	return 0;
}

// Each descriptor parameter must name descriptors that were sent and can be used that way.
static int fds_check(const struct method *m, const json_t *params, const int *fds, unsigned n_fds,
		     struct err *e)
{
	for (const struct param *p = m->params; p && p->name; p++) {
		const json_t *first = json_object_get(params, p->name);

		if ((p->type != PARAM_INPUT && p->type != PARAM_OUTPUT) || !json_is_integer(first))
			continue;
		for (unsigned i = 0; i < request_n_fds(p, params); i++)
			if (fd_check(m, p, json_integer_value(first) + i, fds, n_fds, e) < 0)
				return e->code;
	}
	return 0;
}

static int params_decode(const struct method *m, const json_t *message, const int *fds, unsigned n_fds,
			 json_t **params, struct err *e)
{
	char what[80];

	// "port.add" on the wire, "port add" in sentences
	snprintf(what, sizeof(what), "%s", m->name);
	for (char *dot = what; (dot = strchr(dot, '.')) != NULL;)
		*dot = ' ';
	if (decode_params(m->params, json_object_get(message, "params"), what, params, e) != 0 ||
	    fds_check(m, *params, fds, n_fds, e) != 0)
		return RPC_BAD_PARAMS;
	return 0;
}

// Without a limit per second: this is the record of who changed what.
static void audit(const struct request *rq)
{
	const struct param *p = rq->method->params;
	const char *object = p && p->name && (p->flags & PARAM_POSITIONAL) ? rq_str(rq, p->name) : NULL;

	log_line(NULL, LOG_LEVEL_INFO, "user %u (process %d): %s%s%s", rq->uid, rq->pid, rq->method->name,
		 object ? " " : "", object ? object : "");
}

static void request_begin(struct request *rq)
{
	if (!(rq->method->flags & METHOD_WRITE)) {
		request_run(rq);
		return;
	}
	audit(rq);
	if (write_hook)
		write_hook(rq);
	else
		request_run(rq);
}

static int message_take(struct client *c, const json_t *message, const int *fds, unsigned n_fds,
			struct err *e)
{
	const struct method *m;
	json_t *params = NULL;
	int code = envelope_check(message, e);

	if (!code)
		code = method_find(c, message, &m, e);
	if (!code && (m->flags & METHOD_STREAM) && c->n_streams >= CLIENT_MAX_STREAMS) {
		code = RPC_REFUSED;
		err_set(e, -EBUSY, "%s: this connection has %d streams already", m->name, CLIENT_MAX_STREAMS);
	}
	if (!code && n_fds > REQUEST_MAX_FDS) {
		code = RPC_BAD_PARAMS;
		err_set(e, -E2BIG, "%s: at most %d descriptors may come with a request", m->name,
			REQUEST_MAX_FDS);
	}
	if (!code)
		code = params_decode(m, message, fds, n_fds, &params, e);
	if (code) {
		json_decref(params);
		return code;
	}
	struct request *rq =
	    request_create(c, m, json_incref(json_object_get(message, "id")), params, fds, n_fds);
	if (!rq) {
		err_set(e, -ENOMEM, "%s: out of memory", m->name);
		return RPC_REFUSED;
	}
	request_begin(rq);
	return 0;
}

void dispatch_line(struct client *c, const char *line, size_t len, const int *fds, unsigned n_fds)
{
	struct err e = {0};
	json_error_t parse;
	int code = RPC_PARSE_ERROR;
	struct loop_mark mark = loop_enter();
	json_t *message = json_loadb(line, len, JSON_REJECT_DUPLICATES, &parse);

	loop_leave("JSON parse", mark);
	if (message)
		code = message_take(c, message, fds, n_fds, &e);
	else
		err_set(&e, -EINVAL, "not a JSON request: %s at byte %d", parse.text, parse.position);
	if (code) {
		const json_t *id = json_object_get(message, "id");
		client_error(c, json_is_string(id) || json_is_integer(id) ? id : NULL, code, e.text);
		for (unsigned i = 0; i < n_fds; i++)
			close(fds[i]);
	}
	json_decref(message);
}
