// Completion: what may come next, by the same reading of words that makes requests.
#include "complete.h"

#include <stdlib.h>
#include <string.h>

#include "command.h"

struct completion {
	FILE *out;
	const json_t *methods;
	const char *begun; // what the user has typed of the word
	complete_names_fn *names;
	void *arg;
	bool file;
};

static void offer(struct completion *c, const char *text, size_t len)
{
	size_t begun = strlen(c->begun);

	if (len >= begun && strncmp(text, c->begun, begun) == 0)
		fprintf(c->out, "%.*s\n", (int)len, text);
}

static void offer_word(struct completion *c, const char *text)
{
	offer(c, text, strlen(text));
}

static void offer_objects(struct completion *c)
{
	const json_t *m;
	size_t i, before_len = 0;
	const char *before = "";

	json_array_foreach (c->methods, i, m) {
		const char *name = text_of(m, "name");
		size_t len = strcspn(name, ".");
		if (len != before_len || strncmp(name, before, len) != 0)
			offer(c, name, len);
		before = name;
		before_len = len;
	}
}

static void offer_verbs(struct completion *c, const char *object)
{
	const json_t *m;
	size_t i;

	json_array_foreach (c->methods, i, m) {
		if (method_is_of(m, object))
			offer_word(c, method_verb(m));
	}
}

// The kind of objects whose name a parameter wants: one called like an object ("switch"), or the
// method's own for a positional "name". A name to be added is new: nothing to offer.
static const char *kind_wanted(const struct completion *c, const json_t *method, const json_t *param)
{
	static char kind[64];
	const char *name = text_of(param, "name"), *method_name = text_of(method, "name");
	struct err e = {0};

	if (strcmp(text_of(param, "type"), "name") != 0)
		return NULL;
	if (method_find(c->methods, name, "show", &e))
		return name;
	if (!is_set(param, "positional") || strcmp(method_verb(method), "add") == 0)
		return NULL;
	snprintf(kind, sizeof(kind), "%.*s", (int)strcspn(method_name, "."), method_name);
	return kind;
}

static void offer_values(struct completion *c, const json_t *method, const json_t *param)
{
	const char *type = text_of(param, "type"), *kind = kind_wanted(c, method, param);
	const json_t *values = json_object_get(param, "values"), *v;
	size_t i;

	json_array_foreach (values, i, v) {
		offer_word(c, json_is_string(v) ? json_string_value(v) : "");
	}
	if (strcmp(type, "path") == 0 || strcmp(type, "input") == 0 || strcmp(type, "output") == 0)
		c->file = true;
	json_t *names = kind ? c->names(kind, c->arg) : NULL;
	json_array_foreach (names, i, v) {
		offer_word(c, json_string_value(v));
	}
	json_decref(names);
}

static void offer_keys(struct completion *c, const json_t *method, const json_t *given)
{
	const json_t *p;
	size_t i;

	json_array_foreach (json_object_get(method, "params"), i, p) {
		if (!is_set(p, "positional") && !json_object_get(given, text_of(p, "name")))
			offer_word(c, text_of(p, "name"));
	}
}

static void offer_arguments(struct completion *c, const json_t *method, char *const *word, size_t n)
{
	struct err e = {0};
	struct words w;

	// One word more than is given is coming: the one that is being completed.
	if (words_read(&w, method, word, n, n + 1, &e) == 0) {
		const json_t *positional = words_positional(&w, method);

		if (w.awaits) {
			offer_values(c, method, w.awaits);
		} else {
			if (w.flag)
				offer_values(c, method, w.flag);
			if (positional)
				offer_values(c, method, positional);
			if (!positional || !is_set(positional, "required"))
				offer_keys(c, method, w.params);
		}
	}
	words_fini(&w);
}

bool complete_print(FILE *out, const json_t *methods, char *const *word, size_t n, complete_names_fn *names,
		    void *arg)
{
	struct completion c = {
	    .out = out, .methods = methods, .begun = word[n - 1], .names = names, .arg = arg};
	bool help = n > 1 && strcmp(word[0], "help") == 0;
	struct err e = {0};

	if (n == 1 || (help && n == 2))
		offer_objects(&c);
	if (n == 1) {
		offer_word(&c, "help");
		offer_word(&c, "version");
	} else if (help && n == 3) {
		offer_verbs(&c, word[1]);
	} else if (!help && n == 2) {
		offer_verbs(&c, word[0]);
		offer_word(&c, "help");
	} else if (!help) {
		size_t n_used;
		const json_t *method = method_take(methods, word, n - 1, &n_used, &e);
		if (method)
			offer_arguments(&c, method, word + n_used, n - 1 - n_used);
	}
	return !c.file;
}
