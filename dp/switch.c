// Switches: the configured kind, and ageing of their forwarding databases. Control thread.
#include "switch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_random.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/err.h"
#include "ctrl/api/timer.h"
#include "switch_kind.h"
#include "worker.h"

#define AGE_SLICES    10 // the whole table once in so many seconds
#define AGE_PERIOD_US 10000
#define TICKS_PER_S   (1000000 / AGE_PERIOD_US)

static struct vswitch *switches[MAX_SWITCHES];
static struct timer *age_timer;

struct vswitch *switch_at(uint16_t index)
{
	return index < MAX_SWITCHES ? switches[index] : NULL;
}

struct vswitch *switch_find(const char *name)
{
	for (uint16_t i = 0; i < MAX_SWITCHES; i++)
		if (switches[i] != NULL && !switches[i]->leaving && strcmp(switches[i]->name, name) == 0)
			return switches[i];
	return NULL;
}

uint16_t switches_n(void)
{
	uint16_t n = MAX_SWITCHES;

	while (n > 0 && switches[n - 1] == NULL)
		n--;
	return n;
}

// A small slice per tick, so that ageing never holds the control thread. By a worker's clock, which stamps what is
// learned; without workers nothing is.
static void age_tick(void *arg)
{
	const struct worker *w = worker_first();

	if (w == NULL)
		return;
	uint32_t now_s = __atomic_load_n(&w->now_s, __ATOMIC_RELAXED);

	(void)arg;
	for (uint16_t i = 0; i < MAX_SWITCHES; i++)
		if (switches[i] != NULL)
			fdb_age(switches[i]->fdb,
				fdb_n_buckets(switches[i]->fdb) / (AGE_SLICES * TICKS_PER_S) + 1, now_s,
				FDB_AGE_DEFAULT_S);
}

int switch_init(struct err *e)
{
	age_timer = timer_start("fdb ageing", AGE_PERIOD_US, AGE_PERIOD_US, age_tick, NULL);
	return age_timer != NULL ? 0 : err_set(e, -ENOMEM, "switch: out of memory");
}

static void switch_free(void *arg)
{
	struct vswitch *vs = arg;

	switches[vs->index] = NULL;
	fdb_destroy(vs->fdb);
	free(vs);
}

void switch_fini(void)
{
	timer_stop(age_timer);
	age_timer = NULL;
	for (uint16_t i = 0; i < MAX_SWITCHES; i++)
		if (switches[i] != NULL)
			switch_free(switches[i]);
}

static int switch_add_open(struct change *ch, const char *name, const json_t *now, struct err *e)
{
	const char *kind = json_string_value(json_object_get(now, "kind"));
	uint16_t at = 0;

	while (at < MAX_SWITCHES && switches[at] != NULL)
		at++;
	if (at == MAX_SWITCHES)
		return err_set(e, -ENOSPC, "switch %s: there are %u switches already, which is the limit",
			       name, MAX_SWITCHES);
	struct vswitch *vs = calloc(1, sizeof(*vs));

	if (vs == NULL || (vs->fdb = fdb_create(FDB_MAX_DEFAULT, MAX_PORTS, rte_rand())) == NULL) {
		free(vs);
		return err_set(e, -ENOMEM, "switch %s: out of memory", name);
	}
	snprintf(vs->name, sizeof(vs->name), "%s", name);
	vs->kind = strcmp(kind, "external") == 0   ? SWITCH_EXTERNAL
		   : strcmp(kind, "internal") == 0 ? SWITCH_INTERNAL
						   : SWITCH_PRIVATE;
	vs->index = at;
	switches[at] = vs;
	change_undo(ch, switch_free, vs);
	return 0;
}

static void del_undo(void *vs)
{
	((struct vswitch *)vs)->leaving = false;
}

// Kind and bandwidth mode stay as they are for a switch's life.
int switch_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e)
{
	const json_t *now = conf_get(NULL, "switch", name);

	(void)target;
	if (now != NULL && !json_equal(now, conf))
		return err_set(e, -EBUSY,
			       "switch %s: its kind and bandwidth mode are fixed; delete it and add it again",
			       name);
	return 0;
}

int switch_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e)
{
	struct vswitch *vs = switch_find(name);

	if (old == NULL)
		return switch_add_open(ch, name, now, e);
	vs->leaving = true;
	change_undo(ch, del_undo, vs);
	change_close(ch, switch_free, vs);
	return 0;
}
