// evsctl: the command-line tool of evswitch.
//
// Knows no command: asks the daemon for its method table (rpc.c), reads the words by it
// (command.c), calls, and shows the result (show.c, table.c). Help (help.c), the manual (man.c) and
// completion (complete.c) come from the same table. Exit status: 0 done, 1 refused by the daemon,
// 2 bad usage or no daemon.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "command.h"
#include "complete.h"
#include "help.h"
#include "rates.h"
#include "rpc.h"
#include "show.h"

// Readers may have a socket of their own beside the writers'.
static int daemon_open(struct rpc *c, const struct args *a, struct err *e)
{
	static char beside[200];
	const char *slash = strrchr(a->socket, '/');
	int rc = rpc_open(c, a->socket, a->timeout_ms, e);

	if (rc != -EACCES || !slash || strcmp(slash, "/control.sock") != 0)
		return rc;
	snprintf(beside, sizeof(beside), "%.*s/control-ro.sock", (int)(slash - a->socket), a->socket);
	struct err e2 = {0};
	if (rpc_open(c, beside, a->timeout_ms, &e2) < 0)
		return rc;
	*e = e2;
	return 0;
}

// What other code may rely on: objects with a name of bounded length that has a dot.
static bool is_table(const json_t *methods)
{
	const json_t *m;
	size_t i;

	json_array_foreach (methods, i, m) {
		const char *name = text_of(m, "name");
		if (!strchr(name, '.') || strlen(name) >= 64)
			return false;
	}
	return json_is_array(methods);
}

static enum outcome methods_get(struct rpc *c, const char *object, json_t **methods, struct err *e)
{
	json_t *params = json_pack("{ss*}", "object", object), *result;
	struct call call = {.method = "system.methods", .params = params};
	enum outcome out = rpc_call(c, &call, &result, e);

	*methods = json_incref(json_object_get(result, "methods"));
	if (out == OUTCOME_OK && !is_table(*methods)) {
		err_set(e, -EPROTO, "%s sent no method table; is it evswitchd's socket?", c->path);
		out = OUTCOME_FAILED;
	}
	json_decref(params);
	json_decref(result);
	return out;
}

// The methods of one object; all of them if that is none of the daemon's, for a helpful sentence.
static enum outcome methods_of(struct rpc *c, const char *object, json_t **methods, struct err *e)
{
	enum outcome out = methods_get(c, object, methods, e);

	if (out != OUTCOME_OK || json_array_size(*methods) > 0)
		return out;
	json_decref(*methods);
	return methods_get(c, NULL, methods, e);
}

static void result_show(const struct args *a, const json_t *columns, const json_t *result)
{
	if (a->json)
		show_json(result);
	else
		show_text(columns, result);
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void round_show(const struct args *a, const json_t *columns, const json_t *result,
		       const json_t *before, double seconds)
{
	bool redraw = isatty(STDOUT_FILENO) && !a->json;

	if (redraw)
		fputs("\033[H\033[J", stdout);
	if (columns && json_is_array(result) && !a->json) {
		json_t *all = rates_columns(columns), *rows = rates_rows(columns, result, before, seconds);
		show_text(all, rows);
		json_decref(all);
		json_decref(rows);
	} else {
		result_show(a, columns, result);
	}
	if (!redraw && !a->json)
		putchar('\n');
}

// Repeats a command until the user or the daemon goes.
static enum outcome watch(struct rpc *c, const struct args *a, const struct call *call, const json_t *columns,
			  struct err *e)
{
	json_t *before = NULL, *result;
	double then = 0, now;
	enum outcome out;

	for (;;) {
		out = rpc_call(c, call, &result, e);
		if (out != OUTCOME_OK)
			break;
		now = now_s();
		round_show(a, columns, result, before, before ? now - then : 0);
		if (show_flush(e) < 0 || ferror(stdout)) {
			out = e->code ? OUTCOME_FAILED : OUTCOME_OK;
			break;
		}
		json_decref(before);
		before = result;
		result = NULL;
		then = now;
		rpc_closed_within(c, 1000);
	}
	json_decref(result);
	json_decref(before);
	return out;
}

static enum outcome command_call(struct rpc *c, const struct args *a, const json_t *method, json_t *params,
				 struct files *files, struct err *e)
{
	json_t *columns = json_object_get(method, "columns"), *result;
	struct show_notify notify = {.columns = columns, .json = a->json};
	struct call call = {
	    .method = text_of(method, "name"),
	    .params = params,
	    .fds = files->fds,
	    .n_fds = files->n,
	    .stream = is_set(method, "stream"),
	    .notify = show_notification,
	    .arg = &notify,
	};
	enum outcome out;

	if (a->watch)
		return watch(c, a, &call, columns, e);
	out = rpc_call(c, &call, &result, e);
	show_progress_end(&notify);
	if (out == OUTCOME_OK && files_keep(files, e) < 0)
		out = OUTCOME_FAILED;
	if (out == OUTCOME_OK && !files->on_stdout)
		result_show(a, columns, result);
	json_decref(result);
	return out;
}

static bool has_output(const json_t *method)
{
	const json_t *p;
	size_t i;

	json_array_foreach (json_object_get(method, "params"), i, p)
		if (strcmp(text_of(p, "type"), "output") == 0)
			return true;
	return false;
}

static enum outcome command_run(struct rpc *c, const struct args *a, const json_t *methods, struct err *e)
{
	size_t n_used;
	const json_t *method = method_take(methods, a->word, a->n_words, &n_used, e);
	struct files files = {0};
	enum outcome out = OUTCOME_FAILED;
	json_t *params;

	if (!method)
		return OUTCOME_FAILED;
	params = command_params(method, a->word + n_used, a->n_words - n_used, e);
	if (params && a->watch && (is_set(method, "write") || is_set(method, "stream") || has_output(method)))
		err_set(e, -EINVAL, "%s %s: -w repeats only commands that read and end", a->word[0],
			a->word[1]);
	if (e->code) {
		show_error(e->text);
		help_usage(stderr, method);
		e->text[0] = '\0';
	} else if (command_open(method, params, &files, e) == 0) {
		out = command_call(c, a, method, params, &files, e);
	}
	files_close(&files);
	json_decref(params);
	return out;
}

static enum outcome help_run(struct rpc *c, const struct args *a, char **word, size_t n, struct err *e)
{
	json_t *methods;
	enum outcome out = n > 0 ? methods_of(c, word[0], &methods, e) : methods_get(c, NULL, &methods, e);

	if (out == OUTCOME_OK) {
		if (a->man)
			help_man(stdout, methods);
		else if (n == 0)
			help_all(stdout, methods);
		else if (help_on(stdout, methods, word[0], n > 1 ? word[1] : NULL, e) < 0)
			out = OUTCOME_FAILED;
	}
	json_decref(methods);
	return out;
}

static enum outcome words_run(struct rpc *c, struct args *a, struct err *e)
{
	bool help = a->help || a->man;
	json_t *methods;

	if (strcmp(a->word[0], "help") == 0)
		return help_run(c, a, a->word + 1, a->n_words - 1, e);
	if (a->n_words == 2 && strcmp(a->word[1], "help") == 0)
		return help_run(c, a, a->word, 1, e);
	if (help || a->n_words == 1)
		return help_run(c, a, a->word, a->n_words, e);
	enum outcome out = methods_of(c, a->word[0], &methods, e);
	if (out == OUTCOME_OK)
		out = command_run(c, a, methods, e);
	json_decref(methods);
	return out;
}

static json_t *names_get(const char *kind, void *arg)
{
	json_t *params = json_object(), *result, *names = json_array(), *row;
	char method[80];
	struct call call = {.method = method, .params = params};
	struct err e = {0};
	size_t i;

	snprintf(method, sizeof(method), "%s.show", kind);
	rpc_call(arg, &call, &result, &e);
	json_array_foreach (result, i, row) {
		if (json_is_string(json_object_get(row, "name")))
			json_array_append(names, json_object_get(row, "name"));
	}
	json_decref(params);
	json_decref(result);
	return names;
}

// evsctl --complete WORD...: for the shell; silent, and status 1 where a file name belongs.
static int complete(int argc, char **argv)
{
	struct args a;
	struct rpc c = {.fd = -1};
	struct err e = {0};
	json_t *methods = NULL;
	bool words = true;
	char *last = argc > 2 ? argv[argc - 1] : "";

	int rc = args_read(&a, argc > 2 ? argc - 2 : 1, argv + 1, &e);
	if (rc < 0 && optopt == 's')
		words = false; // the word being completed is the socket's path
	if (rc == 0 && last[0] != '-') {
		a.word[a.n_words++] = last;
		a.timeout_ms = 1000;
		if (daemon_open(&c, &a, &e) == 0 && methods_get(&c, NULL, &methods, &e) == OUTCOME_OK)
			words = complete_print(stdout, methods, a.word, a.n_words, names_get, &c);
	}
	json_decref(methods);
	rpc_close(&c);
	free(a.word);
	return words ? 0 : 1;
}

// evsctl --man: the manual of the table on stdin, as "evswitchd --methods" prints it.
static enum outcome man_run(struct err *e)
{
	json_error_t at;
	json_t *table = json_loadf(stdin, 0, &at);
	const json_t *methods = json_object_get(table, "methods");

	if (is_table(methods))
		help_man(stdout, methods);
	else
		err_set(e, -EINVAL, "standard input has no method table; evswitchd --methods prints one");
	json_decref(table);
	return e->code ? OUTCOME_FAILED : OUTCOME_OK;
}

static enum outcome run(struct args *a, struct err *e)
{
	struct rpc c = {.fd = -1};
	enum outcome out = OUTCOME_FAILED;

	if (a->version || (a->n_words == 1 && strcmp(a->word[0], "version") == 0)) {
		puts("evsctl " EVS_VERSION);
		return OUTCOME_OK;
	}
	if (a->n_words == 0 && a->man)
		return man_run(e);
	if (a->n_words == 0 && !a->help) {
		help_options(stderr);
		return OUTCOME_FAILED;
	}
	if (a->n_words == 0)
		a->word[a->n_words++] = "help";
	if (daemon_open(&c, a, e) == 0)
		out = words_run(&c, a, e);
	else if (a->n_words == 1 && strcmp(a->word[0], "help") == 0)
		help_options(stdout);
	rpc_close(&c);
	return out;
}

int main(int argc, char **argv)
{
	struct args a;
	struct err e = {0};
	enum outcome out = OUTCOME_FAILED;

	if (argc > 1 && strcmp(argv[1], "--complete") == 0)
		return complete(argc, argv);
	if (args_read(&a, argc, argv, &e) == 0)
		out = run(&a, &e);
	if (out == OUTCOME_OK && show_flush(&e) < 0)
		out = OUTCOME_FAILED;
	if (out != OUTCOME_OK && e.text[0])
		show_error(e.text);
	free(a.word);
	return out;
}
