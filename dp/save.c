// Saving and restoring a port's counters, for migration and upgrade. Control thread.
//
// Restored counters go into the control thread's own block, so that workers' blocks keep one writer. What was restored
// before is taken out again: who imports twice counts once.
#include "save.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/conf.h"
#include "port.h"

#define N_COUNTERS (sizeof(struct port_counters) / sizeof(uint64_t))

static const struct {
	const char *name;
	size_t offset;
} fields[] = {
    {"rx_packets", offsetof(struct port_counters, rx_packets)},
    {"rx_bytes", offsetof(struct port_counters, rx_bytes)},
    {"tx_packets", offsetof(struct port_counters, tx_packets)},
    {"tx_bytes", offsetof(struct port_counters, tx_bytes)},
    {"made", offsetof(struct port_counters, made)},
    {"delivered", offsetof(struct port_counters, delivered)},
    {"consumed", offsetof(struct port_counters, consumed)},
    {"held_in", offsetof(struct port_counters, held_in)},
    {"held_out", offsetof(struct port_counters, held_out)},
};
#define N_FIELDS (sizeof(fields) / sizeof(*fields))

static uint64_t *field_of(struct port_counters *n, size_t i)
{
	return (uint64_t *)((char *)n + fields[i].offset);
}

json_t *port_save(const char *port, uint64_t *at)
{
	const struct port *p = port_find(port);
	json_t *state, *dropped;
	struct port_counters n;

	*at = 0;
	if (p == NULL)
		return NULL;
	state = json_object();
	dropped = json_object();
	port_counters_sum(p, &n);
	for (size_t i = 0; i < N_FIELDS; i++)
		json_object_set_new(state, fields[i].name, json_integer((json_int_t)*field_of(&n, i)));
	for (int d = 1; d < N_DROPS; d++)
		if (n.dropped[d] > 0)
			json_object_set_new(dropped, drop_name(d), json_integer((json_int_t)n.dropped[d]));
	json_object_set_new(state, "dropped", dropped);
	return state;
}

static uint64_t *drop_counter(struct port_counters *n, const char *name)
{
	for (int d = 1; d < N_DROPS; d++)
		if (strcmp(drop_name(d), name) == 0)
			return &n->dropped[d];
	return NULL;
}

static uint64_t *field_counter(struct port_counters *n, const char *name)
{
	for (size_t i = 0; i < N_FIELDS; i++)
		if (strcmp(fields[i].name, name) == 0)
			return field_of(n, i);
	return NULL;
}

static int count_from(const char *port, const char *name, const json_t *value, uint64_t *out, struct err *e)
{
	if (out == NULL)
		return err_add(e, -EINVAL, "port %s: its state counts %.64s, which is unknown here", port,
			       name);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return err_add(e, -EINVAL, "port %s: its state has no number of packets or bytes for %s",
			       port, name);
	*out = (uint64_t)json_integer_value(value);
	return 0;
}

// Every finding.
static int counters_from(const char *port, const json_t *state, struct port_counters *n, struct err *e)
{
	json_t *dropped = json_object_get(state, "dropped"), *value;
	const char *name;

	memset(n, 0, sizeof(*n));
	if (!json_is_object(state) || !json_is_object(dropped))
		return err_add(e, -EINVAL, "port %s: its state has no counters in it", port);
	for (size_t i = 0; i < N_FIELDS; i++)
		count_from(port, fields[i].name, json_object_get(state, fields[i].name), field_of(n, i), e);
	json_object_foreach ((json_t *)state, name, value)
		if (value != dropped && field_counter(n, name) == NULL)
			count_from(port, name, value, NULL, e);
	json_object_foreach (dropped, name, value)
		count_from(port, name, value, drop_counter(n, name), e);
	return e->code;
}

int port_check(const char *port, const json_t *conf, const json_t *rows, const json_t *records, size_t which,
	       struct err *e)
{
	struct port_counters n;

	(void)conf, (void)rows;
	if (which > 0)
		return err_add(e, -EINVAL, "port %s: its state has counters more than once", port);
	return counters_from(port, json_array_get(records, 0), &n, e);
}

struct counters_load {
	struct port *p;
	struct port_counters n;
};

static void load_publish(void *arg)
{
	struct counters_load *l = arg;
	uint64_t *all = (uint64_t *)l->p->counters[MAX_WORKERS], *before = (uint64_t *)l->p->restored;
	const uint64_t *now = (const uint64_t *)&l->n;

	for (size_t i = 0; i < N_COUNTERS; i++) {
		__atomic_store_n(&all[i], all[i] + now[i] - before[i], __ATOMIC_RELAXED);
		before[i] = now[i];
	}
}

int port_restore(struct change *ch, const char *port, const json_t *records, struct err *e)
{
	struct port *p = port_find(port);
	struct counters_load *l = malloc(sizeof(*l));

	if (p->restored == NULL)
		p->restored = calloc(1, sizeof(*p->restored));
	if (l == NULL || p->restored == NULL) {
		free(l);
		return err_set(e, -ENOMEM, "port %s: out of memory", port);
	}
	l->p = p;
	change_undo(ch, free, l);
	change_publish(ch, load_publish, l);
	change_close(ch, free, l);
	return counters_from(port, json_array_get(records, 0), &l->n, e);
}
