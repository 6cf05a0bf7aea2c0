// What changed between two rounds of a watched table, per second.
#include "rates.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "table.h"

static bool is_counter(const json_t *column)
{
	static const char *const units[] = {"packets", "bytes", "cycles", "frames", "drops", "events"};

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (strcmp(text_of(column, "unit"), units[i]) == 0)
			return true;
	return false;
}

static const char *rate_name(const json_t *column)
{
	static char name[80];

	snprintf(name, sizeof(name), "%s/s", text_of(column, "name"));
	return name;
}

json_t *rates_columns(const json_t *columns)
{
	json_t *all = json_array(), *c;
	size_t i;

	json_array_foreach (columns, i, c) {
		json_array_append(all, c);
		if (is_counter(c))
			json_array_append_new(all, json_pack("{ss}", "name", rate_name(c)));
	}
	return all;
}

// What tells a row from others, as an index; to be freed.
static char *row_key(const json_t *columns, const json_t *row)
{
	json_t *key = json_array(), *c;
	size_t i;

	json_array_foreach (columns, i, c) {
		json_t *value = json_object_get(row, text_of(c, "name"));
		if (!*text_of(c, "unit"))
			json_array_append(key, value ? value : json_null());
	}
	char *text = json_dumps(key, JSON_COMPACT);
	json_decref(key);
	if (!text)
		abort();
	return text;
}

static json_t *row_index(const json_t *columns, const json_t *rows)
{
	json_t *index = json_object(), *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		char *key = row_key(columns, row);
		json_object_set(index, key, row);
		free(key);
	}
	return index;
}

static void row_add_rates(json_t *row, const json_t *columns, const json_t *before, double seconds)
{
	const json_t *c;
	size_t i;

	json_array_foreach (columns, i, c) {
		const json_t *now = json_object_get(row, text_of(c, "name"));
		const json_t *then = json_object_get(before, text_of(c, "name"));
		if (!is_counter(c) || !json_is_number(now) || !json_is_number(then))
			continue;
		double rate = (json_number_value(now) - json_number_value(then)) / seconds;
		if (rate >= 0) // a counter that went back belongs to a new object of the same name
			json_object_set_new(row, rate_name(c), json_integer((json_int_t)(rate + 0.5)));
	}
}

json_t *rates_rows(const json_t *columns, const json_t *rows, const json_t *before, double seconds)
{
	json_t *index = row_index(columns, before), *all = json_array(), *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		json_t *copy = json_copy(row);
		char *key = row_key(columns, row);
		if (seconds > 0)
			row_add_rates(copy, columns, json_object_get(index, key), seconds);
		free(key);
		json_array_append_new(all, copy);
	}
	json_decref(index);
	return all;
}
