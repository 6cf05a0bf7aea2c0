// The rows of an examination (ctrl/api/findings.h). The thread that examines.
#include "ctrl/api/findings.h"

#include <stdarg.h>
#include <stdbool.h>

#include "ctrl/must.h"

static void row_add(struct findings *f, const char *check, bool fine, const char *fmt, va_list ap)
{
	json_array_append_new(f->rows, must(json_pack("{s:s, s:b, s:o}", "check", check, "fine", fine,
						      "found", must(json_vsprintf(fmt, ap)))));
}

void findings_fine(struct findings *f, const char *check, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	row_add(f, check, true, fmt, ap);
	va_end(ap);
}

void findings_bad(struct findings *f, const char *check, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	row_add(f, check, false, fmt, ap);
	va_end(ap);
	f->n_bad++;
}

void findings_fix(struct findings *f, const char *fmt, ...)
{
	json_t *row = json_array_get(f->rows, json_array_size(f->rows) - 1);
	va_list ap;

	va_start(ap, fmt);
	json_object_set_new(row, "fix", must(json_vsprintf(fmt, ap)));
	va_end(ap);
}
