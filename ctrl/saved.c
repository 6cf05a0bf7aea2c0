// The format of ports in files. See saved.h. Pure, any thread.
#include "saved.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"

#define VERSION    1
#define MAX_VALUES (512u << 10) // of JSON in one file: some 50 MB of memory

json_t *saved_head(const json_t *conf)
{
	return must(json_pack("{s:i, s:O}", "evswitch-port", VERSION, "conf", conf));
}

json_t *saved_row(const char *kind, const char *name, const json_t *conf)
{
	return must(json_pack("{s:s, s:s*, s:O}", "kind", kind, "name", name, "conf", conf));
}

json_t *saved_state(const char *owner, json_t *state)
{
	return must(json_pack("{s:s, s:o}", "owner", owner, "state", state));
}

// --- writing

struct text {
	char *at;
	size_t n, room;
};

// Always leaves room for one more line.
static void text_reserve(struct text *t)
{
	if (t->room - t->n > SAVED_MAX_LINE)
		return;
	t->room = t->room * 2 + 2 * SAVED_MAX_LINE;
	t->at = must(realloc(t->at, t->room));
}

static int line_write(struct text *t, const json_t *line, struct err *e)
{
	text_reserve(t);
	size_t n = json_dumpb(line, t->at + t->n, SAVED_MAX_LINE, JSON_COMPACT | JSON_SORT_KEYS);

	if (n == 0 || n >= SAVED_MAX_LINE)
		return err_set(e, -EFBIG, "one part of it is longer than %u KiB", SAVED_MAX_LINE >> 10);
	t->n += n;
	t->at[t->n++] = '\n';
	if (t->n > SAVED_MAX_BYTES)
		return err_set(e, -EFBIG, "it is larger than %u MiB", SAVED_MAX_BYTES >> 20);
	return 0;
}

char *saved_write(const json_t *lines, size_t *n, struct err *e)
{
	json_t *end = must(json_pack("{s:I}", "end", (json_int_t)json_array_size(lines))), *line;
	struct text t = {0};
	int rc = 0;
	size_t i;

	json_array_foreach (lines, i, line)
		if (rc == 0)
			rc = line_write(&t, line, e);
	if (rc == 0)
		rc = line_write(&t, end, e);
	json_decref(end);
	if (rc < 0) {
		free(t.at);
		return NULL;
	}
	*n = t.n;
	return t.at;
}

// --- reading

// Whether the line has these keys, of these types, and no other. A NULL ends the lists.
struct key {
	const char *name;
	json_type type;
	bool optional;
};

static bool has_keys(const json_t *line, const struct key *keys)
{
	size_t n = 0;

	for (; keys->name; keys++) {
		const json_t *value = json_object_get(line, keys->name);

		if (value ? keys->type != JSON_NULL && json_typeof(value) != keys->type : !keys->optional)
			return false;
		n += value != NULL;
	}
	return json_object_size(line) == n;
}

static int head_read(struct saved *s, const json_t *line, struct err *e)
{
	static const struct key keys[] = {
	    {"evswitch-port", JSON_INTEGER, false}, {"conf", JSON_OBJECT, false}, {0}};
	const json_t *version = json_object_get(line, "evswitch-port");

	if (!json_is_integer(version))
		return err_set(e, -EINVAL, "is no exported port: its first line does not say so");
	if (json_integer_value(version) != VERSION)
		return err_set(e, -EINVAL, "has version %lld, and this evswitch knows version %d",
			       (long long)json_integer_value(version), VERSION);
	if (!has_keys(line, keys))
		return err_set(e, -EINVAL, "line 1 is not the configuration of a port");
	s->conf = json_incref(json_object_get(line, "conf"));
	return 0;
}

static int body_read(struct saved *s, json_t *line, size_t number, struct err *e)
{
	static const struct key row[] = {
	    {"kind", JSON_STRING, false}, {"name", JSON_STRING, true}, {"conf", JSON_OBJECT, false}, {0}};
	static const struct key state[] = {{"owner", JSON_STRING, false}, {"state", JSON_NULL, false}, {0}};

	if (has_keys(line, row)) {
		json_array_append(s->rows, line);
	} else if (has_keys(line, state)) {
		const char *owner = json_string_value(json_object_get(line, "owner"));
		json_t *list = json_object_get(s->states, owner);

		if (!list)
			json_object_set_new(s->states, owner, list = must(json_array()));
		json_array_append(list, json_object_get(line, "state"));
	} else {
		return err_set(e, -EINVAL, "line %zu is neither configuration nor state", number);
	}
	return 0;
}

static int end_read(const json_t *line, size_t number, struct err *e)
{
	static const struct key keys[] = {{"end", JSON_INTEGER, false}, {0}};

	if (!has_keys(line, keys))
		return err_set(e, -EINVAL, "is cut off: its last line is not an end");
	if (json_integer_value(json_object_get(line, "end")) != (json_int_t)number - 1)
		return err_set(e, -EINVAL, "is not whole: lines are missing or were added");
	return 0;
}

// At least as many as there are: a value takes far more memory than its text.
static size_t n_values(const char *at, size_t n)
{
	size_t count = 1;

	for (size_t i = 0; i < n; i++)
		count += at[i] == ',' || at[i] == '[' || at[i] == '{';
	return count;
}

static int line_read(struct saved *s, const char *at, size_t n, size_t number, bool is_last, struct err *e)
{
	json_error_t why;
	json_t *line;
	int rc;

	if (n >= SAVED_MAX_LINE)
		return err_set(e, -EFBIG, "line %zu is longer than %u KiB", number, SAVED_MAX_LINE >> 10);
	s->n_values += n_values(at, n);
	if (s->n_values > MAX_VALUES)
		return err_set(e, -EFBIG, "holds more than any port has");
	line = json_loadb(at, n, JSON_REJECT_DUPLICATES, &why);
	if (!line)
		return err_set(e, -EINVAL, "line %zu is not valid JSON: %s", number, why.text);
	if (number == 1)
		rc = head_read(s, line, e);
	else
		rc = is_last ? end_read(line, number, e) : body_read(s, line, number, e);
	json_decref(line);
	return rc;
}

int saved_read(const char *text, size_t n, struct saved *s, struct err *e)
{
	const char *at = text, *newline;
	size_t number = 0;
	int rc = 0;

	*s = (struct saved){.rows = must(json_array()), .states = must(json_object())};
	if (n == 0 || n > SAVED_MAX_BYTES)
		return n == 0 ? err_set(e, -EINVAL, "is empty")
			      : err_set(e, -EFBIG, "is larger than %u MiB", SAVED_MAX_BYTES >> 20);
	if (memchr(text, '\0', n))
		return err_set(e, -EINVAL, "is no exported port: it is not text");
	for (; rc == 0 && (newline = memchr(at, '\n', text + n - at)) != NULL; at = newline + 1)
		rc = line_read(s, at, newline - at, ++number, newline + 1 == text + n, e);
	if (rc == 0 && number == 0)
		rc = err_set(e, -EINVAL, "is no exported port: it has no lines");
	else if (rc == 0 && (at != text + n || number == 1))
		rc = err_set(e, -EINVAL, "is cut off in line %zu", number + 1);
	return rc;
}

void saved_free(struct saved *s)
{
	json_decref(s->conf);
	json_decref(s->rows);
	json_decref(s->states);
	*s = (struct saved){0};
}
