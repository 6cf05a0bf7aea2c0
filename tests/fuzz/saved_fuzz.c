// Arbitrary bytes as the file of an exported port: read whole, or refused with a sentence. What was read is written
// again and read again to the same; the owners of its state then look at every record.
#include "ctrl/saved.h"

#include <stdlib.h>
#include <string.h>

#include "ctrl/api/module.h"
#include "ctrl/saved_port.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static void lines_add(json_t *lines, const struct saved *s)
{
	json_t *row, *records, *state;
	const char *owner;
	size_t i;

	json_array_append_new(lines, saved_head(s->conf));
	json_array_foreach (s->rows, i, row)
		json_array_append(lines, row);
	json_object_foreach (s->states, owner, records)
		json_array_foreach (records, i, state)
			json_array_append_new(lines, saved_state(owner, json_incref(state)));
}

static void again(const struct saved *s)
{
	json_t *lines = json_array();
	struct err e = {0};
	struct saved copy;
	size_t n;

	lines_add(lines, s);
	char *text = saved_write(lines, &n, &e);

	if (text) { // written with other escapes it may be too long
		require(saved_read(text, n, &copy, &e) == 0);
		require(json_equal(copy.conf, s->conf) && json_equal(copy.rows, s->rows) &&
			json_equal(copy.states, s->states));
		saved_free(&copy);
	}
	free(text);
	json_decref(lines);
}

static void owners_look(const struct saved *s)
{
	const struct module *const *m = NULL;

	while ((m = saved_port_owner(m)) != NULL) {
		const json_t *records = json_object_get(s->states, (*m)->name);

		for (size_t i = 0; i < json_array_size(records); i++) {
			struct err e = {0};

			require((*m)->check("p", s->conf, NULL, records, i, &e) == 0 ||
				(e.code && e.text[0]));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = {0};
	struct saved s;

	if (saved_read((const char *)data, size, &s, &e) == 0) {
		again(&s);
		owners_look(&s);
	} else {
		require(e.code < 0 && e.text[0]);
	}
	saved_free(&s);
	return 0;
}
