// Unique keys: one look at each row of the kind, however many of them are edited. Control thread.
#include "unique.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "must.h"

#define VALUE_SIZE 8192

struct search {
	const struct conf_view *v;
	const char *kind;
	const char *keys;     // "socket", or several that count together: "switch mac"
	const json_t *edited; // {name: conf or null}
	json_t *owners;       // {value: name}
	struct err *e;
};

// The row's values of all the keys in one string. False when it lacks one.
static bool value_of(const char *keys, const json_t *row, char out[VALUE_SIZE])
{
	size_t at = 0;

	out[0] = '\0';
	for (const char *key = keys; *key != '\0'; key += strspn(key, " ")) {
		char word[64];
		size_t n = strcspn(key, " ");

		snprintf(word, sizeof(word), "%.*s", (int)n, key);
		const char *value = json_string_value(json_object_get(row, word));

		if (value == NULL || at >= VALUE_SIZE)
			return false;
		at += snprintf(out + at, VALUE_SIZE - at, "%s%s", at > 0 ? " " : "", value);
		key += n;
	}
	return true;
}

static void report(const struct search *s, const char *name, const char *value, const char *owner)
{
	err_add(s->e, -EEXIST, "%s %s: %s %s is already used by %s %s", s->kind, name, s->keys, value,
		s->kind, owner);
}

static bool owner_note(const char *name, const json_t *row, void *arg)
{
	struct search *s = arg;
	char value[VALUE_SIZE];

	if (json_is_null(json_object_get(s->edited, name)) || !value_of(s->keys, row, value))
		return true;
	const char *owner = json_string_value(json_object_get(s->owners, value));

	if (owner != NULL)
		report(s, name, value, owner);
	else
		json_object_set_new(s->owners, value, must(json_string(name)));
	return true;
}

static bool row_compare(const char *name, const json_t *row, void *arg)
{
	struct search *s = arg;
	char value[VALUE_SIZE];

	if (json_object_get(s->edited, name) != NULL || !value_of(s->keys, row, value))
		return true;
	const char *owner = json_string_value(json_object_get(s->owners, value));

	if (owner != NULL)
		report(s, owner, value, name);
	return true;
}

void unique_check(const struct conf_view *v, const struct conf_kind *kind, struct err *e)
{
	struct search s = {
	    .v = v, .kind = kind->name, .edited = json_object_get(v->edits, kind->name), .e = e};
	const json_t *row;
	const char *name;

	for (const char *const *keys = kind->unique; keys != NULL && *keys != NULL && s.edited != NULL;
	     keys++) {
		s.keys = *keys;
		s.owners = must(json_object());
		json_object_foreach ((json_t *)s.edited, name, row) {
			owner_note(name, row, &s);
		}
		if (json_object_size(s.owners) > 0)
			conf_each(v, kind->name, row_compare, &s);
		json_decref(s.owners);
	}
}
