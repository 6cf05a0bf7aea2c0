// Extensions as configured objects: loaded, replaced, ordered and taken out by changes.
// Control thread.
#include "ext.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blame.h"
#include "ctrl/api/conf.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "dp/switch.h"
#include "ext_feature.h"
#include "ext_kind.h"
#include "fault.h"
#include "load.h"
#include "methods.h"
#include "policy.h"
#include "ports.h"

static struct ext *exts[MAX_EXTS];
// The forward extension that is enabled, by switch. Taken on the jobs thread, where its kind is found out.
static _Atomic(struct ext *) forwards[MAX_SWITCHES];

struct ext *ext_at(uint16_t index)
{
	return index < MAX_EXTS ? exts[index] : NULL;
}

struct ext *ext_find(const char *name)
{
	for (uint16_t i = 0; i < MAX_EXTS; i++)
		if (exts[i] != NULL && !exts[i]->leaving && strcmp(exts[i]->conf.name, name) == 0)
			return exts[i];
	return NULL;
}

const char *ext_kind_name(uint32_t kind)
{
	return kind == EVS_CAPTURE   ? "capture"
	       : kind == EVS_FILTER  ? "filter"
	       : kind == EVS_FORWARD ? "forward"
				     : "";
}

const char *ext_state_name(const struct ext *x)
{
	static const char *const names[] = {"loading", "up", "failed", "faulted"};

	return x->state == EXT_UP && !x->conf.enabled ? "disabled" : names[x->state];
}

void ext_counters_sum(const struct ext *x, struct ext_counters *out)
{
	uint64_t *sum = (uint64_t *)out;

	memset(out, 0, sizeof(*out));
	for (int t = 0; t < EXT_THREADS; t++) {
		const uint64_t *part = (const uint64_t *)&x->threads[t].n;

		for (size_t i = 0; i < sizeof(*out) / sizeof(uint64_t); i++)
			sum[i] += __atomic_load_n(&part[i], __ATOMIC_RELAXED);
	}
	for (uint8_t r = 0; r < EXT_MAX_REASONS; r++)
		out->drops += x->details[r] != 0 ? drop_detail_count(x->details[r]) : 0;
}

void ext_switch_dirty(uint16_t sw)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++)
		if (port_at(i) != NULL && port_at(i)->switch_index == sw)
			port_at(i)->dirty = true;
}

void ext_fault_mark(struct ext *x, enum ext_fault f)
{
	uint32_t none = EXT_FAULT_NONE;

	atomic_compare_exchange_strong(&x->fault, &none, f);
}

// Objects

static const char *text_of(const json_t *conf, const char *key)
{
	return json_string_value(json_object_get(conf, key));
}

static int conf_from(const char *name, const json_t *conf, struct ext_conf *c)
{
	const json_t *config = json_object_get(conf, "config");
	const char *fail = text_of(conf, "fail");

	memset(c, 0, sizeof(*c));
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->switch_name, sizeof(c->switch_name), "%s", text_of(conf, "switch"));
	snprintf(c->path, sizeof(c->path), "%s", text_of(conf, "path"));
	c->config = config != NULL && !json_is_null(config)
			? json_dumps(config, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS)
			: NULL;
	c->enabled = !json_is_false(json_object_get(conf, "enabled"));
	c->fail_closed = fail != NULL && strcmp(fail, "closed") == 0;
	c->rank = json_integer_value(json_object_get(conf, "rank"));
	c->budget = json_integer_value(json_object_get(conf, "budget"));
	c->faults = json_integer_value(json_object_get(conf, "faults"));
	return config != NULL && !json_is_null(config) && c->config == NULL ? -ENOMEM : 0;
}

static void ext_free(struct ext *x)
{
	if (exts[x->index] == x)
		exts[x->index] = NULL;
	blame_name(x->index, "", 0);
	free(x->conf.config);
	free(x->threads);
	free(x);
}

static struct ext *ext_create(const char *name, const json_t *conf, struct err *e)
{
	struct evs_instance *i = calloc(1, sizeof(*i));
	static uint16_t next; // numbers are used again as late as possible: flows know theirs for a while
	uint16_t at = next, n = 0;

	for (; n < MAX_EXTS && exts[at] != NULL; n++)
		at = (at + 1) % MAX_EXTS;
	if (n == MAX_EXTS) {
		free(i);
		err_set(e, -ENOSPC, "ext %s: there are %d extensions already, which is the limit", name,
			MAX_EXTS);
		return NULL;
	}
	if (i != NULL)
		i->e.threads = aligned_alloc(64, EXT_THREADS * sizeof(struct ext_thread));
	if (i == NULL || i->e.threads == NULL || conf_from(name, conf, &i->e.conf) < 0) {
		free(i != NULL ? i->e.threads : NULL);
		free(i);
		err_set(e, -ENOMEM, "ext %s: out of memory", name);
		return NULL;
	}
	memset(i->e.threads, 0, EXT_THREADS * sizeof(struct ext_thread));
	i->e.index = at;
	i->e.switch_index = switch_find(i->e.conf.switch_name)->index;
	exts[at] = &i->e;
	next = (at + 1) % MAX_EXTS;
	blame_name(at, name, ext_fault_key(&i->e.conf));
	return &i->e;
}

// The end: on the jobs thread, where its own functions are called, and behind all that it still has to hear.

static void forward_leave(struct ext *x)
{
	struct ext *me = x;

	atomic_compare_exchange_strong(&forwards[x->switch_index], &me, NULL);
}

static void end_work(void *ext)
{
	struct ext *x = ext;

	forward_leave(x);
	ext_unload(x);
	ext_ports_forget(x);
}

static void end_done(void *ext)
{
	ext_calls_end(ext, "was unloaded");
	ext_free(ext);
}

void ext_end(void *ext)
{
	struct ext *x = ext;

	x->leaving = true;
	if (x->state == EXT_UP || x->state == EXT_FAULTED)
		ext_methods_del(x);
	for (uint8_t r = 0; r < EXT_MAX_REASONS; r++)
		drop_detail_give(x->details[r]);
	memset(x->details, 0, sizeof(x->details));
	job_run("ext end", end_work, end_done, x);
}

// Loading

struct loading {
	struct ext *x, *old; // which it takes the place of, NULL = none
	struct port_news *ports;
	struct policies *policies;
	bool restore;
	struct err err;
};

static int forward_enter(struct ext *x, const struct ext *old, struct err *e)
{
	struct ext *none = NULL;
	_Atomic(struct ext *) *at = &forwards[x->switch_index];

	if (x->is.kind != EVS_FORWARD || !x->conf.enabled || atomic_load(at) == x)
		return 0;
	if (old != NULL && atomic_load(at) == old)
		return 0; // it is handed over with the change
	if (atomic_compare_exchange_strong(at, &none, x))
		return 0;
	return err_set(e, -EBUSY,
		       "ext %s: switch %s has an enabled forward extension, %s, and may have one only; "
		       "disable that first",
		       x->conf.name, x->conf.switch_name, none->conf.name);
}

static int load(struct loading *l, struct err *e)
{
	struct ext *x = l->x;
	int ret = ext_load(x, e);

	if (ret == 0)
		ret = forward_enter(x, l->old, e);
	if (ret == 0 && l->ports != NULL)
		ret = ext_ports_tell(x, l->ports, e);
	if (ret == 0 && l->policies != NULL)
		ret = policies_tell(x, l->policies, e);
	if (ret == 0 && l->old != NULL && ext_is_callable(l->old))
		ret = ext_take_over(x, l->old, e);
	if (ret != 0) {
		forward_leave(x);
		ext_unload(x);
	}
	return ret;
}

static int loading_work(void *arg, struct err *e)
{
	struct loading *l = arg;
	int ret = load(l, &l->err);

	if (ret == 0 || l->restore)
		return 0; // at restore it comes up as failed
	*e = l->err;
	return ret;
}

static void loading_free(void *arg)
{
	struct loading *l = arg;

	ext_ports_free(l->ports);
	policies_free(l->policies);
	free(l);
}

static void loaded(void *arg)
{
	struct loading *l = arg;
	struct ext *x = l->x, *was = l->old;

	if (was != NULL)
		atomic_compare_exchange_strong(&forwards[x->switch_index], &was, x);
	if (ext_is_callable(x)) {
		x->state = EXT_UP;
		ext_methods_add(x);
		ext_ports_sync(x);
	} else {
		ext_fail(x, EXT_FAILED, l->err.text);
		log_error("ext %s: %s", x->conf.name, x->why);
	}
}

static void start_work(void *arg)
{
	struct err e = {0};

	loading_work(arg, &e);
}

static void start_done(void *arg)
{
	struct loading *l = arg;

	loaded(l);
	ext_switch_dirty(l->x->switch_index);
	change_touch(NULL, NULL);
	loading_free(l);
}

struct ext *ext_start(const char *name, const json_t *conf, struct err *e)
{
	struct ext *x = ext_create(name, conf, e);
	struct loading *l = calloc(1, sizeof(*l));

	if (x == NULL || l == NULL || (l->ports = ext_ports_now(x)) == NULL) {
		if (x != NULL) {
			err_set(e, -ENOMEM, "ext %s: out of memory", name);
			ext_free(x);
		}
		free(l);
		return NULL;
	}
	x->bundled = true;
	l->x = x;
	l->restore = true;
	job_run("ext start", start_work, start_done, l);
	return x;
}

static int load_begin(struct change *ch, struct ext *x, struct ext *old, struct err *e)
{
	struct loading *l = calloc(1, sizeof(*l));

	if (l == NULL || (l->ports = ext_ports_now(x)) == NULL ||
	    (l->policies = policies_now(x->conf.name)) == NULL) {
		if (l != NULL)
			loading_free(l);
		return err_set(e, -ENOMEM, "ext %s: out of memory", x->conf.name);
	}
	l->x = x;
	l->old = old;
	l->restore = change_is_restore(ch);
	change_undo(ch, loading_free, l);
	change_job(ch, loading_work, l);
	change_publish(ch, loaded, l);
	change_close(ch, loading_free, l);
	return 0;
}

static int add_open(struct change *ch, const char *name, const json_t *now, struct ext *old, struct err *e)
{
	struct ext *x = ext_create(name, now, e);

	if (x == NULL)
		return e->code;
	change_undo(ch, ext_end, x);
	ext_switch_dirty(x->switch_index);
	if (ext_is_left_out(x, text_of(now, "faulted"), change_is_restore(ch)))
		return 0;
	blame_forget(name);
	return load_begin(ch, x, old, e);
}

static void del_undo(void *ext)
{
	struct ext *x = ext;

	x->leaving = false;
	ext_switch_dirty(x->switch_index);
}

static void del_open(struct change *ch, struct ext *x)
{
	x->leaving = true;
	ext_switch_dirty(x->switch_index);
	change_undo(ch, del_undo, x);
	change_close(ch, ext_end, x);
}

struct ext_edit {
	struct ext *x;
	struct ext_conf conf;
	enum ext_state state;
	struct err err;
};

// It has its switch for itself again, or gives it up, as before the change.
static void forward_restore(struct ext *x)
{
	struct ext *none = NULL;

	if (!x->conf.enabled)
		forward_leave(x);
	else if (x->is.kind == EVS_FORWARD)
		atomic_compare_exchange_strong(&forwards[x->switch_index], &none, x);
}

static void edit_undo(void *arg)
{
	struct ext_edit *was = arg;
	char *config = was->x->conf.config;

	was->x->conf = was->conf;
	was->x->state = was->state;
	forward_restore(was->x);
	ext_switch_dirty(was->x->switch_index);
	free(config);
	free(was);
}

static void edit_close(void *arg)
{
	struct ext_edit *was = arg;

	free(was->conf.config);
	free(was);
}

static int edit_work(void *arg, struct err *e)
{
	struct ext_edit *was = arg;

	if (!was->x->conf.enabled)
		forward_leave(was->x);
	return was->x->conf.enabled ? forward_enter(was->x, NULL, e) : 0;
}

static int edit_open(struct change *ch, struct ext *x, const struct ext_conf *c, struct err *e)
{
	struct ext_edit *was = calloc(1, sizeof(*was));

	if (was == NULL)
		return err_set(e, -ENOMEM, "ext %s: out of memory", x->conf.name);
	*was = (struct ext_edit){.x = x, .conf = x->conf, .state = x->state};
	x->conf = *c;
	ext_switch_dirty(x->switch_index);
	change_undo(ch, edit_undo, was);
	change_job(ch, edit_work, was);
	change_close(ch, edit_close, was);
	return 0;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

// What is there serves as it is, if the same file was given the same configuration and it has not failed.
static bool is_kept(const struct ext *x, const struct ext_conf *c, const json_t *old, const json_t *now)
{
	bool says_fault = text_of(now, "faulted") != NULL;

	if (says_fault)
		return text_of(old, "faulted") == NULL; // it has just been noted
	return x->state == EXT_UP && atomic_load(&x->fault) == EXT_FAULT_NONE &&
	       strcmp(x->conf.path, c->path) == 0 && same_text(x->conf.config, c->config);
}

// The configuration says so from now on.
static void fault_noted(void *ext)
{
	blame_forget(((struct ext *)ext)->conf.name);
}

static int set_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e)
{
	struct ext *x = ext_find(name);
	struct ext_conf c;

	if (conf_from(name, now, &c) < 0)
		return err_set(e, -ENOMEM, "ext %s: out of memory", name);
	if (is_kept(x, &c, old, now)) {
		int ret = edit_open(ch, x, &c, e);

		if (ret < 0)
			free(c.config);
		else if (text_of(now, "faulted") != NULL)
			change_publish(ch, fault_noted, x);
		return ret;
	}
	free(c.config);
	del_open(ch, x);
	return add_open(ch, name, now, x, e);
}

int ext_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e)
{
	const json_t *now = conf_get(NULL, "ext", name);

	(void)target;
	if (strchr(name, ':') != NULL)
		err_add(e, -EINVAL, "ext %s: its name may have no colon", name);
	if (now != NULL && strcmp(text_of(now, "switch"), text_of(conf, "switch")) != 0)
		err_add(e, -EBUSY, "ext %s: it stays on its switch; unload it and load it again", name);
	return e->code;
}

int ext_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e)
{
	if (old == NULL)
		return add_open(ch, name, now, NULL, e);
	if (now != NULL)
		return set_open(ch, name, old, now, e);
	del_open(ch, ext_find(name));
	return 0;
}
