// config.show, config.check and config.apply: the whole configuration as one document.
//
// A document is read and decoded off the control thread (input.c, a job), then compared with the rows;
// the difference goes the way of every change, in its turn. Control thread, apply_decode() jobs thread.
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/jobs.h"
#include "api/method.h"
#include "api/module.h"
#include "change.h"
#include "conf.h"
#include "diff.h"
#include "document.h"
#include "engine.h"
#include "input.h"
#include "must.h"

#define MAX_BYTES (16u << 20)

// One config.apply or config.check on its way.
struct apply {
	struct request *rq;
	bool check;       // only says what would be done
	struct input *in; // while the document is read
	char *text;
	size_t n;
	const json_t *document; // the request's own, instead of text
	json_t *state;
	struct err e;
};

static void apply_end(struct apply *a)
{
	rq_done(a->rq, &a->e);
	json_decref(a->state);
	free(a->text);
	free(a);
}

// "1500", or what stands for a missing key.
static json_t *value_text(const json_t *value)
{
	char *dump;
	json_t *text;

	if (!value || json_is_string(value))
		return value ? json_incref((json_t *)value) : json_string("none");
	dump = must(json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT));
	text = json_string(dump);
	free(dump);
	return text;
}

// Adds "mtu 1500 -> 9000" to the list if the values differ.
static void detail_add(json_t *list, const char *key, const json_t *old, const json_t *now)
{
	json_t *a, *b;

	if (old && now && json_equal(old, now))
		return;
	a = must(value_text(old));
	b = must(value_text(now));
	json_array_append_new(list, must(json_sprintf("%s%s %s -> %s", json_array_size(list) ? ", " : "", key,
						      json_string_value(a), json_string_value(b))));
	json_decref(a);
	json_decref(b);
}

// What a change of a row changes, in words; empty for adds and deletes.
static json_t *detail_text(const struct diff_step *s)
{
	json_t *list = must(json_array()), *value, *text;
	char *joined = must(strdup(""));
	const char *key;
	size_t i, n = 0;

	if (s->old && s->now) {
		json_object_foreach (s->old, key, value)
			detail_add(list, key, value, json_object_get(s->now, key));
		json_object_foreach (s->now, key, value) {
			if (!json_object_get(s->old, key))
				detail_add(list, key, NULL, value);
		}
	}
	json_array_foreach (list, i, value) {
		joined = must(realloc(joined, n + json_string_length(value) + 1));
		memcpy(joined + n, json_string_value(value), json_string_length(value) + 1);
		n += json_string_length(value);
	}
	text = json_string(joined);
	free(joined);
	json_decref(list);
	return text;
}

static void check_row(struct request *rq, const struct diff_step *s)
{
	const char *action = !s->old ? "add" : !s->now ? "delete" : "change";

	rq_row(rq, must(json_pack("{s:s, s:s, s:s, s:o}", "kind", s->kind, "name", s->name, "action", action,
				  "detail", detail_text(s))));
}

static void check_answer(struct apply *a)
{
	struct change *ch = change_new(NULL);
	struct diff_step *steps;
	size_t n;

	change_edits(ch, diff_states(conf_rows(), a->state));
	if (change_check(ch, &steps, &n, &a->e) == 0) {
		for (size_t i = 0; i < n; i++)
			check_row(a->rq, &steps[i]);
	}
	diff_free(steps, n);
	apply_end(a);
}

// At its turn among the writers. The engine answers an accepted change.
static void apply_turn(void *arg)
{
	struct apply *a = arg;
	struct change *ch = change_new(a->rq);

	change_edits(ch, diff_states(conf_rows(), a->state));
	if (change_submit(ch, &a->e) < 0) {
		apply_end(a);
		return;
	}
	json_decref(a->state);
	free(a->text);
	free(a);
}

static void apply_decode(void *arg)
{
	struct apply *a = arg;

	if (a->document)
		document_read(a->document, &a->state, &a->e);
	else
		document_parse(a->text, a->n, &a->state, &a->e);
	if (a->e.code)
		a->state = NULL;
}

static void apply_decoded(void *arg)
{
	struct apply *a = arg;

	if (a->e.code)
		apply_end(a);
	else if (a->check)
		check_answer(a);
	else
		engine_queue(apply_turn, a);
}

static void apply_read(char *text, size_t n, const struct err *e, void *arg)
{
	struct apply *a = arg;

	a->in = NULL;
	a->text = text;
	a->n = n;
	a->e = *e;
	if (e->code)
		apply_end(a);
	else
		job_run("config", apply_decode, apply_decoded, a);
}

// Nobody waits for a document that is still being read.
static void apply_gone(struct request *rq, void *arg)
{
	struct apply *a = arg;

	(void)rq;
	if (!a->in)
		return;
	input_cancel(a->in);
	err_set(&a->e, -ECANCELED, "config: the client has gone");
	apply_end(a);
}

static int apply_start(struct request *rq, bool check, struct err *e)
{
	struct apply *a;

	if (rq_has(rq, "file") == rq_has(rq, "document"))
		return err_set(e, -EINVAL, "config %s: give either file FILE or document JSON",
			       check ? "check" : "apply");
	a = must(calloc(1, sizeof(*a)));
	*a = (struct apply){.rq = rq, .check = check, .document = rq_get(rq, "document")};
	if (a->document)
		job_run("config", apply_decode, apply_decoded, a);
	else
		a->in = input_start(rq_fd(rq, "file"), MAX_BYTES, apply_read, a);
	return rq_later(rq, apply_gone, a);
}

static int config_apply(struct request *rq, struct err *e)
{
	return apply_start(rq, false, e);
}

static int config_check(struct request *rq, struct err *e)
{
	return apply_start(rq, true, e);
}

static int config_show(struct request *rq, struct err *e)
{
	(void)e;
	rq_result(rq, document_make(conf_rows()));
	return 0;
}

static const struct param document_params[] = {
    {.name = "file",
     .type = PARAM_INPUT,
     .help = "document as 'config show' prints it, at most 16 MiB; - = standard input"},
    {.name = "document", .type = PARAM_JSON, .help = "the document itself, instead of a file"},
    {0},
};

static const struct column check_columns[] = {
    {.name = "kind", .help = "kind of object"},
    {.name = "name", .help = "name of the object"},
    {.name = "action", .help = "add, change or delete"},
    {.name = "detail", .help = "what would change"},
    {0},
};

static const struct method methods[] = {
    {.name = "config.show", .help = "print the whole configuration as one document", .call = config_show},
    {.name = "config.check",
     .help = "say what applying a document would change, and change nothing",
     .params = document_params,
     .columns = check_columns,
     .call = config_check},
    {.name = "config.apply",
     .help = "make the configuration that of a document, all or nothing, touching only what differs",
     .params = document_params,
     .flags = METHOD_WRITE,
     .call = config_apply},
    {0},
};

const struct module config_module = {.name = "config", .methods = methods};
