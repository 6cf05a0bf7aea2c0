// Calls of extensions' control methods: from a request to the jobs thread, there to one instance or to all, and back.
//
//   handler (control) ▸ call_work (jobs): evs_method.call ▸ call_worked (control) ▸ answer
//                                                        or, if it stays: evs_request.done (any) ▸ answer
//                       client gone (control) ▸ gone_work (jobs): evs_method.gone ▸ done
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blame.h"
#include "bundled.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/value.h"
#include "dp/switch.h"
#include "host.h"
#include "load.h"
#include "methods.h"

#define MAX_FILES 8

struct file {
	const char *param;
	int fd;
};

struct ext_call {
	struct evs_request is; // as the extension knows it
	struct ext_call *next, **link;
	struct request *rq;
	struct ext_object *of;
	size_t which; // of its methods
	struct ext *to[MAX_EXTS];
	uint16_t n_to;
	uint32_t port; // number, 0 = the method has none
	json_t *params;
	struct file files[MAX_FILES];
	unsigned n_files;
	unsigned n_jobs;     // control: under way
	bool ended, gone;    // control
	_Atomic bool done;   // by whoever takes the last word
	struct ext *kept_by; // jobs: the instance with which it stays; control, once n_jobs is 0
	json_t *rows;        // jobs, and then whoever calls `done`
	struct err err;
};

static struct ext_call *calls;

static const struct ext_verb *verb_of(const struct ext_call *c)
{
	return &c->of->verbs[c->which];
}

// What extensions may ask a request

static struct ext_call *call_of(const struct evs_request *r)
{
	return (struct ext_call *)r;
}

static const json_t *value(const struct evs_request *r, const char *param)
{
	return json_object_get(call_of(r)->params, param);
}

static const char *request_text(const struct evs_request *r, const char *param)
{
	return json_string_value(value(r, param));
}

static int64_t request_number(const struct evs_request *r, const char *param)
{
	const struct ext_call *c = call_of(r);
	const json_t *v = value(r, param);
	const char *port = verb_of(c)->port;

	if (port != NULL && strcmp(port, param) == 0)
		return c->port;
	return json_is_boolean(v) ? json_is_true(v) : json_integer_value(v);
}

static int request_file(const struct evs_request *r, const char *param)
{
	struct ext_call *c = call_of(r);

	for (unsigned i = 0; i < c->n_files; i++) {
		int fd = c->files[i].fd;

		if (fd < 0 || strcmp(c->files[i].param, param) != 0)
			continue;
		c->files[i].fd = -1;
		return fd;
	}
	return -1;
}

static void request_row(const struct evs_request *r, const char *text)
{
	struct ext_call *c = call_of(r);
	json_t *row = json_loads(text, 0, NULL);

	if (json_is_object(row))
		json_array_append(c->rows, row);
	else
		log_error("%s: a row of its answer is not a JSON object", c->of->methods[c->which].name);
	json_decref(row);
}

// The answer

static void call_free(struct ext_call *c)
{
	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	for (unsigned i = 0; i < c->n_files; i++)
		if (c->files[i].fd >= 0)
			close(c->files[i].fd);
	json_decref(c->params);
	json_decref(c->rows);
	ext_object_give(c->of);
	free(c);
}

static void answer(struct ext_call *c)
{
	json_t *row;
	size_t i;

	if (c->err.code == 0)
		json_array_foreach (c->rows, i, row)
			rq_row(c->rq, json_incref(row));
	rq_done(c->rq, &c->err);
	c->rq = NULL;
}

static void settle(struct ext_call *c)
{
	if (c->ended && c->rq != NULL)
		answer(c);
	if (c->ended && c->n_jobs == 0)
		call_free(c);
}

static void call_end(void *arg)
{
	struct ext_call *c = arg;

	c->ended = true;
	settle(c);
}

static void request_done(const struct evs_request *r, const struct evs_why *why)
{
	struct ext_call *c = call_of(r);

	if (atomic_exchange(&c->done, true))
		return;
	if (why != NULL && c->kept_by != NULL) {
		struct evs_why copy = *why;

		ext_refusal(c->kept_by, &copy, "ends it", &c->err);
	}
	control_post("ext method", call_end, c);
}

// On the jobs thread

static const struct evs_method *method_of(const struct ext *x, const char *name)
{
	const char *verb = strchr(name, '.') + 1;
	const struct evs_method *m = x->is.methods;

	while (m != NULL && m->name != NULL && strcmp(m->name, verb) != 0)
		m = (const void *)((const char *)m + m->size);
	return m != NULL && m->name != NULL ? m : NULL;
}

static int instance_call(struct ext_call *c, struct ext *x, struct err *e)
{
	const char *name = c->of->methods[c->which].name;
	struct evs_why why = {.size = sizeof(why)};

	if (!ext_is_callable(x))
		return err_set(e, -ENODEV, "ext %s: is not running; ext show says why", x->conf.name);
	const struct evs_method *m = method_of(x, name);

	if (m == NULL)
		return err_set(e, -ENOSYS, "ext %s: its version has no method %s", x->conf.name, name);
	c->kept_by = verb_of(c)->flags & EVS_STAYS ? x : NULL;
	blame_enter(BLAME_JOBS, x->index);
	int ret = m->call(x->self, &c->is, &why);

	blame_leave(BLAME_JOBS);
	if (ret == 0)
		return 0;
	c->kept_by = NULL;
	why.text[sizeof(why.text) - 1] = '\0';
	value_make_printable(why.text);
	return err_set(e, -EPERM, "%s",
		       why.text[0] != '\0' ? why.text : "the extension refuses it, and does not say why");
}

static void call_work(void *arg)
{
	struct ext_call *c = arg;
	struct err refusal = {0};
	uint16_t n_well = 0;

	for (uint16_t i = 0; i < c->n_to && c->kept_by == NULL; i++) {
		struct err e = {0};

		if (instance_call(c, c->to[i], &e) == 0)
			n_well++;
		else
			refusal = e;
	}
	if (n_well == 0 && c->n_to > 0)
		c->err = refusal;
}

static void gone_work(void *arg)
{
	struct ext_call *c = arg;
	struct ext *x = c->kept_by;

	if (atomic_load(&c->done) || !ext_is_callable(x))
		return;
	const struct evs_method *m = method_of(x, c->of->methods[c->which].name);

	if (m->gone == NULL)
		return;
	blame_enter(BLAME_JOBS, x->index);
	m->gone(x->self, &c->is);
	blame_leave(BLAME_JOBS);
}

// On the control thread again

static void gone_worked(void *arg)
{
	struct ext_call *c = arg;

	c->n_jobs--;
	settle(c);
}

static void gone_tell(struct ext_call *c)
{
	c->n_jobs++;
	job_run("ext method", gone_work, gone_worked, c);
}

static void call_worked(void *arg)
{
	struct ext_call *c = arg;

	c->n_jobs--;
	c->ended |= c->kept_by == NULL;
	if (!c->ended && c->gone && !c->kept_by->leaving)
		gone_tell(c);
	settle(c);
}

static void client_gone(struct request *rq, void *arg)
{
	struct ext_call *c = arg;

	(void)rq;
	c->gone = true;
	// One that is about to be destroyed ends it all the same.
	if (c->n_jobs == 0 && !c->ended && !c->kept_by->leaving)
		gone_tell(c);
}

void ext_calls_end(struct ext *x, const char *why)
{
	for (struct ext_call *c = calls, *next; c != NULL; c = next) {
		next = c->next;
		if (c->n_jobs > 0 || c->ended || c->kept_by != x || atomic_exchange(&c->done, true))
			continue;
		err_set(&c->err, -ECANCELED, "ext %s: %s", x->conf.name, why);
		// It may still come and say that it has done it: its memory stays.
		answer(c);
	}
}

// The way there

static int files_take(struct ext_call *c, const struct request *rq, struct err *e)
{
	for (const struct param *p = c->of->methods[c->which].params; p->name != NULL; p++) {
		if (p->type != PARAM_INPUT && p->type != PARAM_OUTPUT)
			continue;
		for (int i = 0, fd; c->n_files < MAX_FILES && (fd = rq_fd_at(rq, p->name, i)) >= 0; i++) {
			int mine = fcntl(fd, F_DUPFD_CLOEXEC, 3);

			if (mine < 0)
				return err_set(e, -errno, "%s: cannot take over the file %s: %s", c->of->word,
					       p->name, err_name(errno));
			c->files[c->n_files++] = (struct file){p->name, mine};
		}
	}
	return 0;
}

static bool is_instance(const struct ext *x, const struct ext_object *o)
{
	return x != NULL && !x->leaving && x->state == EXT_UP && x->is.id != NULL &&
	       strcasecmp(x->is.id, o->id) == 0;
}

static int port_target(struct ext_call *c, const char *name, struct err *e)
{
	const struct port *p = port_find(name);

	if (p == NULL || p->leaving)
		return err_set(e, -ENOENT, "port %s: no such port", name);
	c->port = p->id;
	for (uint16_t i = 0; i < MAX_EXTS && c->n_to == 0; i++)
		if (is_instance(ext_at(i), c->of) && ext_at(i)->switch_index == p->switch_index &&
		    ext_at(i)->conf.enabled)
			c->to[c->n_to++] = ext_at(i);
	if (c->n_to == 0 && c->of->bundled) {
		struct ext *x = bundled_get(p->switch_index, e);

		if (x == NULL)
			return e->code;
		c->to[c->n_to++] = x;
	}
	if (c->n_to == 0)
		return err_set(e, -ENODEV,
			       "port %s: on its switch %s the extension of %s is not running; see ext show",
			       name, switch_at(p->switch_index)->name, c->of->word);
	return 0;
}

static int targets_find(struct ext_call *c, const struct request *rq, struct err *e)
{
	const struct ext_verb *v = verb_of(c);

	if (v->port != NULL && rq_has(rq, v->port))
		return port_target(c, rq_str(rq, v->port), e);
	for (uint16_t i = 0; i < MAX_EXTS; i++)
		if (is_instance(ext_at(i), c->of))
			c->to[c->n_to++] = ext_at(i);
	return 0;
}

int ext_method_call(struct request *rq, struct err *e)
{
	struct ext_call *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return err_set(e, -ENOMEM, "%s: out of memory", rq_method(rq)->name);
	c->is = (struct evs_request){.size = sizeof(c->is),
				     .text = request_text,
				     .number = request_number,
				     .file = request_file,
				     .row = request_row,
				     .done = request_done};
	c->rq = rq;
	c->of = ext_object_of(rq_method(rq));
	c->which = rq_method(rq) - c->of->methods;
	c->of->users++;
	c->params = rq_params(rq, NULL);
	c->rows = json_array();
	c->link = &calls;
	c->next = calls;
	if (c->next != NULL)
		c->next->link = &c->next;
	calls = c;
	if (files_take(c, rq, e) < 0 || targets_find(c, rq, e) < 0) {
		call_free(c);
		return e->code;
	}
	c->n_jobs = 1;
	job_run("ext method", call_work, call_worked, c);
	return rq_later(rq, client_gone, c);
}
