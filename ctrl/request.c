// A request between its handler and its client: parameters, rows, result, the steps of long ones.
//
// The answer is written once, when the request ends, so a handler that fails half-way leaves a clean
// error response. The exception are requests with rq_more(): their rows go to the client step by
// step, hence an error after the first row can only end the connection. Control thread.
#include "request.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "ctrl/api/log.h"
#include "dispatch.h"
#include "event.h"
#include "loop.h"

#define PROGRESS_NS 100000000

struct request *request_create(struct client *c, const struct method *m, json_t *id, json_t *params,
			       const int *fds, unsigned n_fds)
{
	struct request *rq = calloc(1, sizeof(*rq));
	struct evbuffer *rows = evbuffer_new();

	if (!rq || !rows) {
		free(rq);
		if (rows)
			evbuffer_free(rows);
		json_decref(id);
		json_decref(params);
		return NULL;
	}
	*rq = (struct request){.client = c,
			       .method = m,
			       .id = id,
			       .params = params,
			       .uid = c->uid,
			       .pid = c->pid,
			       .n_fds = n_fds,
			       .rows = rows};
	if (n_fds)
		memcpy(rq->fds, fds, n_fds * sizeof(*fds));
	c->request = rq;
	return rq;
}

static void request_free(struct request *rq)
{
	for (unsigned i = 0; i < rq->n_fds; i++)
		close(rq->fds[i]);
	evbuffer_free(rq->rows);
	json_decref(rq->id);
	json_decref(rq->params);
	json_decref(rq->result);
	free(rq);
}

// Parameters

const json_t *rq_get(const struct request *rq, const char *param)
{
	return json_object_get(rq->params, param);
}

bool rq_has(const struct request *rq, const char *param)
{
	return rq_get(rq, param) != NULL;
}

const char *rq_str(const struct request *rq, const char *param)
{
	return json_string_value(rq_get(rq, param));
}

int64_t rq_int(const struct request *rq, const char *param)
{
	return json_integer_value(rq_get(rq, param));
}

bool rq_bool(const struct request *rq, const char *param)
{
	return json_is_true(rq_get(rq, param));
}

static bool is_fd(const struct param *p)
{
	return p->type == PARAM_INPUT || p->type == PARAM_OUTPUT;
}

const struct method *rq_method(const struct request *rq)
{
	return rq->method;
}

int rq_fd(const struct request *rq, const char *param)
{
	return rq_fd_at(rq, param, 0);
}

int rq_fd_at(const struct request *rq, const char *param, unsigned i)
{
	const struct param *p = rq->method->params;
	const json_t *index = rq_get(rq, param);

	while (strcmp(p->name, param) != 0)
		p++;
	return index && i < request_n_fds(p, rq->params) ? rq->fds[json_integer_value(index) + i] : -1;
}

unsigned request_n_fds(const struct param *p, const json_t *params)
{
	const json_t *n = p->values ? json_object_get(params, p->values) : NULL;

	return n ? (unsigned)json_integer_value(n) : 1;
}

static bool list_has(const char *const *list, const char *name)
{
	for (; list && *list; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

json_t *rq_params(const struct request *rq, const char *const *except)
{
	json_t *conf = json_object();

	for (const struct param *p = rq->method->params; p && p->name; p++) {
		json_t *v = json_object_get(rq->params, p->name);
		if (v && !is_fd(p) && !list_has(except, p->name))
			json_object_set(conf, p->name, v);
	}
	return conf;
}

// Output

static void json_print(struct evbuffer *out, const json_t *v)
{
	char buf[2048];
	size_t len = json_dumpb(v, buf, sizeof(buf), JSON_COMPACT | JSON_ENCODE_ANY);

	if (len <= sizeof(buf)) {
		evbuffer_add(out, buf, len);
		return;
	}
	char *text = malloc(len);
	if (text && json_dumpb(v, text, len, JSON_COMPACT | JSON_ENCODE_ANY) == len)
		evbuffer_add(out, text, len);
	free(text);
}

void rq_row(struct request *rq, json_t *row)
{
	if (!row) // made of text that is not UTF-8: one row less, and not an answer that nobody can read
		log_error("%s: a row of the answer cannot be printed", rq->method->name);
	if (rq->client && row) {
		if (rq->has_rows)
			evbuffer_add(rq->rows, ",", 1);
		json_print(rq->rows, row);
		rq->has_rows = true;
	}
	json_decref(row);
}

void rq_result(struct request *rq, json_t *result)
{
	json_decref(rq->result);
	rq->result = result;
}

void rq_notify(struct request *rq, const char *method, json_t *params)
{
	json_t *message = json_pack("{ss ss so}", "jsonrpc", "2.0", "method", method, "params", params);

	if (message && rq->client) {
		if (client_has_room(rq->client))
			client_note(rq->client, message);
		else
			rq->n_lost++;
	}
	json_decref(message);
}

void rq_progress(struct request *rq, uint64_t done, uint64_t total)
{
	uint64_t now = time_ns();

	// in the middle of an answer's line there is no place for it, and behind it nobody wants it
	if (!rq->client || rq->client->mid_answer || now - rq->progress_ns < PROGRESS_NS ||
	    !client_has_room(rq->client))
		return;
	rq->progress_ns = now;
	rq_notify(
	    rq, "progress",
	    json_pack("{sO sI sI}", "id", rq->id, "done", (json_int_t)done, "total", (json_int_t)total));
}

void request_drained(struct request *rq)
{
	char text[96];

	if (!rq->n_lost)
		return;
	snprintf(text, sizeof(text), "lost %llu: they came faster than they were read",
		 (unsigned long long)rq->n_lost);
	json_t *event = event_json("lost", NULL, text);
	json_object_set_new(event, "count", json_integer((json_int_t)rq->n_lost));
	rq->n_lost = 0;
	rq_notify(rq, "event", event);
}

static void head_print(struct request *rq, struct evbuffer *out)
{
	evbuffer_add_printf(out, "{\"jsonrpc\":\"2.0\",\"id\":");
	json_print(out, rq->id);
	evbuffer_add_printf(out, ",\"result\":");
}

// What a request with rq_more() has so far.
static void rows_send(struct request *rq)
{
	struct client *c = rq->client;

	if (!c || !evbuffer_get_length(rq->rows))
		return;
	if (!rq->head_sent) {
		head_print(rq, c->out);
		evbuffer_add(c->out, "[", 1);
		rq->head_sent = c->mid_answer = true;
	}
	evbuffer_add_buffer(c->out, rq->rows);
}

static void success_send(struct request *rq)
{
	struct evbuffer *out = rq->client->out;

	if (rq->has_rows || (rq->method->columns && !rq->result && !rq->is_stream)) {
		if (!rq->head_sent) {
			head_print(rq, out);
			evbuffer_add(out, "[", 1);
		}
		evbuffer_add_buffer(out, rq->rows);
		evbuffer_add(out, "]}\n", 3);
		return;
	}
	head_print(rq, out);
	if (rq->result)
		json_print(out, rq->result);
	else
		evbuffer_add(out, "true", 4);
	evbuffer_add(out, "}\n", 2);
}

static void error_send(struct request *rq, const struct err *e)
{
	const char *text = e->text[0] ? e->text : err_name(e->code);

	if (!rq->head_sent) {
		client_error(rq->client, rq->id, RPC_REFUSED, text);
		return;
	}
	log_warn("%s failed in the middle of its answer, the connection is closed: %s", rq->method->name,
		 text);
	evbuffer_drain(rq->client->notes, evbuffer_get_length(rq->client->notes));
	rq->client->closing = true;
}

// Answers and frees.
static void request_end(struct request *rq, const struct err *e)
{
	struct client *c = rq->client;

	if (rq->step && rq->release)
		rq->release(rq->state);
	if (c && rq->is_stream) {
		client_stream_del(c, rq);
	} else if (c) {
		if (e && e->code)
			error_send(rq, e);
		else
			success_send(rq);
		client_answered(c);
	}
	request_free(rq);
}

// How it goes on

int rq_more(struct request *rq, int (*step)(struct request *rq, void *state, struct err *e), void *state,
	    void (*release)(void *state))
{
	rq->step = step;
	rq->state = state;
	rq->release = release;
	return 0;
}

int rq_later(struct request *rq, void (*gone)(struct request *rq, void *arg), void *arg)
{
	rq->is_later = true;
	rq->gone = gone;
	rq->gone_arg = arg;
	return 0;
}

void rq_done(struct request *rq, const struct err *e)
{
	if (!rq->in_handler) {
		request_end(rq, e);
		return;
	}
	rq->is_done = true;
	rq->done_err = e ? *e : (struct err){0};
}

static void stream_begin(struct request *rq)
{
	rq->is_stream = true;
	success_send(rq);
	client_stream_add(rq->client, rq);
	client_answered(rq->client);
}

bool request_run(struct request *rq)
{
	struct err e = {0};
	struct loop_mark mark = loop_enter();

	rq->in_handler = true;
	int rc = rq->method->call(rq, &e);
	rq->in_handler = false;
	loop_leave(rq->method->name, mark);

	if (rc) {
		e.code = rc;
	} else if (rq->is_done) {
		e = rq->done_err;
	} else if (rq->is_later) {
		if (!rq->client && rq->gone)
			rq->gone(rq, rq->gone_arg);
		else if (rq->client && (rq->method->flags & METHOD_STREAM))
			stream_begin(rq);
		return false;
	} else if (rq->step && rq->client) {
		rows_send(rq);
		client_wake(rq->client);
		return false;
	}
	request_end(rq, rc || rq->is_done ? &e : NULL);
	return true;
}

void request_step(struct request *rq)
{
	struct err e = {0};
	struct loop_mark mark = loop_enter();
	int rc = rq->step(rq, rq->state, &e);

	loop_leave(rq->method->name, mark);
	if (rc < 0 && !rq->head_sent)
		evbuffer_drain(rq->rows, evbuffer_get_length(rq->rows));
	rows_send(rq);
	if (rc <= 0) {
		e.code = rc;
		request_end(rq, &e);
	}
}

void request_client_gone(struct request *rq)
{
	void (*gone)(struct request * rq, void *arg) = rq->gone;

	rq->client = NULL;
	if (rq->step)
		request_end(rq, NULL);
	else if (rq->is_later && gone)
		gone(rq, rq->gone_arg);
}
