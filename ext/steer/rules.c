// Reading rules, which a word too many makes wrong: a rule that does less than its writer thought is worse than none.
// [control], but for rules_find().
#include "rules.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
	size_t at; // which rule
	struct evs_why *why;
};

static bool refuse(const struct reading *rd, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(const struct reading *rd, const char *format, ...)
{
	va_list args;
	int n = snprintf(rd->why->text, sizeof(rd->why->text), "rule %zu: ", rd->at + 1);

	va_start(args, format);
	vsnprintf(rd->why->text + n, sizeof(rd->why->text) - (size_t)n, format, args);
	va_end(args);
	return false;
}

static bool read_name(const struct reading *rd, const char *key, const json_t *v, struct rule_port *p)
{
	if (!json_is_string(v) || json_string_length(v) == 0)
		return refuse(rd, "%s must be the name of a port", key);
	p->name = strdup(json_string_value(v));
	return p->name != NULL || refuse(rd, "out of memory");
}

static bool read_number(const struct reading *rd, const char *key, const json_t *v, int max, int *to)
{
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
		return refuse(rd, "%s must be a number, 0 to %d", key, max);
	*to = (int)json_integer_value(v);
	return true;
}

static bool mac_parse(const char *text, uint8_t mac[6])
{
	int end = 0;

	return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3],
		      &mac[4], &mac[5], &end) == 6 &&
	       end == 17;
}

// "02:00:00:00:00:01", or with a mask: "01:00:00:00:00:00/01:00:00:00:00:00" is every group address.
static bool read_mac(const struct reading *rd, const char *key, const json_t *v, struct rule_mac *m)
{
	const char *text = json_is_string(v) ? json_string_value(v) : "";
	char address[18];

	snprintf(address, sizeof(address), "%.17s", text);
	memset(m->mask, 0xff, sizeof(m->mask));
	if (!mac_parse(address, m->mac) ||
	    (text[17] == '/' ? !mac_parse(text + 18, m->mask) || text[35] != '\0' : text[17] != '\0'))
		return refuse(rd, "%s must be an address, such as 02:00:00:00:00:01, or ADDRESS/MASK", key);
	for (int i = 0; i < 6; i++)
		m->mac[i] &= m->mask[i];
	return true;
}

static bool prefix_parse(const char *text, struct rule_prefix *p)
{
	size_t n = strcspn(text, "/");
	char address[INET6_ADDRSTRLEN], *end = NULL;
	bool is_v4 = strchr(text, ':') == NULL;
	unsigned long bits = is_v4 ? 32 : 128;

	if (n >= sizeof(address))
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	p->version = is_v4 ? 4 : 6;
	p->bits = (uint8_t)bits;
	if (text[n] == '/') {
		unsigned long given = strtoul(text + n + 1, &end, 10);

		if (strspn(text + n + 1, "0123456789") == 0 || *end != '\0' || given > bits)
			return false;
		p->bits = (uint8_t)given;
	}
	return inet_pton(is_v4 ? AF_INET : AF_INET6, address, p->address) == 1;
}

static bool read_prefix(const struct reading *rd, const char *key, const json_t *v, struct rule_prefix *p)
{
	return (json_is_string(v) && prefix_parse(json_string_value(v), p)) ||
	       refuse(rd, "%s must be an address or a prefix, such as 10.0.0.0/8 or 2001:db8::/32", key);
}

static bool word_parse(const char *text, enum rule_to *to)
{
	static const char *const words[] = {[TO_LEARN] = "learn", [TO_FLOOD] = "flood", [TO_DROP] = "drop"};

	for (int i = TO_LEARN; i <= TO_DROP; i++)
		if (text != NULL && strcmp(text, words[i]) == 0) {
			*to = (enum rule_to)i;
			return true;
		}
	return false;
}

static bool read_to(const struct reading *rd, const json_t *v, struct rule *r)
{
	if (word_parse(json_string_value(v), &r->to))
		return true;
	if (!json_is_array(v) || json_array_size(v) == 0 || json_array_size(v) > EVS_MAX_DESTINATIONS)
		return refuse(rd, "to must be a list of up to %d ports, or learn, flood or drop",
			      EVS_MAX_DESTINATIONS);
	r->to = TO_PORTS;
	for (; r->n_ports < json_array_size(v); r->n_ports++)
		if (!read_name(rd, "to", json_array_get(v, r->n_ports), &r->ports[r->n_ports]))
			return false;
	return true;
}

static bool read_key(const struct reading *rd, const char *key, const json_t *v, struct rule *r)
{
	if (strcmp(key, "from") == 0)
		return read_name(rd, key, v, &r->from);
	if (strcmp(key, "src") == 0)
		return read_mac(rd, key, v, &r->src);
	if (strcmp(key, "dst") == 0)
		return read_mac(rd, key, v, &r->dst);
	if (strcmp(key, "vlan") == 0)
		return read_number(rd, key, v, 4094, &r->vlan);
	if (strcmp(key, "type") == 0)
		return read_number(rd, key, v, UINT16_MAX, &r->type);
	if (strcmp(key, "proto") == 0)
		return read_number(rd, key, v, UINT8_MAX, &r->proto);
	if (strcmp(key, "ip-src") == 0)
		return read_prefix(rd, key, v, &r->ip_src);
	if (strcmp(key, "ip-dst") == 0)
		return read_prefix(rd, key, v, &r->ip_dst);
	if (strcmp(key, "to") == 0)
		return read_to(rd, v, r);
	if (strcmp(key, "absent") == 0)
		return word_parse(json_string_value(v), &r->absent) ||
		       refuse(rd, "absent must be learn, flood or drop");
	return refuse(
	    rd, "%s is unknown; there are from, src, dst, vlan, type, proto, ip-src, ip-dst, to, absent",
	    key);
}

static bool read_rule(const struct reading *rd, json_t *from, struct rule *r)
{
	const char *key;
	json_t *v;

	*r = (struct rule){.vlan = -1, .type = -1, .proto = -1, .absent = TO_DROP};
	if (!json_is_object(from) || json_object_get(from, "to") == NULL)
		return refuse(rd, "it must be an object that says where to: {\"to\": [\"PORT\"]}");
	json_object_foreach (from, key, v)
		if (!read_key(rd, key, v, r))
			return false;
	return true;
}

static struct rules *rules_read(json_t *root, struct evs_why *why)
{
	json_t *list = json_object_get(root, "rules");
	struct reading rd = {.why = why};

	if (!json_is_array(list) || json_object_size(root) != 1 || json_array_size(list) > MAX_RULES) {
		snprintf(why->text, sizeof(why->text),
			 "its configuration must be {\"rules\": [...]}, up to %d of them", MAX_RULES);
		return NULL;
	}
	struct rules *r = calloc(1, sizeof(*r) + json_array_size(list) * sizeof(r->list[0]));

	if (r == NULL) {
		snprintf(why->text, sizeof(why->text), "out of memory");
		return NULL;
	}
	for (; rd.at < json_array_size(list); rd.at++) {
		r->n++;
		if (!read_rule(&rd, json_array_get(list, rd.at), &r->list[rd.at])) {
			rules_destroy(r);
			return NULL;
		}
	}
	return r;
}

struct rules *rules_create(const char *config, struct evs_why *why)
{
	json_error_t error = {0};
	json_t *root = json_loads(config != NULL ? config : "{\"rules\": []}",
				  JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

	if (root == NULL)
		snprintf(why->text, sizeof(why->text), "its configuration is no JSON: %s", error.text);
	struct rules *r = root != NULL ? rules_read(root, why) : NULL;

	json_decref(root);
	return r;
}

void rules_destroy(struct rules *r)
{
	for (uint32_t i = 0; r != NULL && i < r->n; i++) {
		free(r->list[i].from.name);
		for (uint32_t j = 0; j < EVS_MAX_DESTINATIONS; j++)
			free(r->list[i].ports[j].name);
	}
	free(r);
}

// Workers

static bool is_mac(const struct rule_mac *m, const uint8_t mac[6])
{
	for (int i = 0; i < 6; i++)
		if ((mac[i] & m->mask[i]) != m->mac[i])
			return false;
	return true;
}

static bool is_in(const struct rule_prefix *p, uint8_t version, const uint8_t address[16])
{
	uint8_t rest = p->bits % 8, at = p->bits / 8, mask = (uint8_t)(0xff00 >> rest);

	if (p->version == 0)
		return true;
	return p->version == version && memcmp(p->address, address, at) == 0 &&
	       (rest == 0 || ((p->address[at] ^ address[at]) & mask) == 0);
}

static bool is_like(const struct rule *r, const struct evs_flow *f)
{
	if (r->from.name != NULL && (f->source == EVS_NO_PORT ||
				     atomic_load_explicit(&r->from.id, memory_order_relaxed) != f->source))
		return false;
	if ((r->vlan >= 0 && r->vlan != f->vlan) || (r->type >= 0 && r->type != f->ether_type) ||
	    (r->proto >= 0 && (f->ip_version == 0 || r->proto != f->ip_proto)))
		return false;
	return is_mac(&r->src, f->src) && is_mac(&r->dst, f->dst) &&
	       is_in(&r->ip_src, f->ip_version, f->ip_src) && is_in(&r->ip_dst, f->ip_version, f->ip_dst);
}

const struct rule *rules_find(const struct rules *r, const struct evs_flow *f)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (is_like(&r->list[i], f))
			return &r->list[i];
	return NULL;
}
