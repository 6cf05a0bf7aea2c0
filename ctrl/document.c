// Documents of config.show, config.apply and config.check. Pure, any thread.
#include "document.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "decode.h"
#include "must.h"

#define VERSION  1
#define MORE_MAX 24 // room kept for "; and 12345 more"

// --- state to document

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *rows_list(json_t *rows)
{
	size_t n = 0, max = json_object_size(rows);
	const char **names = must(calloc(max + 1, sizeof(*names)));
	json_t *list = must(json_array()), *conf, *row;
	const char *name;

	json_object_foreach (rows, name, conf)
		names[n++] = name;
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++) {
		row = must(json_pack("{s:s}", "name", names[i]));
		json_object_update(row, json_object_get(rows, names[i]));
		json_array_append_new(list, row);
	}
	free(names);
	return list;
}

json_t *document_make(const json_t *state)
{
	json_t *document = must(json_pack("{s:i}", "evswitch", VERSION));

	for (const char *const *kind = conf_kinds(); *kind; kind++)
		json_object_set_new(document, *kind, rows_list(json_object_get(state, *kind)));
	return document;
}

// --- document to state

// Findings, as many as the sentence holds.
struct findings {
	struct err *e;
	size_t n_left_out;
};

static void finding_add(struct findings *f, const struct err *one)
{
	if (strlen(f->e->text) + 2 + strlen(one->text) + MORE_MAX < sizeof(f->e->text))
		err_add(f->e, one->code, "%s", one->text);
	else if (f->e->code == 0)
		*f->e = *one; // fills the sentence alone
	else
		f->n_left_out++;
}

static int row_read(const char *kind, size_t i, const json_t *item, json_t *rows, struct err *e)
{
	static const struct param params[] = {{.name = "name", .type = PARAM_STRING, .flags = PARAM_REQUIRED},
					      {0}};
	json_t *given = json_object_get(item, "name"), *named, *conf;
	const char *name = json_string_value(given);
	char what[128];
	int rc;

	snprintf(what, sizeof(what), "%.64s number %zu", kind, i + 1);
	if (!json_is_object(item))
		return err_set(e, -EINVAL, "%s: must be an object", what);
	named = must(given ? json_pack("{s:O}", "name", given) : json_object());
	rc = decode_params(params, named, what, &conf, e);
	json_decref(named);
	if (rc < 0)
		return rc;
	json_decref(conf);
	if (!name)
		return err_set(e, -EINVAL, "%s: name must be a string", what);
	if (json_object_get(rows, name))
		return err_set(e, -EINVAL, "%s %s: is there twice", kind, name);
	named = must(json_copy((json_t *)item));
	json_object_del(named, "name");
	rc = conf_decode(kind, name, named, &conf, e);
	// a row that is refused keeps its place, so that a second one is seen
	json_object_set_new(rows, name, rc == 0 ? conf : json_object());
	json_decref(named);
	return rc;
}

static void kind_read(const char *kind, const json_t *list, json_t *state, struct findings *f)
{
	json_t *rows = must(json_object()), *item;
	struct err one = {0};
	size_t i;

	json_object_set_new(state, kind, rows);
	if (!json_is_array(list)) {
		err_set(&one, -EINVAL, "%s: must be a list of objects", kind);
		finding_add(f, &one);
	}
	json_array_foreach (list, i, item) {
		one = (struct err){0};
		if (row_read(kind, i, item, rows, &one) < 0)
			finding_add(f, &one);
	}
}

static void version_check(const json_t *document, struct findings *f)
{
	const json_t *version = json_object_get(document, "evswitch");
	struct err one = {0};

	if (!version)
		err_set(&one, -EINVAL, "the document does not begin with \"evswitch\": %d", VERSION);
	else if (!json_is_integer(version) || json_integer_value(version) != VERSION)
		err_set(&one, -EINVAL, "the document's version is not one that this evswitch knows (%d)",
			VERSION);
	if (one.code)
		finding_add(f, &one);
}

int document_read(const json_t *document, json_t **state, struct err *e)
{
	struct findings f = {.e = e};
	struct err one = {0};
	const char *kind;
	json_t *list;

	if (!json_is_object(document))
		return err_set(e, -EINVAL, "the document must be a JSON object");
	*state = must(json_object());
	version_check(document, &f);
	json_object_foreach ((json_t *)document, kind, list) {
		if (strcmp(kind, "evswitch") == 0)
			continue;
		if (conf_kind_find(kind)) {
			kind_read(kind, list, *state, &f);
			continue;
		}
		err_set(&one, -EINVAL, "%.64s: there is no such kind of object", kind);
		finding_add(&f, &one);
	}
	if (f.n_left_out > 0)
		err_add(e, e->code, "and %zu more", f.n_left_out);
	if (e->code)
		json_decref(*state);
	return e->code;
}

int document_parse(const char *text, size_t n, json_t **state, struct err *e)
{
	json_error_t at;
	json_t *document = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
	int rc;

	if (!document)
		return err_set(e, -EINVAL, "the document is not valid JSON: line %d: %s", at.line, at.text);
	rc = document_read(document, state, e);
	json_decref(document);
	return rc;
}
