// port.export, port.import and port.check: a port with its configuration and its run-time state as a file.
//
// Export: records are collected in steps of the loop ▸ made text by a job ▸ written.
// Import: the file is read ▸ parsed by a job ▸ checked in steps ▸ made at its turn among the changes. Check is the same
// up to there. Control thread; lines_write() and file_parse() jobs thread.
#include <errno.h>
#include <stdlib.h>

#include "api/jobs.h"
#include "api/module.h"
#include "engine.h"
#include "input.h"
#include "must.h"
#include "output.h"
#include "saved_port.h"

// --- export

struct leaving {
	struct request *rq;
	const char *port;
	json_t *lines;
	const struct module *const *owner; // who is asked next; NULL = all were
	uint64_t at;
	char *text;
	size_t n;
	struct output *out; // while it is written
	struct err e;
	bool gone; // the client
};

static void leaving_end(struct leaving *l)
{
	rq_done(l->rq, &l->e);
	json_decref(l->lines);
	free(l->text);
	free(l);
}

static void written(const struct err *e, void *arg)
{
	struct leaving *l = arg;

	if (e->code)
		err_set(&l->e, e->code, "port %s: %s", l->port, e->text);
	leaving_end(l);
}

static void lines_write(void *arg)
{
	struct leaving *l = arg;
	struct err e = {0};

	l->text = saved_write(l->lines, &l->n, &e);
	if (!l->text)
		err_set(&l->e, e.code, "port %s: cannot be exported: %s", l->port, e.text);
}

static void lines_written(void *arg)
{
	struct leaving *l = arg;
	char *text = l->text;

	if (l->e.code || l->gone) {
		leaving_end(l);
		return;
	}
	l->text = NULL;
	l->out = output_start(rq_fd(l->rq, "file"), text, l->n, written, l);
}

static void export_step(void *arg)
{
	struct leaving *l = arg;
	json_t *state;

	if (l->gone) {
		leaving_end(l);
		return;
	}
	if (!l->owner) {
		job_run("port export", lines_write, lines_written, l);
		return;
	}
	state = (*l->owner)->save(l->port, &l->at);
	if (state)
		json_array_append_new(l->lines, saved_state((*l->owner)->name, state));
	if (l->at == 0)
		l->owner = saved_port_owner(l->owner);
	control_post("port export", export_step, l);
}

static void export_gone(struct request *rq, void *arg)
{
	struct leaving *l = arg;

	(void)rq;
	l->gone = true;
	if (!l->out)
		return;
	output_cancel(l->out);
	leaving_end(l);
}

static int port_export(struct request *rq, struct err *e)
{
	json_t *lines = saved_port_lines(rq_str(rq, "name"), e);
	struct leaving *l;

	if (!lines)
		return e->code;
	l = must(calloc(1, sizeof(*l)));
	*l = (struct leaving){
	    .rq = rq, .port = rq_str(rq, "name"), .lines = lines, .owner = saved_port_owner(NULL)};
	control_post("port export", export_step, l);
	return rq_later(rq, export_gone, l);
}

// --- import and check

struct coming {
	struct request *rq;
	const char *port;
	bool check;
	struct input *in; // while the file is read
	char *text;
	size_t n;
	struct saved saved;
	struct arrival arrival;
	struct err e;
};

static void coming_free(struct coming *c)
{
	arrival_fini(&c->arrival);
	saved_free(&c->saved);
	free(c->text);
	free(c);
}

static void coming_end(struct coming *c)
{
	rq_done(c->rq, &c->e);
	coming_free(c);
}

static void check_answer(struct coming *c)
{
	json_t *finding;
	size_t i;

	arrival_check_conf(&c->arrival);
	json_array_foreach (c->arrival.findings, i, finding)
		rq_row(c->rq, must(json_pack("{s:O}", "finding", finding)));
	coming_end(c);
}

// At its turn among the writers. The engine answers an accepted change.
static void import_turn(void *arg)
{
	struct coming *c = arg;

	if (arrival_submit(&c->arrival, change_new(c->rq), &c->e) < 0)
		coming_end(c);
	else
		coming_free(c);
}

static void check_step(void *arg)
{
	struct coming *c = arg;

	if (arrival_check_state(&c->arrival))
		control_post("port check", check_step, c);
	else if (c->check)
		check_answer(c);
	else
		engine_queue(import_turn, c);
}

static void file_parse(void *arg)
{
	struct coming *c = arg;
	struct err e = {0};

	if (saved_read(c->text, c->n, &c->saved, &e) < 0)
		err_set(&c->e, e.code, "port %s: the file %s", c->port, e.text);
	free(c->text);
	c->text = NULL;
}

static void file_parsed(void *arg)
{
	static const char *const not_conf[] = {"name", NULL};
	struct coming *c = arg;

	if (c->e.code) {
		coming_end(c);
		return;
	}
	arrival_init(&c->arrival, c->port, &c->saved, rq_params(c->rq, not_conf));
	check_step(c);
}

static void file_read(char *text, size_t n, const struct err *e, void *arg)
{
	struct coming *c = arg;

	c->in = NULL;
	c->text = text;
	c->n = n;
	if (e->code) {
		err_set(&c->e, e->code, "port %s: %s", c->port, e->text);
		coming_end(c);
	} else {
		job_run("port import", file_parse, file_parsed, c);
	}
}

// Nobody waits for a file that is still being read.
static void coming_gone(struct request *rq, void *arg)
{
	struct coming *c = arg;

	(void)rq;
	if (!c->in)
		return;
	input_cancel(c->in);
	err_set(&c->e, -ECANCELED, "port %s: the client has gone", c->port);
	coming_end(c);
}

static int coming_start(struct request *rq, bool check)
{
	struct coming *c = must(calloc(1, sizeof(*c)));

	*c = (struct coming){.rq = rq, .port = rq_str(rq, "name"), .check = check};
	c->in = input_start(rq_fd(rq, "file"), SAVED_MAX_BYTES, file_read, c);
	return rq_later(rq, coming_gone, c);
}

static int port_import(struct request *rq, struct err *e)
{
	(void)e;
	return coming_start(rq, false);
}

static int port_check_call(struct request *rq, struct err *e)
{
	(void)e;
	return coming_start(rq, true);
}

static const struct param export_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the port"},
    {"file", PARAM_OUTPUT, PARAM_REQUIRED, "where to; - = standard output"},
    {0},
};

static const struct param import_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the port as it is called here"},
    {"file", PARAM_INPUT, PARAM_REQUIRED, "what 'port export' wrote; - = standard input"},
    {"socket", PARAM_PATH, 0, "a new port: another vhost-user socket than in the file"},
    {"mode", PARAM_ENUM, 0, "a new port: what evswitchd is on that socket", .values = "client|server"},
    {"device", PARAM_STRING, 0, "a new port: another DPDK device than in the file"},
    {"ifname", PARAM_NAME, 0, "a new port: another interface than in the file"},
    {"bypass", PARAM_STRING, 0, "a new port: a NIC's function here; the file's is not taken over"},
    {"await-state", PARAM_INT, 0,
     "a new port: only its configuration; it waits for its state, so long after its guest has started",
     .unit = "s", .min = 1, .max = 3600},
    {0},
};

static const struct column check_columns[] = {
    {.name = "finding", .help = "what does not fit here; no row = the import would be accepted"},
    {0},
};

static const struct method methods[] = {
    {"port.export", "write a port's configuration, counters and learned addresses to a file", export_params,
     NULL, METHOD_READ, port_export},
    {"port.import", "make a port from a file, or give one that is there the state in it; all or nothing",
     import_params, NULL, METHOD_WRITE, port_import},
    {"port.check", "say everything that keeps an exported port from being imported, and change nothing",
     import_params, check_columns, METHOD_READ, port_check_call},
    {0},
};

const struct module saved_module = {.name = "saved", .methods = methods};
