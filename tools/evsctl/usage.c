// Words for parameters, in the manner of manual pages.
#include "usage.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "command.h"

static const char *type_word(const char *type)
{
	static const struct {
		const char *type, *word;
	} words[] = {
	    {"string", "TEXT"}, {"name", "NAME"},     {"path", "PATH"}, {"bool", "on|off"},
	    {"int", "NUMBER"},  {"rate", "RATE"},     {"size", "SIZE"}, {"mac", "MAC"},
	    {"ip", "ADDRESS"},  {"prefix", "PREFIX"}, {"uuid", "UUID"}, {"vlans", "LIST"},
	    {"names", "A,B"},   {"hex", "HEX"},       {"json", "JSON"}, {"input", "FILE"},
	    {"output", "FILE"},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcmp(words[i].type, type) == 0)
			return words[i].word;
	return "VALUE";
}

const char *usage_value(const json_t *param)
{
	static char word[256];
	const json_t *values = json_object_get(param, "values"), *v;
	size_t i, len = 0;

	if (is_set(param, "positional")) {
		const char *name = text_of(param, "name");
		for (i = 0; name[i] && i + 1 < sizeof(word); i++)
			word[i] = (char)toupper((unsigned char)name[i]);
		word[i] = '\0';
		return word;
	}
	if (json_array_size(values) == 0)
		return type_word(text_of(param, "type"));
	json_array_foreach (values, i, v) {
		if (len < sizeof(word))
			len += snprintf(word + len, sizeof(word) - len, "%s%s", i > 0 ? "|" : "",
					json_is_string(v) ? json_string_value(v) : "");
	}
	return word;
}

size_t usage_piece(const json_t *param, char *out, size_t size)
{
	bool optional = !is_set(param, "required");
	const char *open = optional ? "[" : "", *end = optional ? "]" : "";

	if (is_set(param, "positional"))
		snprintf(out, size, "%s%s%s", open, usage_value(param), end);
	else if (is_set(param, "flag"))
		snprintf(out, size, "%s%s%s", open, text_of(param, "name"), end);
	else
		snprintf(out, size, "%s%s %s%s", open, text_of(param, "name"), usage_value(param), end);
	return strlen(out);
}

// Adds one more fact behind those that are there.
static void __attribute__((format(printf, 3, 4))) fact(char *out, size_t size, const char *fmt, ...)
{
	size_t len = strlen(out);
	va_list ap;

	if (len > 0 && len + 2 < size)
		len += snprintf(out + len, size - len, "; ");
	va_start(ap, fmt);
	vsnprintf(out + len, size - len, fmt, ap);
	va_end(ap);
}

void usage_facts(const json_t *param, char *out, size_t size)
{
	const json_t *min = json_object_get(param, "min"), *max = json_object_get(param, "max");
	const json_t *values = json_object_get(param, "values"), *v;
	size_t i;
	const char *unit = text_of(param, "unit"),
		   *def = json_string_value(json_object_get(param, "default"));

	*out = '\0';
	if (is_set(param, "required"))
		fact(out, size, "required");
	json_array_foreach (values, i, v) {
		if (is_set(param, "positional") && json_is_string(v))
			fact(out, size, "%s", json_string_value(v));
	}
	if (json_is_integer(min) && json_is_integer(max))
		fact(out, size, "%" JSON_INTEGER_FORMAT "..%" JSON_INTEGER_FORMAT "%s%s",
		     json_integer_value(min), json_integer_value(max), *unit ? " " : "", unit);
	else if (*unit)
		fact(out, size, "in %s", unit);
	if (def)
		fact(out, size, "default %s", def);
	if (is_set(param, "clears"))
		fact(out, size, "\"\" sets it back to none");
}
