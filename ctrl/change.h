// A change from the inside: what the engine carries through a batch. Features see ctrl/api/conf.h.
//
// Belongs to its maker until change_submit() or change_check(), then to the engine. Control thread.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "api/conf.h"
#include "conf.h"

struct diff_step;

struct hook {
	void (*fn)(void *arg);
	void *arg;
};

struct hooks {
	struct hook *at;
	size_t n, max;
};

struct job {
	int (*work)(void *arg, struct err *e);
	void *arg;
	struct err e;
};

struct change {
	struct change *next; // of the batch
	struct request *rq;  // NULL = quiet
	void (*done)(const struct err *e, void *arg);
	void *arg;
	bool restore;
	bool touch;   // a new snapshot even without edits
	bool whole;   // the edits are a document's; its client is told of progress
	struct err e; // finding about a row that was put
	struct conf_view view;
	int (*opened)(struct change *ch, void *arg, struct err *e); // NULL = none
	void *opened_arg;
	struct diff_step *steps;
	size_t n_steps;
	struct hooks undo, publish, close;
	struct job *jobs;
	size_t n_jobs, n_jobs_done;
};

// Like change_new() for a change that no client asked for: done(e, arg) takes the place of the answer.
// It is not called when change_submit() refuses.
struct change *change_new_quiet(void (*done)(const struct err *e, void *arg), void *arg);
// One edit: conf is decoded, NULL is not taken (JSON null deletes). Takes over the reference.
void change_edit(struct change *ch, const char *kind, const char *name, json_t *conf);
// The change's whole edits, as a document's difference ({kind: {name: conf or null}}, confs decoded;
// takes over the reference). Its request is told of progress.
void change_edits(struct change *ch, json_t *edits);
// Calls fn(ch, arg, e) when all rows are open: as conf_kind.open, it may refuse and register steps.
void change_then(struct change *ch, int (*fn)(struct change *ch, void *arg, struct err *e), void *arg);
// What change_submit() would do, without doing it. Frees `ch` on both ways; the steps are freed with
// diff_free().
int change_check(struct change *ch, struct diff_step **steps, size_t *n, struct err *e);

// For the engine.
void change_take_back(struct change *ch); // runs the undo hooks in reverse and restores the rows
void change_hooks_run(struct hooks *h);   // once, in order
void change_progress(const struct change *ch);
void change_answer(struct change *ch, const struct err *e);
void change_free(struct change *ch);
