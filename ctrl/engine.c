// The engine: carries changes through their batch.
//
//   turn: run the waiting requests; each change is validated and opened (change.c)
//     ▸ jobs of the last change ▸ build ▸ commit of the whole batch ▸ publish ▸ grace ▸ answers ▸ close
//
// A refusal up to the jobs takes back one change; one by build or commit takes back the batch, in
// reverse. Control thread; jobs and the commit run elsewhere and come back by control_post().
#include "engine.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "api/jobs.h"
#include "api/log.h"
#include "api/timer.h"
#include "change.h"
#include "conf.h"
#include "diff.h"
#include "must.h"
#include "request.h"
#include "store.h"

#define MAX_BATCH     64 // requests run in one go: bounds the time the loop is away
#define GRACE_MIN_US  100
#define GRACE_MAX_US  1000
#define GRACE_WARN_NS 1000000000ull

struct turn {
	struct turn *next;
	void (*fn)(void *arg);
	void *arg;
};

static struct engine {
	struct turn *first, **last; // who waits
	bool in_turn;               // handlers may submit now
	bool busy;                  // a batch is on its way, or is about to start
	struct change *batch, **batch_end, *newest;
	json_t *touched; // {kind: {name: null}}: rows that the disk may have otherwise than conf_rows()
	struct store_edit *edits; // of the commit under way
	size_t n_edits;
	struct err e; // why the batch is refused
	struct change_target target;
	bool built;
	uint64_t grace_start_ns, grace_us;
	bool grace_warned;
} en = {.last = &en.first, .batch_end = &en.batch};

static void batch_start(void *arg);
static void batch_build(void);

void change_target_set(const struct change_target *t)
{
	en.target = t ? *t : (struct change_target){0};
}

bool engine_is_idle(void)
{
	return !en.busy && !en.first;
}

void engine_add(struct change *ch)
{
	assert(en.in_turn);
	*en.batch_end = ch;
	en.batch_end = &ch->next;
	en.newest = ch;
}

void engine_queue(void (*fn)(void *arg), void *arg)
{
	struct turn *t = must(calloc(1, sizeof(*t)));

	*t = (struct turn){.fn = fn, .arg = arg};
	*en.last = t;
	en.last = &t->next;
	if (!en.busy) {
		// later, so that requests that came together go together
		en.busy = true;
		control_post("change", batch_start, NULL);
	}
}

static void hook_turn(void *arg)
{
	request_run(arg);
}

void engine_hook(struct request *rq)
{
	engine_queue(hook_turn, rq);
}

// No change of the batch has an effect: answered without a snapshot.
static bool batch_is_empty(void)
{
	for (const struct change *ch = en.batch; ch; ch = ch->next) {
		if (ch->n_steps > 0 || ch->touch)
			return false;
	}
	return true;
}

struct touch {
	void (*published)(void *arg);
	void *arg;
};

static void touch_turn(void *arg)
{
	struct touch *t = arg;
	struct change *ch = change_new_quiet(NULL, NULL);

	ch->touch = true;
	if (t->published)
		change_publish(ch, t->published, t->arg);
	free(t);
	engine_add(ch);
}

void change_touch(void (*published)(void *arg), void *arg)
{
	struct touch *t = must(malloc(sizeof(*t)));

	*t = (struct touch){published, arg};
	engine_queue(touch_turn, t);
}

// Answers all, then closes what they replaced, and lets the next batch begin.
static void batch_end(const struct err *e)
{
	struct change *batch = en.batch, *next;

	en.batch = NULL;
	en.batch_end = &en.batch;
	en.newest = NULL;
	for (struct change *ch = batch; ch; ch = ch->next)
		change_answer(ch, e);
	for (struct change *ch = batch; ch; ch = next) {
		next = ch->next;
		if (!e)
			change_hooks_run(&ch->close);
		change_free(ch);
	}
	en.busy = en.first != NULL;
	if (en.busy)
		control_post("change", batch_start, NULL);
}

static void take_back_from(struct change *ch)
{
	if (!ch)
		return;
	take_back_from(ch->next);
	change_take_back(ch);
}

// Takes the last change out of the batch.
static void newest_refuse(const struct err *e)
{
	struct change **at = &en.batch, *ch = en.newest;

	while (*at != ch)
		at = &(*at)->next;
	*at = NULL;
	en.batch_end = at;
	en.newest = NULL;
	change_take_back(ch);
	change_answer(ch, e);
	change_free(ch);
}

static void job_work(void *arg)
{
	struct job *j = arg;

	if (j->work(j->arg, &j->e) < 0 && !j->e.code)
		err_set(&j->e, -EIO, "refused without a reason");
}

static void jobs_next(void *arg)
{
	struct change *ch = en.newest;
	struct job *j = arg;

	if (j) {
		ch->n_jobs_done++;
		change_progress(ch);
	}
	if (j && j->e.code) {
		struct err e = j->e;

		newest_refuse(&e);
	} else if (ch && ch->n_jobs_done < ch->n_jobs) {
		j = &ch->jobs[ch->n_jobs_done];
		job_run("change", job_work, jobs_next, j);
		return;
	}
	batch_build();
}

// Lets the requests that wait have their turn. A change with jobs is the last of its batch.
static void batch_start(void *arg)
{
	struct turn *t;

	(void)arg;
	en.in_turn = true;
	for (size_t i = 0; en.first && i < MAX_BATCH && !(en.newest && en.newest->n_jobs > 0); i++) {
		t = en.first;
		en.first = t->next;
		if (!en.first)
			en.last = &en.first;
		t->fn(t->arg);
		free(t);
	}
	en.in_turn = false;
	jobs_next(NULL);
}

static void grace_poll(void *arg)
{
	(void)arg;
	if (!en.target.grace_over || en.target.grace_over()) {
		batch_end(NULL);
		return;
	}
	if (!en.grace_warned && time_ns() - en.grace_start_ns > GRACE_WARN_NS) {
		log_warn("a worker has not taken the last change for a second: its requests wait");
		en.grace_warned = true;
	}
	must(timer_start("grace", en.grace_us, 0, grace_poll, NULL));
	en.grace_us = en.grace_us * 2 < GRACE_MAX_US ? en.grace_us * 2 : GRACE_MAX_US;
}

static void batch_publish(void)
{
	for (struct change *ch = en.batch; ch; ch = ch->next)
		change_hooks_run(&ch->publish);
	if (en.target.publish)
		en.target.publish();
	en.grace_start_ns = time_ns();
	en.grace_us = GRACE_MIN_US;
	en.grace_warned = false;
	grace_poll(NULL);
}

static void edits_free(void)
{
	for (size_t i = 0; i < en.n_edits; i++) {
		free(en.edits[i].kind);
		free(en.edits[i].name);
		free(en.edits[i].conf);
	}
	free(en.edits);
	en.edits = NULL;
	en.n_edits = 0;
}

// The touched rows as they are now.
static void edits_make(void)
{
	const char *kind, *name;
	json_t *names, *value;

	json_object_foreach (en.touched, kind, names) {
		json_object_foreach (names, name, value) {
			const json_t *row = conf_get(NULL, kind, name);
			struct store_edit *d;

			en.edits = must(realloc(en.edits, (en.n_edits + 1) * sizeof(*en.edits)));
			d = &en.edits[en.n_edits++];
			d->kind = must(strdup(kind));
			d->name = must(strdup(name));
			d->conf = row ? must(json_dumps(row, JSON_COMPACT | JSON_SORT_KEYS)) : NULL;
		}
	}
}

static void touched_add(const struct diff_step *s)
{
	json_t *names;

	en.touched = en.touched ? en.touched : must(json_object());
	names = json_object_get(en.touched, s->kind);
	if (!names) {
		names = must(json_object());
		json_object_set_new(en.touched, s->kind, names);
	}
	json_object_set_new(names, s->name, json_null());
}

static void touched_clear(void)
{
	json_decref(en.touched);
	en.touched = NULL;
}

// A commit that failed may yet have reached the disk: the rows it touched were written once more, as
// they were. If that failed too, the next commit does it.
static void repaired(const struct err *e, void *arg)
{
	(void)arg;
	edits_free();
	if (!e->code)
		touched_clear();
	batch_end(&en.e);
}

static void batch_refuse(void)
{
	if (en.built && en.target.discard)
		en.target.discard();
	take_back_from(en.batch);
}

static void committed(const struct err *e, void *arg)
{
	(void)arg;
	edits_free();
	if (!e->code) {
		touched_clear();
		batch_publish();
		return;
	}
	en.e = *e;
	batch_refuse();
	edits_make();
	store_commit(en.edits, en.n_edits, repaired, NULL);
}

static int target_build(void)
{
	en.e = (struct err){0};
	en.built = false;
	if (!en.target.build)
		return 0;
	if (en.target.build(&en.e) < 0)
		return en.e.code ? en.e.code : err_set(&en.e, -ENOMEM, "the data plane refused the change");
	en.built = true;
	return 0;
}

static void batch_build(void)
{
	if (batch_is_empty()) {
		batch_end(NULL);
		return;
	}
	if (target_build() < 0) {
		batch_refuse();
		batch_end(&en.e);
		return;
	}
	for (struct change *ch = en.batch; ch; ch = ch->next) {
		for (size_t i = 0; i < ch->n_steps; i++)
			touched_add(&ch->steps[i]);
	}
	if (!en.touched) { // devices only: nothing for the disk
		batch_publish();
		return;
	}
	edits_make();
	store_commit(en.edits, en.n_edits, committed, NULL);
}

// --- restore

static int restore_row(const char *kind, const char *name, const char *text, void *arg, struct err *e)
{
	struct change *ch = arg;
	struct err why = {0};
	json_error_t at;
	json_t *in, *row;

	if (!conf_kind_find(kind))
		return err_set(e, -EINVAL, "state: %s %s: this evswitch knows no %s", kind, name, kind);
	in = json_loads(text, JSON_REJECT_DUPLICATES, &at);
	if (!in)
		return err_set(e, -EINVAL, "state: %s %s: is not valid JSON: %s", kind, name, at.text);
	if (conf_decode(kind, name, in, &row, &why) == 0)
		change_edit(ch, kind, name, row);
	json_decref(in);
	return why.code ? err_set(e, why.code, "state: %s", why.text) : 0;
}

struct restore_jobs {
	struct change *ch;
	sem_t ended;
};

static void restore_work(void *arg)
{
	struct restore_jobs *r = arg;

	for (size_t i = 0; i < r->ch->n_jobs; i++)
		job_work(&r->ch->jobs[i]);
	sem_post(&r->ended);
}

// Waits, as nothing else runs yet.
static void restore_jobs(struct change *ch)
{
	struct restore_jobs r = {.ch = ch};

	if (ch->n_jobs == 0)
		return;
	sem_init(&r.ended, 0, 0);
	job_run("restore", restore_work, NULL, &r);
	while (sem_wait(&r.ended) < 0 && errno == EINTR)
		;
	sem_destroy(&r.ended);
	for (size_t i = 0; i < ch->n_jobs; i++) {
		if (ch->jobs[i].e.code)
			log_warn("%s", ch->jobs[i].e.text);
	}
	ch->n_jobs_done = ch->n_jobs;
}

int change_restore(struct err *e)
{
	struct change *ch = change_new(NULL);
	int rc;

	ch->restore = true;
	rc = store_load(restore_row, ch, e);
	if (rc < 0) {
		change_free(ch);
		return rc;
	}
	en.busy = en.in_turn = true;
	rc = change_submit(ch, e);
	en.in_turn = false;
	if (rc < 0) {
		en.busy = false;
		return rc;
	}
	restore_jobs(ch);
	if (target_build() < 0) {
		*e = en.e;
		batch_refuse();
		batch_end(&en.e);
		return e->code;
	}
	batch_publish();
	return 0;
}
