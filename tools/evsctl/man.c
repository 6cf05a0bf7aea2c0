// The section COMMANDS of the manual page in mdoc, written from the method table.
//
// tools/mkman puts it into the frame docs/man/evsctl.1.in.
#include "help.h"

#include <string.h>

#include "command.h"
#include "usage.h"

// Text within a line: nothing in it is taken for a request, a macro or an escape.
static void roff_print(FILE *out, const char *text)
{
	for (const char *s = text; *s; s++) {
		if (*s == '\\')
			fputs("\\e", out);
		else if (*s == '"')
			fputs("\\(dq", out);
		else if (*s == '-')
			fputs("\\-", out);
		else
			putc(*s == '\n' ? ' ' : *s, out);
	}
}

// One argument of a macro: quoted, and never a macro itself.
static void roff_argument(FILE *out, const char *separator, const char *macro, const char *text)
{
	fprintf(out, "%s%s \"\\&", separator, macro);
	roff_print(out, text);
	putc('"', out);
}

static void roff_line(FILE *out, const char *text)
{
	fputs("\\&", out);
	roff_print(out, text);
	putc('\n', out);
}

static void man_piece(FILE *out, const json_t *param)
{
	const char *separator = is_set(param, "required") ? "." : ".Op ";

	if (!is_set(param, "positional")) {
		roff_argument(out, separator, "Cm", text_of(param, "name"));
		separator = " ";
	}
	if (is_set(param, "positional") || !is_set(param, "flag"))
		roff_argument(out, separator, "Ar", usage_value(param));
	putc('\n', out);
}

static void man_param(FILE *out, const json_t *param)
{
	char facts[512], help[1024];

	roff_argument(out, ".It ", is_set(param, "positional") ? "Ar" : "Cm",
		      is_set(param, "positional") ? usage_value(param) : text_of(param, "name"));
	putc('\n', out);
	usage_facts(param, facts, sizeof(facts));
	snprintf(help, sizeof(help), "%s%s%s%s", text_of(param, "help"), *facts ? " (" : "", facts,
		 *facts ? ")" : "");
	roff_line(out, help);
}

static void man_method(FILE *out, const json_t *method)
{
	const json_t *params = json_object_get(method, "params"), *p;
	size_t i;

	// "Xo" carries the head on over several lines, one per parameter.
	roff_argument(out, ".It Xo\n.", "Ic", method_title(method));
	putc('\n', out);
	json_array_foreach (params, i, p) {
		man_piece(out, p);
	}
	fputs(".Xc\n", out);
	roff_line(out, text_of(method, "help"));
	if (json_array_size(params) == 0)
		return;
	fputs(".Bl -tag -width 16n -compact\n", out);
	json_array_foreach (params, i, p) {
		man_param(out, p);
	}
	fputs(".El\n", out);
}

void help_man(FILE *out, const json_t *methods)
{
	const char *object = "";
	const json_t *m;
	size_t i;

	json_array_foreach (methods, i, m) {
		if (!*object || !method_is_of(m, object)) {
			static char name[80];
			fputs(*object ? ".El\n" : "", out);
			snprintf(name, sizeof(name), "%.*s", (int)strcspn(text_of(m, "name"), "."),
				 text_of(m, "name"));
			object = name;
			roff_argument(out, ".", "Ss", object);
			fputs("\n.Bl -tag -width Ds\n", out);
		}
		man_method(out, m);
	}
	fputs(*object ? ".El\n" : "", out);
}
