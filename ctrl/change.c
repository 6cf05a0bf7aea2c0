// One change: its edits, what must happen with it, and the way it is opened and taken back.
//
// A write handler makes it and submits it; from then on the engine carries it through its batch. The
// rows move when a change opens, so that the next one of the batch finds them as they will be.
// Control thread.
#include "change.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/log.h"
#include "diff.h"
#include "engine.h"
#include "must.h"

struct change *change_new(struct request *rq)
{
	struct change *ch = must(calloc(1, sizeof(*ch)));

	ch->rq = rq;
	ch->view.edits = must(json_object());
	return ch;
}

struct change *change_new_quiet(void (*done)(const struct err *e, void *arg), void *arg)
{
	struct change *ch = change_new(NULL);

	ch->done = done;
	ch->arg = arg;
	return ch;
}

void change_free(struct change *ch)
{
	json_decref(ch->view.edits);
	diff_free(ch->steps, ch->n_steps);
	free(ch->undo.at);
	free(ch->publish.at);
	free(ch->close.at);
	free(ch->jobs);
	free(ch);
}

void change_edit(struct change *ch, const char *kind, const char *name, json_t *conf)
{
	json_t *rows = json_object_get(ch->view.edits, kind);

	assert(conf_kind_find(kind));
	if (!rows) {
		rows = must(json_object());
		json_object_set_new(ch->view.edits, kind, rows);
	}
	json_object_set_new(rows, name, conf);
}

void change_put(struct change *ch, const char *kind, const char *name, json_t *conf)
{
	json_t *row;

	if (conf_decode(kind, name, conf, &row, &ch->e) == 0)
		change_edit(ch, kind, name, row);
	json_decref(conf);
}

void change_del(struct change *ch, const char *kind, const char *name)
{
	change_edit(ch, kind, name, json_null());
}

void change_edits(struct change *ch, json_t *edits)
{
	json_decref(ch->view.edits);
	ch->view.edits = edits;
	ch->whole = true;
}

bool change_is_restore(const struct change *ch)
{
	return ch->restore;
}

static void hooks_add(struct hooks *h, void (*fn)(void *arg), void *arg)
{
	if (h->n == h->max) {
		h->max = h->max ? h->max * 2 : 8;
		h->at = must(realloc(h->at, h->max * sizeof(*h->at)));
	}
	h->at[h->n++] = (struct hook){fn, arg};
}

void change_hooks_run(struct hooks *h)
{
	for (size_t i = 0; i < h->n; i++)
		h->at[i].fn(h->at[i].arg);
	h->n = 0;
}

void change_undo(struct change *ch, void (*fn)(void *arg), void *arg)
{
	hooks_add(&ch->undo, fn, arg);
}

void change_publish(struct change *ch, void (*fn)(void *arg), void *arg)
{
	hooks_add(&ch->publish, fn, arg);
}

void change_close(struct change *ch, void (*fn)(void *arg), void *arg)
{
	hooks_add(&ch->close, fn, arg);
}

void change_job(struct change *ch, int (*work)(void *arg, struct err *e), void *arg)
{
	ch->jobs = must(realloc(ch->jobs, (ch->n_jobs + 1) * sizeof(*ch->jobs)));
	ch->jobs[ch->n_jobs++] = (struct job){.work = work, .arg = arg};
}

void change_then(struct change *ch, int (*fn)(struct change *ch, void *arg, struct err *e), void *arg)
{
	ch->opened = fn;
	ch->opened_arg = arg;
}

void change_needs_snapshot(struct change *ch)
{
	ch->touch = true;
}

// Completes and checks the edits, and makes the steps of them.
static int change_plan(struct change *ch, struct err *e)
{
	if (ch->e.code)
		return err_add(e, ch->e.code, "%s", ch->e.text);
	conf_cascade(&ch->view);
	if (conf_validate(&ch->view, e) < 0)
		return e->code;
	ch->n_steps = diff_steps(conf_kinds(), conf_rows(), ch->view.edits, &ch->steps);
	return 0;
}

void change_take_back(struct change *ch)
{
	for (size_t i = ch->undo.n; i-- > 0;)
		ch->undo.at[i].fn(ch->undo.at[i].arg);
	for (size_t i = ch->n_steps; i-- > 0;)
		conf_row_set(ch->steps[i].kind, ch->steps[i].name, json_incref(ch->steps[i].old));
}

static int change_open(struct change *ch, struct err *e)
{
	int rc = 0;

	// all rows first: what opens finds the others as they will be
	for (size_t i = 0; i < ch->n_steps; i++)
		conf_row_set(ch->steps[i].kind, ch->steps[i].name, json_incref(ch->steps[i].now));
	for (size_t i = 0; i < ch->n_steps && rc == 0; i++) {
		const struct diff_step *s = &ch->steps[i];

		rc = conf_kind_find(s->kind)->open(ch, s->name, s->old, s->now, e);
	}
	if (rc == 0 && ch->opened)
		rc = ch->opened(ch, ch->opened_arg, e);
	if (rc < 0)
		change_take_back(ch);
	return rc < 0 ? rc : 0;
}

void change_progress(const struct change *ch)
{
	if (ch->rq && ch->whole)
		rq_progress(ch->rq, ch->n_steps + ch->n_jobs_done, ch->n_steps + ch->n_jobs);
}

void change_answer(struct change *ch, const struct err *e)
{
	if (ch->rq)
		rq_done(ch->rq, e);
	else if (ch->done)
		ch->done(e, ch->arg);
	ch->rq = NULL;
	ch->done = NULL;
}

int change_submit(struct change *ch, struct err *e)
{
	struct err why = {0};
	int rc = change_plan(ch, &why);

	if (rc == 0)
		rc = change_open(ch, &why);
	if (rc < 0) {
		change_free(ch);
		return err_set(e, rc, "%s", why.text[0] ? why.text : "refused without a reason");
	}
	if (ch->rq)
		rq_later(ch->rq, NULL, NULL);
	change_progress(ch);
	engine_add(ch);
	return 0;
}

int change_check(struct change *ch, struct diff_step **steps, size_t *n, struct err *e)
{
	int rc = change_plan(ch, e);

	*steps = ch->steps;
	*n = ch->n_steps;
	ch->steps = NULL;
	ch->n_steps = 0;
	change_free(ch);
	return rc;
}

int conf_add(struct request *rq, const char *kind, const char *name, json_t *conf, struct err *e)
{
	struct change *ch;

	if (conf_get(NULL, kind, name)) {
		json_decref(conf);
		return err_set(e, -EEXIST, "%s %s: already exists", kind, name);
	}
	ch = change_new(rq);
	change_put(ch, kind, name, conf);
	return change_submit(ch, e);
}

static json_t *row_with(const json_t *old, json_t *keys)
{
	json_t *row = must(json_copy((json_t *)old));

	json_object_update(row, keys);
	json_decref(keys);
	return row;
}

int conf_set(struct request *rq, const char *kind, const char *name, json_t *keys, struct err *e)
{
	const json_t *old = conf_get(NULL, kind, name);
	struct change *ch;

	if (!old) {
		json_decref(keys);
		return err_set(e, -ENOENT, "%s %s: no such %s", kind, name, kind);
	}
	ch = change_new(rq);
	change_put(ch, kind, name, row_with(old, keys)); // drops the nulls
	return change_submit(ch, e);
}

struct set_soon {
	char *kind, *name;
	json_t *keys;
};

static void set_soon_done(const struct err *e, void *arg)
{
	(void)arg;
	if (e && e->code)
		log_warn("%s", e->text);
}

static void set_soon_turn(void *arg)
{
	struct set_soon *s = arg;
	const json_t *old = conf_get(NULL, s->kind, s->name);
	struct err e = {0};

	if (old) {
		struct change *ch = change_new_quiet(set_soon_done, NULL);

		change_put(ch, s->kind, s->name, row_with(old, json_incref(s->keys)));
		if (change_submit(ch, &e) < 0)
			set_soon_done(&e, NULL);
	}
	json_decref(s->keys);
	free(s->kind);
	free(s->name);
	free(s);
}

void conf_set_soon(const char *kind, const char *name, json_t *keys)
{
	struct set_soon *s = must(malloc(sizeof(*s)));

	*s = (struct set_soon){must(strdup(kind)), must(strdup(name)), keys};
	engine_queue(set_soon_turn, s);
}

int conf_del(struct request *rq, const char *kind, const char *name, struct err *e)
{
	struct change *ch;

	if (!conf_get(NULL, kind, name))
		return err_set(e, -ENOENT, "%s %s: no such %s", kind, name, kind);
	ch = change_new(rq);
	change_del(ch, kind, name);
	return change_submit(ch, e);
}
