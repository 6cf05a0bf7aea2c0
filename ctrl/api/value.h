// Values that people write and read: numbers, rates, sizes, addresses, VLAN lists, hex.
//
// The one place where they are parsed and printed. Pure functions, any thread. Parsers take the
// whole text: 0, or -EINVAL (not such a value) or -ERANGE (would be one, but too large), and write
// their result only with 0. Printers give the canonical form, which the parser takes back, and return
// their buffer.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int value_parse_bool(const char *text, bool *v);   // on|off|yes|no|true|false
int value_parse_int(const char *text, int64_t *v); // decimal, "-" allowed, no "+", no space

// Bits per second, decimal suffixes k M G T: "1G", "2.5G", "0". Not below 0.
int value_parse_rate(const char *text, int64_t *bps);
// Bytes, binary suffixes K M G T: "4K" = 4096.
int value_parse_size(const char *text, int64_t *bytes);
#define VALUE_NUMBER_LEN 24
char *value_print_rate(int64_t bps, char buf[VALUE_NUMBER_LEN]); // the largest suffix that is exact
char *value_print_size(int64_t bytes, char buf[VALUE_NUMBER_LEN]);

#define VALUE_MAC_LEN 18
int value_parse_mac(const char *text, uint8_t mac[6]);
char *value_print_mac(const uint8_t mac[6], char buf[VALUE_MAC_LEN]);

struct value_ip {
	int family;        // AF_INET or AF_INET6
	uint8_t bytes[16]; // wire order; IPv4 in the first four, the others 0
};
#define VALUE_IP_LEN 48
int value_parse_ip(const char *text, struct value_ip *ip);
char *value_print_ip(const struct value_ip *ip, char buf[VALUE_IP_LEN]);

struct value_prefix {
	struct value_ip ip;
	unsigned len;
};
#define VALUE_PREFIX_LEN 52
// Bits behind the length must be zero. Without "/len" it is one whole address.
int value_parse_prefix(const char *text, struct value_prefix *p);
char *value_print_prefix(const struct value_prefix *p, char buf[VALUE_PREFIX_LEN]);
// An address with the length of its network, which may have host bits: 192.0.2.1/24.
int value_parse_ip_len(const char *text, struct value_prefix *p);

#define VALUE_UUID_LEN 37
int value_parse_uuid(const char *text, uint8_t uuid[16]);
char *value_print_uuid(const uint8_t uuid[16], char buf[VALUE_UUID_LEN]);

struct value_vlans {
	uint64_t bits[64]; // VLAN v is bit v % 64 of word v / 64
};
#define VALUE_VLANS_LEN 10240                                     // the longest list: 2,047 single VLANs
int value_parse_vlans(const char *text, struct value_vlans *set); // 10-20,30; 1..4094
char *value_print_vlans(const struct value_vlans *set, char buf[VALUE_VLANS_LEN]);
static inline bool value_vlans_has(const struct value_vlans *set, unsigned vlan)
{
	return vlan < 4096 && (set->bits[vlan / 64] >> (vlan % 64) & 1);
}

// Hex digits in pairs. `out` may be NULL to only check. Returns the number of bytes or a negative
// errno, -ERANGE when there are more than `max`.
int value_parse_hex(const char *text, uint8_t *out, size_t max);
char *value_print_hex(const uint8_t *bytes, size_t n, char *buf); // needs 2 * n + 1

bool value_is_name(const char *text);      // [A-Za-z0-9_.:-]{1,63}, first a letter or digit
bool value_is_printable(const char *text); // UTF-8 without control characters
void value_make_printable(char *text);     // what is not becomes "?", byte by byte
