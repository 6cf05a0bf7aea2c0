// Lays out a table in two passes: widths of all cells, then lines.
#include "table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "ctrl/api/value.h"

// Columns that a terminal shows for UTF-8 text, taking each character for one wide.
static size_t text_width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

void text_print(FILE *out, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n\t");
		char *part = strndup(text, len);
		if (!part)
			abort();
		value_make_printable(part);
		fputs(part, out);
		free(part);
		text += len;
		if (*text)
			putc(*text++, out);
	}
}

static void value_print(FILE *out, const json_t *value)
{
	const json_t *item;
	size_t i;

	switch (json_typeof(value)) {
	case JSON_STRING:
		fputs(json_string_value(value), out);
		break;
	case JSON_INTEGER:
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_REAL:
		fprintf(out, "%.6g", json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		fputs(json_is_true(value) ? "yes" : "no", out);
		break;
	case JSON_NULL:
		break;
	case JSON_ARRAY:
		json_array_foreach (value, i, item) {
			fputs(i > 0 ? "," : "", out);
			value_print(out, item);
		}
		break;
	case JSON_OBJECT:
		json_dumpf(value, out, JSON_COMPACT);
		break;
	}
}

char *cell_text(const json_t *value)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		abort();
	if (value)
		value_print(f, value);
	fclose(f);
	if (len == 0) {
		free(text);
		text = strdup("-");
	}
	value_make_printable(text);
	return text;
}

// A column of nothing but numbers stands to the right.
static bool is_numeric(const json_t *rows, const char *name)
{
	const json_t *row;
	bool numeric = false;
	size_t i;

	json_array_foreach (rows, i, row) {
		const json_t *value = json_object_get(row, name);
		if (value && !json_is_null(value) && !json_is_number(value))
			return false;
		numeric = numeric || json_is_number(value);
	}
	return numeric;
}

static void cell_print(FILE *out, const char *text, size_t width, bool right, bool last)
{
	int pad = (int)(width - text_width(text));

	fprintf(out, "%*s%s", right ? pad : 0, "", text);
	if (!last)
		fprintf(out, "%*s", (right ? 0 : pad) + 2, "");
}

struct column_layout {
	const char *name;
	char **cells; // one per row
	size_t width;
	bool right;
};

static void column_layout_init(struct column_layout *c, const json_t *column, const json_t *rows)
{
	const json_t *row;
	size_t i;

	c->name = text_of(column, "name");
	c->cells = calloc(json_array_size(rows), sizeof(*c->cells));
	if (!c->cells)
		abort();
	c->width = text_width(c->name);
	c->right = is_numeric(rows, c->name);
	json_array_foreach (rows, i, row) {
		c->cells[i] = cell_text(json_object_get(row, c->name));
		if (text_width(c->cells[i]) > c->width)
			c->width = text_width(c->cells[i]);
	}
}

// Objects do not fit into a cell, and a column that no row has says nothing.
static bool is_cell_column(const json_t *rows, const char *name)
{
	const json_t *row;
	bool any = false;
	size_t i;

	json_array_foreach (rows, i, row) {
		const json_t *value = json_object_get(row, name);
		if (json_is_object(value))
			return false;
		any = any || (value && !json_is_null(value));
	}
	return any;
}

static json_t *cell_columns(const json_t *columns, const json_t *rows)
{
	json_t *out = json_array(), *column;
	size_t i;

	json_array_foreach (columns, i, column) {
		if (is_cell_column(rows, text_of(column, "name")))
			json_array_append(out, column);
	}
	return out;
}

static void members_print(FILE *out, const json_t *object, int indent)
{
	const json_t *value;
	const char *key;

	json_object_foreach ((json_t *)object, key, value) {
		fprintf(out, "%*s", indent, "");
		text_print(out, key);
		if (json_is_object(value)) {
			fputs(":\n", out);
			members_print(out, value, indent + 2);
			continue;
		}
		char *text = cell_text(value);
		fprintf(out, ": %s\n", text);
		free(text);
	}
}

// Behind the table: what rows have in columns of objects.
static void objects_print(FILE *out, const json_t *columns, const json_t *rows)
{
	const json_t *row, *column, *value;
	size_t i, j;

	json_array_foreach (rows, i, row) {
		json_array_foreach (columns, j, column) {
			value = json_object_get(row, text_of(column, "name"));
			if (!json_is_object(value))
				continue;
			fprintf(out, "\n%s:\n", text_of(column, "name"));
			members_print(out, value, 2);
		}
	}
}

static void column_layout_fini(struct column_layout *c, size_t n_rows)
{
	for (size_t i = 0; i < n_rows; i++)
		free(c->cells[i]);
	free(c->cells);
}

static void cells_print(FILE *out, const json_t *columns, const json_t *rows)
{
	size_t n_columns = json_array_size(columns), n_rows = json_array_size(rows), i, j;
	struct column_layout *c = calloc(n_columns + 1, sizeof(*c));

	if (!c)
		abort();
	for (j = 0; j < n_columns; j++)
		column_layout_init(&c[j], json_array_get(columns, j), rows);
	for (j = 0; j < n_columns; j++)
		cell_print(out, c[j].name, c[j].width, c[j].right, j + 1 == n_columns);
	putc('\n', out);
	for (i = 0; i < n_rows; i++) {
		for (j = 0; j < n_columns; j++)
			cell_print(out, c[j].cells[i], c[j].width, c[j].right, j + 1 == n_columns);
		putc('\n', out);
	}
	for (j = 0; j < n_columns; j++)
		column_layout_fini(&c[j], n_rows);
	free(c);
}

void table_print(FILE *out, const json_t *columns, const json_t *rows)
{
	if (json_array_size(columns) == 0 || json_array_size(rows) == 0)
		return;
	json_t *cells = cell_columns(columns, rows);

	if (json_array_size(cells) > 0)
		cells_print(out, cells, rows);
	json_decref(cells);
	objects_print(out, columns, rows);
}
