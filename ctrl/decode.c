// Parameters checked against their table and brought into canonical form.
//
// Clients may send what a person typed (a string) or JSON's own number, boolean or array; stored rows
// come back in canonical form. All findings of one object are told in one sentence. Pure, any thread.
#include "decode.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/api/value.h"
#include "nearest.h"

#define MAX_STRING  255
#define MAX_PATH    4095
#define MAX_NAMES   1024
#define MAX_FDS     8
#define MAX_UNKNOWN 8 // named one by one; the others are only counted

static json_t *string_decode(const struct param *p, const char *text, struct err *e)
{
	size_t len = strlen(text), max = p->type == PARAM_PATH ? MAX_PATH : MAX_STRING;

	if (len == 0)
		err_set(e, -EINVAL, "%s is empty", p->name);
	else if (len > max)
		err_set(e, -ERANGE, "%s is %zu bytes long, the limit is %zu", p->name, len, max);
	else if (!value_is_printable(text))
		err_set(e, -EINVAL, "%s contains a control character", p->name);
	else if (p->type == PARAM_PATH && text[0] != '/')
		err_set(e, -EINVAL, "%s \"%s\" is not an absolute path, begin it with /", p->name, text);
	else
		return json_string(text);
	return NULL;
}

static int name_check(const struct param *p, const char *text, struct err *e)
{
	if (value_is_name(text))
		return 0;
	return err_set(
	    e, -EINVAL,
	    "%s \"%.80s\" is not a name: 1 to 63 letters, digits and _ . : -, the first a letter or digit",
	    p->name, text);
}

static json_t *name_decode(const struct param *p, const char *text, struct err *e)
{
	return name_check(p, text, e) ? NULL : json_string(text);
}

static json_t *bool_decode(const struct param *p, const char *text, struct err *e)
{
	bool v;

	if (value_parse_bool(text, &v) == 0)
		return json_boolean(v);
	err_set(e, -EINVAL, "%s \"%.80s\" is neither on nor off", p->name, text);
	return NULL;
}

static void number_print(enum param_type type, int64_t v, char buf[VALUE_NUMBER_LEN])
{
	if (type == PARAM_RATE)
		value_print_rate(v, buf);
	else if (type == PARAM_SIZE)
		value_print_size(v, buf);
	else
		snprintf(buf, VALUE_NUMBER_LEN, "%" PRId64, v);
}

static bool has_range(const struct param *p)
{
	return p->min || p->max;
}

static json_t *range_refuse(const struct param *p, const char *text, struct err *e)
{
	char min[VALUE_NUMBER_LEN], max[VALUE_NUMBER_LEN];

	if (!has_range(p)) {
		err_set(e, -ERANGE, "%s %.40s is too large", p->name, text);
		return NULL;
	}
	number_print(p->type, p->min, min);
	number_print(p->type, p->max, max);
	err_set(e, -ERANGE, "%s %.40s is outside %s to %s%s%s", p->name, text, min, max, p->unit ? " " : "",
		p->unit ? p->unit : "");
	return NULL;
}

static json_t *integer_decode(const struct param *p, int64_t v, struct err *e)
{
	char text[VALUE_NUMBER_LEN];
	bool below_zero = v < 0 && p->type != PARAM_INT;

	if (!below_zero && (!has_range(p) || (v >= p->min && v <= p->max)))
		return json_integer(v);
	number_print(p->type, v, text);
	if (below_zero && !has_range(p)) {
		err_set(e, -ERANGE, "%s %s is below 0", p->name, text);
		return NULL;
	}
	return range_refuse(p, text, e);
}

static json_t *number_decode(const struct param *p, const char *text, struct err *e)
{
	static const char *const what[] = {[PARAM_INT] = "a whole number",
					   [PARAM_RATE] = "a rate such as 500M or 1G (bits per second)",
					   [PARAM_SIZE] = "a size such as 4K or 1M (bytes)"};
	int64_t v;
	int rc = p->type == PARAM_INT    ? value_parse_int(text, &v)
		 : p->type == PARAM_RATE ? value_parse_rate(text, &v)
					 : value_parse_size(text, &v);

	if (rc == -ERANGE)
		return range_refuse(p, text, e);
	if (rc == 0)
		return integer_decode(p, v, e);
	err_set(e, rc, "%s \"%.80s\" is not %s", p->name, text, what[p->type]);
	return NULL;
}

static json_t *enum_decode(const struct param *p, const char *text, struct err *e)
{
	size_t len = strlen(text);

	for (const char *word = p->values, *end; len; word = end + 1) {
		end = strchrnul(word, '|');
		if ((size_t)(end - word) == len && memcmp(word, text, len) == 0)
			return json_string(text);
		if (!*end)
			break;
	}
	err_set(e, -EINVAL, "%s \"%.80s\" is none of %s", p->name, text, p->values);
	return NULL;
}

static json_t *mac_decode(const struct param *p, const char *text, struct err *e)
{
	char buf[VALUE_MAC_LEN];
	uint8_t mac[6];

	if (value_parse_mac(text, mac) == 0)
		return json_string(value_print_mac(mac, buf));
	err_set(e, -EINVAL, "%s \"%.80s\" is not a MAC address such as 02:00:00:00:00:01", p->name, text);
	return NULL;
}

static json_t *ip_decode(const struct param *p, const char *text, struct err *e)
{
	char buf[VALUE_IP_LEN];
	struct value_ip ip;

	if (value_parse_ip(text, &ip) == 0)
		return json_string(value_print_ip(&ip, buf));
	err_set(e, -EINVAL, "%s \"%.80s\" is not an IPv4 or IPv6 address", p->name, text);
	return NULL;
}

static json_t *prefix_decode(const struct param *p, const char *text, struct err *e)
{
	char buf[VALUE_PREFIX_LEN];
	struct value_prefix prefix;

	if (value_parse_prefix(text, &prefix) == 0)
		return json_string(value_print_prefix(&prefix, buf));
	if (value_parse_ip_len(text, &prefix) == 0)
		err_set(e, -EINVAL, "%s \"%.80s\" has bits behind its length", p->name, text);
	else
		err_set(e, -EINVAL, "%s \"%.80s\" is not a prefix such as 10.0.0.0/8", p->name, text);
	return NULL;
}

static json_t *uuid_decode(const struct param *p, const char *text, struct err *e)
{
	char buf[VALUE_UUID_LEN];
	uint8_t uuid[16];

	if (value_parse_uuid(text, uuid) == 0)
		return json_string(value_print_uuid(uuid, buf));
	err_set(e, -EINVAL, "%s \"%.80s\" is not a UUID such as 123e4567-e89b-12d3-a456-426614174000",
		p->name, text);
	return NULL;
}

static json_t *vlans_decode(const struct param *p, const char *text, struct err *e)
{
	char buf[VALUE_VLANS_LEN];
	struct value_vlans set;

	if (value_parse_vlans(text, &set) == 0)
		return json_string(value_print_vlans(&set, buf));
	err_set(e, -EINVAL, "%s \"%.80s\" is not a list of VLANs 1 to 4094 such as 10-20,30", p->name, text);
	return NULL;
}

static json_t *hex_decode(const struct param *p, const char *text, struct err *e)
{
	if (value_parse_hex(text, NULL, INT_MAX) <= 0) {
		err_set(e, -EINVAL, "%s \"%.80s\" is not an even number of hex digits", p->name, text);
		return NULL;
	}
	json_t *v = json_string(text);
	// jansson has no call that maps a string's bytes
	for (char *c = v ? (char *)json_string_value(v) : ""; *c; c++)
		*c |= 0x20; // digits have this bit already
	return v;
}

// Adds one name to the list; refuses it when it is there already.
static int names_add(const struct param *p, json_t *list, json_t *name, struct err *e)
{
	const char *text = json_string_value(name);
	const json_t *other;
	size_t i;
	int rc = text ? name_check(p, text, e)
		      : err_set(e, -EINVAL, "%s must be a list of names such as a,b", p->name);

	if (rc == 0 && json_array_size(list) >= MAX_NAMES)
		rc = err_set(e, -ERANGE, "%s has more than %d names", p->name, MAX_NAMES);
	json_array_foreach (list, i, other)
		if (rc == 0 && strcmp(json_string_value(other), text) == 0)
			rc = err_set(e, -EINVAL, "%s has %s twice", p->name, text);
	if (rc == 0 && json_array_append(list, name) != 0)
		rc = err_set(e, -ENOMEM, "out of memory");
	return rc;
}

static json_t *names_decode(const struct param *p, const json_t *in, struct err *e)
{
	json_t *list = json_array();
	const json_t *name;
	size_t i;

	json_array_foreach (in, i, name)
		if (names_add(p, list, (json_t *)name, e) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *names_split(const struct param *p, const char *text, struct err *e)
{
	json_t *words = json_array();

	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = strchrnul(text, ',');
		json_array_append_new(words, json_stringn(text, (size_t)(end - text)));
		if (*end && !end[1])
			json_array_append_new(words, json_string(""));
	}
	json_t *list = names_decode(p, words, e);
	json_decref(words);
	return list;
}

static json_t *fd_decode(const struct param *p, const json_t *in, struct err *e)
{
	const json_t *fd = json_object_get(in, "fd");

	if (json_object_size(in) == 1 && json_is_integer(fd) && json_integer_value(fd) >= 0 &&
	    json_integer_value(fd) < MAX_FDS)
		return json_integer(json_integer_value(fd));
	err_set(e, -EINVAL, "%s must be {\"fd\": I}, the index of a descriptor sent with the request",
		p->name);
	return NULL;
}

static const struct type_entry {
	const char *name;
	json_t *(*decode)(const struct param *p, const char *text, struct err *e); // a person's text
} types[] = {
    [PARAM_STRING] = {"string", string_decode},
    [PARAM_NAME] = {"name", name_decode},
    [PARAM_PATH] = {"path", string_decode},
    [PARAM_BOOL] = {"bool", bool_decode},
    [PARAM_INT] = {"int", number_decode},
    [PARAM_RATE] = {"rate", number_decode},
    [PARAM_SIZE] = {"size", number_decode},
    [PARAM_ENUM] = {"enum", enum_decode},
    [PARAM_MAC] = {"mac", mac_decode},
    [PARAM_IP] = {"ip", ip_decode},
    [PARAM_PREFIX] = {"prefix", prefix_decode},
    [PARAM_UUID] = {"uuid", uuid_decode},
    [PARAM_VLANS] = {"vlans", vlans_decode},
    [PARAM_NAMES] = {"names", names_split},
    [PARAM_HEX] = {"hex", hex_decode},
    [PARAM_JSON] = {"json", NULL},
    [PARAM_INPUT] = {"input", NULL},
    [PARAM_OUTPUT] = {"output", NULL},
};

const char *decode_type_name(enum param_type type)
{
	return types[type].name;
}

static bool is_number(enum param_type type)
{
	return type == PARAM_INT || type == PARAM_RATE || type == PARAM_SIZE;
}

json_t *decode_value(const struct param *p, const json_t *in, struct err *e)
{
	const char *text = json_string_value(in);

	if ((p->flags & PARAM_CLEARS) && (json_is_null(in) || (text && !*text)))
		return json_null();
	if (p->type == PARAM_JSON)
		return json_incref((json_t *)in);
	if (p->type == PARAM_INPUT || p->type == PARAM_OUTPUT)
		return fd_decode(p, in, e);
	if (text)
		return types[p->type].decode(p, text, e);
	if (json_is_integer(in) && is_number(p->type))
		return integer_decode(p, json_integer_value(in), e);
	if (json_is_boolean(in) && p->type == PARAM_BOOL)
		return json_boolean(json_is_true(in));
	if (json_is_array(in) && p->type == PARAM_NAMES)
		return names_decode(p, in, e);
	err_set(e, -EINVAL, "%s must be %s, not JSON %s", p->name,
		is_number(p->type)       ? "a whole number"
		: p->type == PARAM_BOOL  ? "on or off"
		: p->type == PARAM_NAMES ? "a list of names"
					 : "a string",
		json_is_object(in)    ? "object"
		: json_is_array(in)   ? "array"
		: json_is_null(in)    ? "null"
		: json_is_boolean(in) ? "boolean"
				      : "number");
	return NULL;
}

static const struct param *param_find(const struct param *table, const char *name)
{
	for (const struct param *p = table; p && p->name; p++)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

static const struct param *param_nearest(const struct param *table, const char *name)
{
	const struct param *best = NULL;
	unsigned best_rank = UINT_MAX;

	for (const struct param *p = table; p && p->name; p++) {
		unsigned rank = nearest_rank(name, p->name);
		if (rank < best_rank) {
			best_rank = rank;
			best = p;
		}
	}
	return best;
}

static void unknown_report(const struct param *table, const json_t *in, struct err *findings)
{
	const char *key;
	const json_t *value;
	size_t n = 0;

	json_object_foreach ((json_t *)in, key, value) {
		if (param_find(table, key) || ++n > MAX_UNKNOWN)
			continue;
		const struct param *near = param_nearest(table, key);
		err_add(findings, -EINVAL, "unknown parameter %.63s%s%s%s", key, near ? " (is " : "",
			near ? near->name : "", near ? " meant?)" : "");
	}
	if (n > MAX_UNKNOWN)
		err_add(findings, -EINVAL, "and %zu more unknown parameters", n - MAX_UNKNOWN);
}

// The parameter as given, its default or nothing. False on a finding.
static bool param_decode(const struct param *p, const json_t *in, json_t *out, struct err *findings)
{
	const json_t *given = json_object_get(in, p->name);
	struct err one = {0};
	json_t *v;

	if (given) {
		v = decode_value(p, given, &one);
	} else if (p->flags & PARAM_REQUIRED) {
		v = NULL;
		err_set(&one, -EINVAL, "%s is missing", p->name);
	} else if (p->def) {
		json_t *def =
		    p->type == PARAM_JSON ? json_loads(p->def, JSON_DECODE_ANY, NULL) : json_string(p->def);
		v = def ? decode_value(p, def, &one) : NULL;
		json_decref(def);
	} else {
		return true;
	}
	if (v && json_object_set_new(out, p->name, v) == 0)
		return true;
	if (!one.code)
		err_set(&one, -ENOMEM, "%s: out of memory", p->name);
	err_add(findings, one.code, "%s", one.text);
	return false;
}

struct subject {
	const char *what;
	struct err *e;
};

// A finding by itself says whose it is.
static void subject_add(const char *finding, void *arg)
{
	const struct subject *s = arg;
	struct err one = {0};

	err_set(&one, -EINVAL, "%s: %s", s->what, finding);
	s->e->each(one.text, s->e->arg);
}

// All in one sentence, its subject once.
static int findings_add(struct err *e, const char *what, const struct err *findings)
{
	struct err one = {0};

	err_set(&one, findings->code, "%s: %s", what, findings->text);
	one.each = findings->each;
	return e ? err_join(e, &one) : one.code;
}

int decode_params(const struct param *table, const json_t *in, const char *what, json_t **out, struct err *e)
{
	struct subject subject = {what, e};
	struct err findings = {.each = e && e->each ? subject_add : NULL, .arg = &subject};
	json_t *decoded = json_object();

	*out = NULL;
	if (in && !json_is_object(in)) {
		json_decref(decoded);
		return err_add(e, -EINVAL, "%s: parameters must be a JSON object keyed by their names", what);
	}
	for (const struct param *p = table; p && p->name; p++)
		param_decode(p, in, decoded, &findings);
	unknown_report(table, in, &findings);
	if (findings.code) {
		json_decref(decoded);
		return findings_add(e, what, &findings);
	}
	*out = decoded;
	return 0;
}
