// Results on standard output; progress and errors on standard error.
#include "show.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "table.h"

static void json_print(const json_t *value, size_t flags)
{
	json_dumpf(value, stdout, flags | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	putchar('\n');
}

void show_json(const json_t *value)
{
	json_print(value, isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT);
}

// Has parts that do not fit on a line of text.
static bool is_deep(const json_t *value)
{
	const json_t *item;
	const char *key;
	size_t i;

	json_array_foreach (value, i, item) {
		if (json_is_object(item) || json_is_array(item))
			return true;
	}
	json_object_foreach ((json_t *)value, key, item) {
		if (json_is_object(item) ||
		    (json_is_array(item) && (json_array_size(item) == 0 || is_deep(item))))
			return true;
	}
	return false;
}

static void show_cell(const char *before, const json_t *value)
{
	char *text = cell_text(value);

	printf("%s%s\n", before, text);
	free(text);
}

static void show_members(const json_t *object)
{
	const json_t *value;
	const char *key;

	json_object_foreach ((json_t *)object, key, value) {
		text_print(stdout, key);
		show_cell(": ", value);
	}
}

static void show_string(const char *text)
{
	size_t len = strlen(text);

	text_print(stdout, text);
	if (len > 0 && text[len - 1] != '\n')
		putchar('\n');
}

void show_text(const json_t *columns, const json_t *result)
{
	const char *text = json_string_value(json_object_get(result, "text"));
	const json_t *item;
	size_t i;

	if (text) {
		show_string(text);
	} else if (columns && json_is_array(result)) {
		table_print(stdout, columns, result);
		if (json_array_size(result) == 0 && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO))
			fputs("nothing to show\n", stderr);
	} else if (json_is_true(result) || json_is_null(result)) {
		return;
	} else if (is_deep(result)) {
		json_print(result, JSON_INDENT(2));
	} else if (json_is_object(result)) {
		show_members(result);
	} else if (json_is_array(result)) {
		json_array_foreach (result, i, item) {
			show_cell("", item);
		}
	} else if (json_is_string(result)) {
		show_string(json_string_value(result));
	} else {
		show_cell("", result);
	}
}

static void show_progress(struct show_notify *s, const json_t *params)
{
	enum { WIDTH = 30 };
	double done = json_number_value(json_object_get(params, "done"));
	double total = json_number_value(json_object_get(params, "total"));
	double part = total > 0 ? done / total : 0;

	if (!isatty(STDERR_FILENO))
		return;
	part = part < 0 ? 0 : part > 1 ? 1 : part;
	int filled = (int)(part * WIDTH);
	fprintf(stderr, "\r[%.*s%*s] %3d %%", filled, "##############################", WIDTH - filled, "",
		(int)(part * 100));
	fflush(stderr);
	s->drawn = true;
}

void show_progress_end(struct show_notify *s)
{
	if (s->drawn)
		fputs("\r\033[K", stderr);
	s->drawn = false;
}

// One line: the columns' values if the method has columns, else all members in the order sent.
static void show_line(const json_t *columns, const json_t *params)
{
	const char *gap = "";
	const json_t *value;
	const char *key;
	size_t i;

	json_array_foreach (columns, i, value) {
		char *text = cell_text(json_object_get(params, text_of(value, "name")));
		printf("%s%s", gap, text);
		free(text);
		gap = "  ";
	}
	if (!columns)
		json_object_foreach ((json_t *)params, key, value) {
			char *text = cell_text(value);
			printf("%s%s", gap, text);
			free(text);
			gap = "  ";
		}
	putchar('\n');
}

void show_notification(const char *method, const json_t *params, void *arg)
{
	struct show_notify *s = arg;

	if (strcmp(method, "progress") == 0) {
		show_progress(s, params);
		return;
	}
	if (s->json)
		json_print(params ? params : json_null(), JSON_COMPACT);
	else
		show_line(s->columns, params);
	// Whoever reads this reads it live; and nobody may read any more.
	if (fflush(stdout) != 0)
		exit(errno == EPIPE ? 0 : 2);
}

void show_error(const char *sentence)
{
	fflush(stdout);
	fputs("evsctl: ", stderr);
	text_print(stderr, sentence);
	putc('\n', stderr);
}

int show_flush(struct err *e)
{
	// A reader that has seen enough ("| head") is no failure.
	if (fflush(stdout) == 0 || errno == EPIPE)
		return 0;
	return err_set(e, -errno, "cannot write the output: %s", err_name(errno));
}
