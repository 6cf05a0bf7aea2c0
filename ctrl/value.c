// Numbers, rates, sizes, addresses, VLAN lists and hex as people write them.
//
// Every parser is strict: it takes the whole text or refuses it. Pure, any thread.
#include "ctrl/api/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int value_parse_bool(const char *text, bool *v)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true"};

	for (unsigned i = 0; i < 6; i++)
		if (strcmp(text, words[i]) == 0) {
			*v = i & 1;
			return 0;
		}
	return -EINVAL;
}

// Digits at *text, which is moved behind them. *v must be set to 0 by the caller.
static int digits_parse(const char **text, uint64_t *v)
{
	const char *p = *text;
	int rc = 0;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, (uint64_t)(*p - '0'), v))
			rc = -ERANGE;
	*text = p;
	return rc;
}

int value_parse_int(const char *text, int64_t *v)
{
	bool negative = *text == '-';
	uint64_t u = 0;

	text += negative;
	int rc = digits_parse(&text, &u);
	if (*text)
		return -EINVAL;
	if (rc == 0 && u > (uint64_t)INT64_MAX + negative)
		rc = -ERANGE;
	if (rc == 0)
		*v = negative ? (int64_t)(0 - u) : (int64_t)u;
	return rc;
}

static const char scale_suffixes[] = "kMGT";

// NUMBER[.FRACTION][SUFFIX]; the value must be a whole number.
static int scaled_parse(const char *text, uint64_t base, int64_t *v)
{
	uint64_t whole = 0, part = 0, part_unit = 1, unit = 1;
	int rc = digits_parse(&text, &whole);

	if (rc == -EINVAL)
		return rc;
	if (*text == '.') {
		const char *from = ++text;
		if (digits_parse(&text, &part) != 0 || text - from > 12)
			return -EINVAL;
		for (; from < text; from++)
			part_unit *= 10;
	}
	if (*text) {
		const char *s = strchr(scale_suffixes, *text == 'K' ? 'k' : *text);
		if (!s)
			return -EINVAL;
		for (const char *i = scale_suffixes; i <= s; i++)
			unit *= base;
		text++;
	}
	if (*text || (unsigned __int128)part * unit % part_unit)
		return -EINVAL;

	unsigned __int128 sum =
	    (unsigned __int128)whole * unit + (uint64_t)((unsigned __int128)part * unit / part_unit);
	if (rc || sum > INT64_MAX)
		return -ERANGE;
	*v = (int64_t)sum;
	return 0;
}

static char *scaled_print(int64_t v, int64_t base, char *buf)
{
	char suffix[2] = "";

	for (const char *s = scale_suffixes; *s && v && v % base == 0; s++) {
		v /= base;
		suffix[0] = base == 1024 && *s == 'k' ? 'K' : *s;
	}
	snprintf(buf, VALUE_NUMBER_LEN, "%" PRId64 "%s", v, suffix);
	return buf;
}

int value_parse_rate(const char *text, int64_t *bps)
{
	return scaled_parse(text, 1000, bps);
}

int value_parse_size(const char *text, int64_t *bytes)
{
	return scaled_parse(text, 1024, bytes);
}

char *value_print_rate(int64_t bps, char buf[VALUE_NUMBER_LEN])
{
	return scaled_print(bps, 1000, buf);
}

char *value_print_size(int64_t bytes, char buf[VALUE_NUMBER_LEN])
{
	return scaled_print(bytes, 1024, buf);
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Two hex digits, or -1.
static int byte_parse(const char *p)
{
	int high = nibble(p[0]), low = high < 0 ? -1 : nibble(p[1]);

	return low < 0 ? -1 : high << 4 | low;
}

int value_parse_mac(const char *text, uint8_t mac[6])
{
	uint8_t out[6];

	for (unsigned i = 0; i < 6; i++, text += 3) {
		int b = byte_parse(text);
		if (b < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		out[i] = (uint8_t)b;
	}
	memcpy(mac, out, 6);
	return 0;
}

char *value_print_mac(const uint8_t mac[6], char buf[VALUE_MAC_LEN])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 6; i++) { // tens of thousands at once: printf() would take milliseconds
		buf[3 * i] = digits[mac[i] >> 4];
		buf[3 * i + 1] = digits[mac[i] & 15];
		buf[3 * i + 2] = i < 5 ? ':' : '\0';
	}
	return buf;
}

int value_parse_ip(const char *text, struct value_ip *ip)
{
	struct value_ip out = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};

	if (inet_pton(out.family, text, out.bytes) != 1)
		return -EINVAL;
	*ip = out;
	return 0;
}

char *value_print_ip(const struct value_ip *ip, char buf[VALUE_IP_LEN])
{
	if (!inet_ntop(ip->family, ip->bytes, buf, VALUE_IP_LEN))
		buf[0] = '\0';
	return buf;
}

int value_parse_ip_len(const char *text, struct value_prefix *p)
{
	char address[VALUE_IP_LEN];
	const char *slash = strchrnul(text, '/');
	struct value_prefix out;
	int64_t len;

	if ((size_t)(slash - text) >= sizeof(address))
		return -EINVAL;
	snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
	if (value_parse_ip(address, &out.ip) != 0)
		return -EINVAL;
	unsigned max = out.ip.family == AF_INET ? 32 : 128;
	out.len = max;
	if (*slash) {
		if (!isdigit((unsigned char)slash[1]) || value_parse_int(slash + 1, &len) == -EINVAL)
			return -EINVAL;
		if (strlen(slash + 1) > 3 || len > max)
			return -ERANGE;
		out.len = (unsigned)len;
	}
	*p = out;
	return 0;
}

int value_parse_prefix(const char *text, struct value_prefix *p)
{
	struct value_prefix out;
	int rc = value_parse_ip_len(text, &out);

	if (rc)
		return rc;
	for (unsigned bit = out.len; bit < 128; bit++)
		if (out.ip.bytes[bit / 8] >> (7 - bit % 8) & 1)
			return -EINVAL;
	*p = out;
	return 0;
}

char *value_print_prefix(const struct value_prefix *p, char buf[VALUE_PREFIX_LEN])
{
	char address[VALUE_IP_LEN];

	snprintf(buf, VALUE_PREFIX_LEN, "%s/%u", value_print_ip(&p->ip, address), p->len & 0xff);
	return buf;
}

int value_parse_uuid(const char *text, uint8_t uuid[16])
{
	uint8_t out[16];

	for (unsigned i = 0; i < 16; i++, text += 2) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return -EINVAL;
		int b = byte_parse(text);
		if (b < 0)
			return -EINVAL;
		out[i] = (uint8_t)b;
	}
	if (*text)
		return -EINVAL;
	memcpy(uuid, out, 16);
	return 0;
}

char *value_print_uuid(const uint8_t uuid[16], char buf[VALUE_UUID_LEN])
{
	char *p = buf;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += sprintf(p, "%02x", uuid[i]);
	}
	return buf;
}

// One VLAN number at *text, which is moved behind it.
static int vlan_parse(const char **text, uint64_t *vlan)
{
	*vlan = 0;
	int rc = digits_parse(text, vlan);

	return rc ? rc : *vlan < 1 || *vlan > 4094 ? -ERANGE : 0;
}

int value_parse_vlans(const char *text, struct value_vlans *set)
{
	struct value_vlans out = {0};
	uint64_t first, last;

	if (strlen(text) >= VALUE_VLANS_LEN)
		return -ERANGE;
	do {
		int rc = vlan_parse(&text, &first);
		last = first;
		if (rc == 0 && *text == '-') {
			text++;
			rc = vlan_parse(&text, &last);
		}
		if (rc)
			return rc;
		if (last < first || (*text && *text != ','))
			return -EINVAL;
		for (uint64_t v = first; v <= last; v++)
			out.bits[v / 64] |= UINT64_C(1) << (v % 64);
	} while (*text++ == ',');
	*set = out;
	return 0;
}

char *value_print_vlans(const struct value_vlans *set, char buf[VALUE_VLANS_LEN])
{
	char *p = buf;

	*p = '\0';
	for (unsigned v = 1; v < 4095; v++) {
		if (!value_vlans_has(set, v))
			continue;
		unsigned last = v;
		while (last < 4094 && value_vlans_has(set, last + 1))
			last++;
		p += sprintf(p, "%s%u", p > buf ? "," : "", v);
		if (last > v)
			p += sprintf(p, "-%u", last);
		v = last;
	}
	return buf;
}

int value_parse_hex(const char *text, uint8_t *out, size_t max)
{
	size_t len = strlen(text);

	if (len % 2 || text[strspn(text, "0123456789abcdefABCDEF")])
		return -EINVAL;
	if (len / 2 > max)
		return -ERANGE;
	for (size_t i = 0; out && i < len / 2; i++)
		out[i] = (uint8_t)byte_parse(text + 2 * i);
	return (int)(len / 2);
}

char *value_print_hex(const uint8_t *bytes, size_t n, char *buf)
{
	for (size_t i = 0; i < n; i++)
		sprintf(buf + 2 * i, "%02x", bytes[i]);
	buf[2 * n] = '\0';
	return buf;
}

bool value_is_name(const char *text)
{
	size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-");

	return n >= 1 && n <= 63 && text[n] == '\0' && isalnum((unsigned char)text[0]);
}

// Length of the printable character at p, 0 if there is none. A text that ends inside a character is
// not read beyond its end: the terminating zero is no continuation byte.
static unsigned printable_len(const unsigned char *p)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;

	if (n <= 1)
		return n && p[0] >= 0x20 && p[0] != 0x7f;
	uint32_t c = p[0] & (0x7f >> n);
	for (unsigned i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	// overlong, surrogates, beyond Unicode, and the C1 controls that terminals obey
	if (c < smallest[n] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff || c < 0xa0)
		return 0;
	return n;
}

bool value_is_printable(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p) {
		unsigned n = printable_len(p);
		if (!n)
			return false;
		p += n;
	}
	return true;
}

void value_make_printable(char *text)
{
	unsigned char *p = (unsigned char *)text;

	while (*p) {
		unsigned n = printable_len(p);
		if (!n)
			*p = '?';
		p += n ? n : 1;
	}
}
