// Help on the terminal: all objects with their verbs, one object, one verb.
//
// Everything but the options comes from the daemon's table, so that help is never older than the
// daemon it is about.
#include "help.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "command.h"
#include "usage.h"

void help_options(FILE *out)
{
	fputs(
	    "usage: evsctl [OPTION]... OBJECT VERB [NAME] [KEY VALUE]...\n"
	    "       evsctl help [OBJECT [VERB]]\n"
	    "       evsctl version\n"
	    "\n"
	    "options, at any place (\"--\" ends them):\n"
	    "  -s, --socket SOCKET   the daemon's socket; else $EVS_SOCKET, else /run/evswitch/control.sock\n"
	    "  -j, --json            print the result as JSON\n"
	    "  -w, --watch           repeat a command that only reads every second, with rates, until "
	    "Ctrl-C\n"
	    "  -t, --timeout SECONDS how long the daemon may be silent (10)\n"
	    "  -h, --help            help on the object and verb that are given\n",
	    out);
}

// Prints a usage line in pieces, breaking it before column 100.
static void usage_print(FILE *out, const char *lead, const json_t *method)
{
	size_t column = strlen(lead), indent = column + 4;
	const json_t *p;
	size_t i;

	column += fprintf(out, "%s%.*s %s", lead, (int)strcspn(text_of(method, "name"), "."),
			  text_of(method, "name"), method_verb(method)) -
		  strlen(lead);
	json_array_foreach (json_object_get(method, "params"), i, p) {
		char piece[512];
		size_t len = usage_piece(p, piece, sizeof(piece));
		if (column + 1 + len > 100) {
			fprintf(out, "\n%*s", (int)indent - 1, "");
			column = indent - 1;
		}
		fprintf(out, " %s", piece);
		column += 1 + len;
	}
	putc('\n', out);
}

void help_usage(FILE *out, const json_t *method)
{
	usage_print(out, "usage: evsctl ", method);
}

static bool is_first_of_object(const json_t *methods, size_t i)
{
	const char *name = text_of(json_array_get(methods, i), "name");
	const char *before = i > 0 ? text_of(json_array_get(methods, i - 1), "name") : "";
	size_t len = strcspn(name, ".");

	return len != strcspn(before, ".") || strncmp(name, before, len) != 0;
}

void help_all(FILE *out, const json_t *methods)
{
	const json_t *m;
	size_t i, width = 0;

	json_array_foreach (methods, i, m) {
		if (strlen(text_of(m, "name")) > width)
			width = strlen(text_of(m, "name"));
	}
	help_options(out);
	fputs("\ncommands (evsctl help OBJECT VERB tells more):\n", out);
	json_array_foreach (methods, i, m) {
		int object = (int)strcspn(text_of(m, "name"), ".");
		if (is_first_of_object(methods, i))
			putc('\n', out);
		fprintf(out, "  %.*s %-*s  %s\n", object, text_of(m, "name"), (int)width - object - 1,
			method_verb(m), text_of(m, "help"));
	}
}

static void param_print(FILE *out, const json_t *p, size_t width)
{
	char facts[512], head[512];

	usage_facts(p, facts, sizeof(facts));
	snprintf(head, sizeof(head), "%s %s", text_of(p, "name"), usage_value(p));
	fprintf(out, "  %-*s  %s%s%s%s\n", (int)width, head, text_of(p, "help"), *facts ? " (" : "", facts,
		*facts ? ")" : "");
}

static void params_print(FILE *out, const json_t *params)
{
	const json_t *p;
	size_t i, width = 0;

	json_array_foreach (params, i, p) {
		size_t len = strlen(text_of(p, "name")) + 1 + strlen(usage_value(p));
		if (len > width && len <= 40)
			width = len;
	}
	if (json_array_size(params) > 0)
		fputs("\nparameters:\n", out);
	json_array_foreach (params, i, p) {
		param_print(out, p, width);
	}
}

static void columns_print(FILE *out, const json_t *columns)
{
	const json_t *c;
	size_t i, width = 0;

	json_array_foreach (columns, i, c) {
		if (strlen(text_of(c, "name")) > width)
			width = strlen(text_of(c, "name"));
	}
	if (json_array_size(columns) > 0)
		fputs("\ncolumns:\n", out);
	json_array_foreach (columns, i, c) {
		fprintf(out, "  %-*s  %s%s%s%s\n", (int)width, text_of(c, "name"), text_of(c, "help"),
			*text_of(c, "unit") ? " (" : "", text_of(c, "unit"), *text_of(c, "unit") ? ")" : "");
	}
}

static void help_method(FILE *out, const json_t *method)
{
	help_usage(out, method);
	fprintf(out, "%s\n", text_of(method, "help"));
	params_print(out, json_object_get(method, "params"));
	columns_print(out, json_object_get(method, "columns"));
}

int help_on(FILE *out, const json_t *methods, const char *object, const char *verb, struct err *e)
{
	const json_t *m;
	size_t i, n = 0;

	json_array_foreach (methods, i, m) {
		n += method_is_of(m, object);
	}
	if (n == 0 || verb) {
		m = method_find(methods, object, verb ? verb : "", e);
		if (!m)
			return e->code;
		help_method(out, m);
		return 0;
	}
	json_array_foreach (methods, i, m) {
		if (!method_is_of(m, object))
			continue;
		usage_print(out, "evsctl ", m);
		fprintf(out, "    %s\n", text_of(m, "help"));
	}
	return 0;
}
