// Objects that write down what a change does with them. The test is the control thread; `thing_work`
// runs on the jobs thread.
#include "change_rig.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/change.h"
#include "ctrl/conf.h"
#include "ctrl/engine.h"
#include "ctrl/loop.h"
#include "ctrl/store.h"

static char dir[64], path[96];
static char done[4096]; // what was done, in words
static pthread_t control;
int grace_rounds;
bool build_fails;

static void note(const char *what, const char *name)
{
	size_t n = strlen(done);

	ck_assert(pthread_equal(pthread_self(), control));
	snprintf(done + n, sizeof(done) - n, "%s%s%s ", what, *name ? ":" : "", name);
}

const char *history(void)
{
	static char copy[sizeof(done)];

	strcpy(copy, done);
	done[0] = '\0';
	return copy;
}

static void thing_undo(void *arg)
{
	note("undo", arg);
	free(arg);
}

static void thing_publish(void *arg)
{
	note("publish", arg);
}

static void thing_close(void *arg)
{
	note("close", arg);
	free(arg);
}

static int thing_work(void *arg, struct err *e)
{
	ck_assert(!pthread_equal(pthread_self(), control));
	if (strcmp(arg, "broken") == 0)
		return err_set(e, -ENODEV, "thing broken: no such device");
	return 0;
}

// mtu 13 fails to open, job = yes gives work to the jobs thread.
static int thing_open(struct change *ch, const char *name, const json_t *old, const json_t *now,
		      struct err *e)
{
	char *copy = strdup(name);

	note(!old ? "add" : !now ? "del" : "set", name);
	change_undo(ch, thing_undo, copy);
	if (json_integer_value(json_object_get(now, "mtu")) == 13)
		return err_set(e, -EIO, "thing %s: cannot open", name);
	if (json_is_true(json_object_get(now, "job")))
		change_job(ch, thing_work, copy);
	change_publish(ch, thing_publish, copy);
	change_close(ch, thing_close, copy);
	return 0;
}

static int thing_validate(const struct conf_view *v, const char *name, const json_t *conf, struct err *e)
{
	(void)v;
	if (json_integer_value(json_object_get(conf, "mtu")) == 7)
		return err_add(e, -EINVAL, "thing %s: mtu 7 is no mtu", name);
	return 0;
}

static const struct param thing_params[] = {
    {.name = "mtu", .type = PARAM_INT, .def = "1500", .min = 0, .max = 9216},
    {.name = "mac", .type = PARAM_MAC},
    {.name = "job", .type = PARAM_BOOL},
    {0},
};
static const struct conf_ref tail_refs[] = {{CONF_OWNER, "thing", NULL}, {0}};
static const struct param tail_params[] = {{.name = "mtu", .type = PARAM_INT, .max = 9999}, {0}};
static const struct conf_kind kinds[] = {
    {.name = "thing", .params = thing_params, .validate = thing_validate, .open = thing_open},
    {.name = "tail", .params = tail_params, .refs = tail_refs, .open = thing_open},
    {0},
};
static const struct module module = {.name = "test", .kinds = kinds};
static const struct module *const mods[] = {&module, NULL};

static int disk_count(const char *kind, const char *name, const char *conf, void *arg, struct err *e)
{
	(void)kind;
	(void)name;
	(void)conf;
	(void)e;
	++*(int *)arg;
	return 0;
}

int disk_rows(void)
{
	struct err e = {0};
	int n = 0;

	ck_assert_msg(store_load(disk_count, &n, &e) == 0, "%s", e.text);
	return n;
}

static int target_build(struct err *e)
{
	char rows[8];

	snprintf(rows, sizeof(rows), "%d", disk_rows());
	note("build", rows);
	return build_fails ? err_set(e, -ENOMEM, "no memory for the snapshot") : 0;
}

static void target_discard(void)
{
	note("discard", "");
}

static void target_publish(void)
{
	char rows[8];

	snprintf(rows, sizeof(rows), "%d", disk_rows());
	note("snapshot", rows);
}

static bool target_grace_over(void)
{
	note(grace_rounds > 0 ? "grace" : "over", "");
	return grace_rounds == 0 || grace_rounds-- == 0;
}

static const struct change_target target = {target_build, target_discard, target_publish, target_grace_over};

void store_start(void)
{
	struct err e = {0};

	conf_init(mods);
	ck_assert_msg(store_open(path, &e) == 0, "%s", e.text);
}

void store_stop(void)
{
	store_close();
	conf_fini();
}

void idle(void)
{
	while (!engine_is_idle())
		loop_turn();
}

void change_setup(void)
{
	struct err e = {0};

	strcpy(dir, "/tmp/evs-change-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/state.db", dir);
	control = pthread_self();
	ck_assert_int_eq(loop_init(&e), 0);
	change_target_set(&target);
	store_start();
}

void change_teardown(void)
{
	char cmd[192];

	store_stop();
	loop_fini();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

void ask_answered(const struct err *e, void *arg)
{
	struct ask *a = arg;

	a->answer = e && e->code ? "refused" : "ok";
	if (e)
		a->e = *e;
	note(a->answer, a->name);
}

json_t *conf_text(const char *text)
{
	char copy[256];
	json_t *v;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	v = json_loads(copy, 0, NULL);
	ck_assert_msg(v != NULL, "%s", copy);
	return v;
}

void ask_turn(void *arg)
{
	struct ask *a = arg;
	struct change *ch = change_new_quiet(ask_answered, a);

	if (strcmp(a->verb, "del") == 0)
		change_del(ch, a->kind, a->name);
	else
		change_put(ch, a->kind, a->name, conf_text(a->conf));
	if (strcmp(a->verb, "two") == 0)
		change_put(ch, a->kind, "second", conf_text("{'mtu': 13}"));
	if (change_submit(ch, &a->e) < 0)
		ask_answered(&a->e, a);
}

void ask_queue(struct ask *a)
{
	engine_queue(ask_turn, a);
}

void ask_now(const char *verb, const char *kind, const char *name, const char *text)
{
	struct ask a = {.verb = verb, .kind = kind, .name = name, .conf = text};

	ask_queue(&a);
	idle();
	ck_assert_msg(a.e.code == 0, "%s", a.e.text);
	history();
}
