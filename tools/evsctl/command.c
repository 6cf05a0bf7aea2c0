// Words to a request: which method, which word is whose value.
//
// Nothing here knows a command. Positional values come first, then KEY VALUE pairs, and flags stand
// alone; values stay the strings that were typed, since the daemon decodes (and refuses) them by type.
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/api/value.h"
#include "ctrl/nearest.h"

const char *text_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

bool is_set(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

bool method_is_of(const json_t *method, const char *object)
{
	const char *name = text_of(method, "name");
	size_t len = strlen(object);

	return strncmp(name, object, len) == 0 && name[len] == '.';
}

const char *method_verb(const json_t *method)
{
	const char *dot = strchr(text_of(method, "name"), '.');

	return dot ? dot + 1 : "";
}

static void object_unknown(const json_t *methods, const char *object, struct err *e)
{
	char near[64] = "", candidate[64];
	unsigned least = UINT_MAX;
	const json_t *m;
	size_t i;

	json_array_foreach (methods, i, m) {
		const char *name = text_of(m, "name");
		snprintf(candidate, sizeof(candidate), "%.*s", (int)strcspn(name, "."), name);
		unsigned rank = nearest_rank(object, candidate);
		if (rank < least) {
			least = rank;
			strcpy(near, candidate);
		}
	}
	if (*near)
		err_set(e, -EINVAL, "there is no object %s; did you mean %s?", object, near);
	else
		err_set(e, -EINVAL, "there is no object %s; evsctl help lists them", object);
}

const json_t *method_find(const json_t *methods, const char *object, const char *verb, struct err *e)
{
	const char *near = NULL;
	unsigned least = UINT_MAX;
	const json_t *m;
	bool known = false;
	size_t i;

	json_array_foreach (methods, i, m) {
		if (!method_is_of(m, object))
			continue;
		if (strcmp(method_verb(m), verb) == 0)
			return m;
		known = true;
		unsigned rank = nearest_rank(verb, method_verb(m));
		if (rank < least) {
			least = rank;
			near = method_verb(m);
		}
	}
	if (!known)
		object_unknown(methods, object, e);
	else if (near)
		err_set(e, -EINVAL, "%s has no verb %s; did you mean %s?", object, verb, near);
	else
		err_set(e, -EINVAL, "%s has no verb %s; evsctl help %s lists them", object, verb, object);
	return NULL;
}

// A verb may be of two words.
const json_t *method_take(const json_t *methods, char *const *word, size_t n, size_t *n_used, struct err *e)
{
	const json_t *m;
	char verb[64];
	size_t i;

	*n_used = 2;
	snprintf(verb, sizeof(verb), "%s-%s", word[1], n > 2 ? word[2] : "");
	json_array_foreach (methods, i, m) {
		if (n > 2 && method_is_of(m, word[0]) && strcmp(method_verb(m), verb) == 0) {
			*n_used = 3;
			return m;
		}
	}
	return method_find(methods, word[0], word[1], e);
}

const json_t *method_param(const json_t *method, const char *key)
{
	const json_t *p;
	size_t i;

	json_array_foreach (json_object_get(method, "params"), i, p) {
		if (strcmp(text_of(p, "name"), key) == 0)
			return p;
	}
	return NULL;
}

const char *method_title(const json_t *method)
{
	static char s[64];

	snprintf(s, sizeof(s), "%s", text_of(method, "name"));
	char *dot = strchr(s, '.');
	if (dot)
		*dot = ' ';
	return s;
}

const json_t *words_positional(const struct words *w, const json_t *method)
{
	const json_t *p;
	size_t i, n = 0;

	if (w->keyed)
		return NULL;
	json_array_foreach (json_object_get(method, "params"), i, p) {
		if (is_set(p, "positional") && n++ == w->n_positional)
			return p;
	}
	return NULL;
}

// An optional positional value may be left out, so that a key stands in its place; any may be given
// as a pair with its own name. A word with nothing behind it cannot be a key (unless a flag).
static bool stands_for(const json_t *positional, const json_t *method, const char *word, bool last)
{
	const json_t *key = method_param(method, word);

	if (!key || (last && !is_set(key, "flag")))
		return true;
	return is_set(positional, "required") && key != positional;
}

static bool is_bool(const char *word)
{
	bool value;

	return value_parse_bool(word, &value) == 0;
}

// "./x" is what the user's shell calls so, wherever the daemon is.
static json_t *value_of(const json_t *param, const char *word)
{
	char here[PATH_MAX];

	if (strcmp(text_of(param, "type"), "path") != 0 || word[0] != '.' || !strchr(word, '/') ||
	    !getcwd(here, sizeof(here)))
		return json_string(word);
	while (strncmp(word, "./", 2) == 0)
		word += 2;
	return json_sprintf("%s/%s", strcmp(here, "/") == 0 ? "" : here, word);
}

// One of the keys that the method's table does not know.
static int take_rest(struct words *w, const json_t *method, const json_t *param, const char *word,
		     struct err *e)
{
	const char *name = text_of(param, "name"), *key = w->rest;

	w->rest = NULL;
	if (!json_object_get(w->params, name))
		json_object_set_new(w->params, name, json_object());
	if (json_object_set_new(json_object_get(w->params, name), key, json_string(word)) < 0)
		return err_set(e, -EINVAL, "%s: the value of %s is not valid UTF-8", method_title(method),
			       key);
	return 0;
}

static int take(struct words *w, const json_t *method, const json_t *param, const char *word, struct err *e)
{
	if (w->rest)
		return take_rest(w, method, param, word, e);
	if (json_object_set_new(w->params, text_of(param, "name"), value_of(param, word)) < 0)
		return err_set(e, -EINVAL, "%s: the value of %s is not valid UTF-8", method_title(method),
			       text_of(param, "name"));
	return 0;
}

static int key_unknown(const json_t *method, const char *word, struct err *e)
{
	const char *near = NULL;
	unsigned least = UINT_MAX;
	const json_t *p;
	size_t i;

	json_array_foreach (json_object_get(method, "params"), i, p) {
		unsigned rank = nearest_rank(word, text_of(p, "name"));
		if (rank < least) {
			least = rank;
			near = text_of(p, "name");
		}
	}
	if (near)
		return err_set(e, -EINVAL, "%s: unknown key %s; did you mean %s?", method_title(method), word,
			       near);
	return err_set(e, -EINVAL, "%s: unknown key %s", method_title(method), word);
}

static const json_t *method_rest(const json_t *method)
{
	const json_t *p;
	size_t i;

	json_array_foreach (json_object_get(method, "params"), i, p)
		if (is_set(p, "rest"))
			return p;
	return NULL;
}

static int take_key(struct words *w, const json_t *method, const char *word, struct err *e)
{
	const json_t *key = method_param(method, word);

	if (!key) {
		w->awaits = method_rest(method);
		w->rest = w->awaits ? word : NULL;
		return w->awaits ? 0 : key_unknown(method, word, e);
	}
	if (json_object_get(w->params, word))
		return err_set(e, -EINVAL, "%s: %s is given twice", method_title(method), word);
	if (is_set(key, "flag")) {
		w->flag = key;
		return take(w, method, key, "on", e);
	}
	w->awaits = key;
	return 0;
}

static int take_word(struct words *w, const json_t *method, const char *word, bool last, struct err *e)
{
	const json_t *param = w->awaits, *flag = w->flag;

	w->awaits = w->flag = NULL;
	if (param)
		return take(w, method, param, word, e);
	if (flag && is_bool(word))
		return take(w, method, flag, word, e);
	param = words_positional(w, method);
	if (param && stands_for(param, method, word, last)) {
		w->n_positional++;
		return take(w, method, param, word, e);
	}
	w->keyed = true;
	return take_key(w, method, word, e);
}

int words_read(struct words *w, const json_t *method, char *const *word, size_t n, size_t n_all,
	       struct err *e)
{
	*w = (struct words){.params = json_object()};
	for (size_t i = 0; i < n; i++) {
		int rc = take_word(w, method, word[i], i + 1 == n_all, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void words_fini(struct words *w)
{
	json_decref(w->params);
	w->params = NULL;
}

// Missing parameters are all named; JSON is parsed here, since the daemon takes it as a value.
static int params_finish(const json_t *method, json_t *params, struct err *e)
{
	const json_t *p;
	size_t i;

	json_array_foreach (json_object_get(method, "params"), i, p) {
		const char *name = text_of(p, "name");
		const char *given = json_string_value(json_object_get(params, name));
		json_error_t je;

		if (!given && is_set(p, "required"))
			err_add(e, -EINVAL, "%s: %s is missing", method_title(method), name);
		if (!given || strcmp(text_of(p, "type"), "json") != 0)
			continue;
		json_t *value = json_loads(given, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &je);
		if (!value)
			return err_set(e, -EINVAL, "%s: the value of %s is not JSON: %s at column %d",
				       method_title(method), name, je.text, je.column);
		json_object_set_new(params, name, value);
	}
	return e->code;
}

json_t *command_params(const json_t *method, char *const *word, size_t n, struct err *e)
{
	struct words w;
	json_t *params = NULL;

	if (words_read(&w, method, word, n, n, e) < 0)
		goto out;
	if (w.awaits)
		err_set(e, -EINVAL, "%s: %s needs a value", method_title(method), text_of(w.awaits, "name"));
	else if (params_finish(method, w.params, e) == 0)
		params = json_incref(w.params);
out:
	words_fini(&w);
	return params;
}

// A file that is there stays as it is until the new one is whole. Pipes and devices are written to directly.
static int output_open(const char *path, struct files *f)
{
	char *there = realpath(path, NULL), *name = NULL;
	struct stat st;
	int fd;

	if (there && stat(there, &st) == 0 && !S_ISREG(st.st_mode)) {
		free(there);
		return open(path, O_WRONLY | O_CLOEXEC);
	}
	if (!there)
		there = strdup(path);
	if (!there || asprintf(&name, "%s.XXXXXX", there) < 0) {
		free(there);
		errno = ENOMEM;
		return -1;
	}
	fd = mkostemp(name, O_CLOEXEC); // its mode is 0600
	f->path[f->n] = there;
	f->written[f->n] = name;
	if (fd < 0) {
		free(name);
		f->written[f->n] = NULL;
	}
	return fd;
}

static int file_open(const json_t *param, const char *path, struct files *f)
{
	bool output = strcmp(text_of(param, "type"), "output") == 0;

	f->path[f->n] = f->written[f->n] = NULL;
	f->on_stdout |= output && strcmp(path, "-") == 0;
	if (strcmp(path, "-") == 0)
		return fcntl(output ? STDOUT_FILENO : STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	if (is_set(param, "live"))
		return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return output ? output_open(path, f) : open(path, O_RDONLY | O_CLOEXEC);
}

// Of a parameter that stands for several: how many. What is wrong with the number, the daemon says.
static size_t files_wanted(const json_t *param, const json_t *params)
{
	const char *count = text_of(param, "count");
	int64_t n = 1;

	if (*count && value_parse_int(text_of(params, count), &n) < 0)
		return 1;
	return n < 1 ? 1 : (size_t)n;
}

static int files_open(const json_t *method, const json_t *param, const char *path, size_t n, struct files *f,
		      struct err *e)
{
	for (size_t i = 1; i <= n; i++) {
		char more[PATH_MAX];

		snprintf(more, sizeof(more), i > 1 ? "%s.%zu" : "%s", path, i);
		if (f->n == sizeof(f->fds) / sizeof(*f->fds))
			return err_set(e, -E2BIG, "%s: more than %zu files", method_title(method), f->n);
		int fd = file_open(param, strcmp(path, "-") == 0 ? path : more, f);

		if (fd < 0) {
			free(f->path[f->n]);
			return err_set(e, -errno, "%s: %s: cannot open %s for %s: %s", method_title(method),
				       text_of(param, "name"), more,
				       strcmp(text_of(param, "type"), "output") == 0 ? "writing" : "reading",
				       err_name(errno));
		}
		f->fds[f->n++] = fd;
	}
	return 0;
}

int command_open(const json_t *method, json_t *params, struct files *f, struct err *e)
{
	const json_t *p;
	size_t i;

	f->n = 0;
	json_array_foreach (json_object_get(method, "params"), i, p) {
		const char *name = text_of(p, "name"), *path = text_of(params, name);
		size_t first = f->n;

		if (!json_object_get(params, name) ||
		    (strcmp(text_of(p, "type"), "output") != 0 && strcmp(text_of(p, "type"), "input") != 0))
			continue;
		if (files_open(method, p, path, files_wanted(p, params), f, e) < 0)
			return e->code;
		json_object_set_new(params, name, json_pack("{si}", "fd", (int)first));
	}
	return 0;
}

// The name is on the disk, too, before the user is told.
static int dir_sync(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = fd >= 0 ? fsync(fd) : -1;

	free(copy);
	if (fd >= 0)
		close(fd);
	return rc;
}

int files_keep(struct files *f, struct err *e)
{
	for (size_t i = 0; i < f->n; i++) {
		if (!f->written[i])
			continue;
		if (fsync(f->fds[i]) < 0 || rename(f->written[i], f->path[i]) < 0 || dir_sync(f->path[i]) < 0)
			return err_set(e, -errno, "cannot write %s: %s", f->path[i], err_name(errno));
		free(f->written[i]);
		f->written[i] = NULL;
	}
	return 0;
}

void files_close(struct files *f)
{
	while (f->n > 0) {
		close(f->fds[--f->n]);
		if (f->written[f->n])
			unlink(f->written[f->n]);
		free(f->written[f->n]);
		free(f->path[f->n]);
	}
}
