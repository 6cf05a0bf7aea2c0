// Errors as sentences.
//
// What goes into a sentence may come from a client or a guest, so everything that is not printable
// is replaced here, once, before it can reach a terminal, a log or JSON. Any thread.
#include "ctrl/api/err.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/api/value.h"

static void err_vappend(struct err *e, const char *fmt, va_list ap)
{
	size_t used = strlen(e->text), room = sizeof(e->text) - used;
	int n = vsnprintf(e->text + used, room, fmt, ap);

	if (n < 0 || (size_t)n >= room)
		memcpy(e->text + sizeof(e->text) - 4, "...", 4);
	value_make_printable(e->text);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return code;
	// the arguments may point into e->text
	struct err now = {.code = code};
	va_start(ap, fmt);
	err_vappend(&now, fmt, ap);
	va_end(ap);
	*e = now;
	return code;
}

int err_join(struct err *e, const struct err *one)
{
	size_t used = strlen(e->text);

	e->code = one->code;
	if (e->each && !one->each)
		e->each(one->text, e->arg);
	if (snprintf(e->text + used, sizeof(e->text) - used, "%s%s", used > 0 ? "; " : "", one->text) >=
	    (int)(sizeof(e->text) - used))
		memcpy(e->text + sizeof(e->text) - 4, "...", 4);
	value_make_printable(e->text);
	return e->code;
}

int err_add(struct err *e, int code, const char *fmt, ...)
{
	struct err one = {.code = code};
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	err_vappend(&one, fmt, ap);
	va_end(ap);
	return err_join(e, &one);
}

const char *err_name(int errnum)
{
	static _Thread_local char text[96];
	// the GNU form, which need not use the buffer
	const char *s = strerror_r(errnum < 0 ? -errnum : errnum, text, sizeof(text));

	if (s != text)
		snprintf(text, sizeof(text), "%s", s);
	// "Is a directory" but not "RPC version wrong"
	if (isupper((unsigned char)text[0]) && !isupper((unsigned char)text[1]))
		text[0] = (char)tolower((unsigned char)text[0]);
	return text;
}
