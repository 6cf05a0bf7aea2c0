// The difference of two states, and the order in which a set of edits is carried out.
//
// Used by the change engine for every request and by config.apply and config.check for whole
// documents. Pure: no state of its own, any thread.
#include "diff.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"

static void edit_set(json_t *edits, const char *kind, const char *name, json_t *conf)
{
	json_t *rows = json_object_get(edits, kind);

	if (!rows) {
		rows = must(json_object());
		json_object_set_new(edits, kind, rows);
	}
	json_object_set_new(rows, name, conf);
}

json_t *diff_states(const json_t *from, const json_t *to)
{
	json_t *edits = must(json_object()), *rows, *conf;
	const char *kind, *name;

	json_object_foreach ((json_t *)from, kind, rows) {
		json_object_foreach (rows, name, conf) {
			if (!json_object_get(json_object_get(to, kind), name))
				edit_set(edits, kind, name, json_null());
		}
	}
	json_object_foreach ((json_t *)to, kind, rows) {
		json_object_foreach (rows, name, conf) {
			const json_t *old = json_object_get(json_object_get(from, kind), name);

			if (!old || !json_equal(old, conf))
				edit_set(edits, kind, name, json_incref(conf));
		}
	}
	return edits;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct diff_step *)a)->name, ((const struct diff_step *)b)->name);
}

// Appends the deletes or the puts of one kind, sorted by name.
static size_t steps_add(struct diff_step *steps, size_t n, const char *kind, const json_t *from,
			const json_t *edits, bool deletes)
{
	json_t *rows = json_object_get(edits, kind), *now, *old;
	size_t first = n;
	const char *name;

	json_object_foreach (rows, name, now) {
		old = json_object_get(json_object_get(from, kind), name);
		if (json_is_null(now) != deletes)
			continue;
		if (deletes ? !old : old && json_equal(old, now))
			continue;
		steps[n++] = (struct diff_step){.kind = kind,
						.name = must(strdup(name)),
						.old = json_incref(old),
						.now = deletes ? NULL : json_incref(now)};
	}
	qsort(steps + first, n - first, sizeof(*steps), by_name);
	return n;
}

size_t diff_steps(const char *const *kinds, const json_t *from, const json_t *edits, struct diff_step **steps)
{
	size_t n_kinds = 0, max = 0, n = 0;

	for (; kinds[n_kinds]; n_kinds++)
		max += json_object_size(json_object_get(edits, kinds[n_kinds]));
	*steps = must(calloc(max + 1, sizeof(**steps)));
	for (size_t i = n_kinds; i-- > 0;)
		n = steps_add(*steps, n, kinds[i], from, edits, true);
	for (size_t i = 0; i < n_kinds; i++)
		n = steps_add(*steps, n, kinds[i], from, edits, false);
	return n;
}

void diff_free(struct diff_step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(steps[i].name);
		json_decref(steps[i].old);
		json_decref(steps[i].now);
	}
	free(steps);
}
