// One table of names. Pure.

#include "tools/bench/front/feature.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	unsigned bit;
} names[] = {
    {"csum", 0},       {"guest-csum", 1}, {"guest-tso4", 7},  {"guest-tso6", 8},  {"guest-ecn", 9},
    {"guest-ufo", 10}, {"host-tso4", 11}, {"host-tso6", 12},  {"host-ecn", 13},   {"host-ufo", 14},
    {"mrg", 15},       {"mq", 22},        {"log-all", 26},    {"indirect", 28},   {"event-idx", 29},
    {"packed", 34},    {"in-order", 35},  {"guest-uso4", 54}, {"guest-uso6", 55}, {"host-uso", 56},
};

enum { N_NAMES = sizeof(names) / sizeof(names[0]) };

#define OFFLOADS (F_CSUM | F_GUEST_CSUM | 0xfull << 7 | 0xfull << 11 | FEATURE(54) | FEATURE(55) | F_HOST_USO)

static uint64_t feature_of(const char *word, size_t n)
{
	if (n == 8 && !memcmp(word, "offloads", 8))
		return OFFLOADS;
	for (unsigned i = 0; i < N_NAMES; i++)
		if (strlen(names[i].name) == n && !memcmp(names[i].name, word, n))
			return FEATURE(names[i].bit);
	return 0;
}

int features_parse(const char *text, uint64_t *out, char *bad, size_t bad_bytes)
{
	*out = 0;
	if (!strcmp(text, "none"))
		return 0;
	for (;;) {
		size_t n = strcspn(text, ",");
		uint64_t f = feature_of(text, n);
		if (!f) {
			snprintf(bad, bad_bytes, "%.*s", (int)n, text);
			return -EINVAL;
		}
		*out |= f;
		if (!text[n])
			return 0;
		text += n + 1;
	}
}

void features_print(uint64_t features, char *out, size_t bytes)
{
	size_t at = 0;
	out[0] = '\0';
	for (unsigned i = 0; i < N_NAMES; i++)
		if (features & FEATURE(names[i].bit) && at < bytes)
			at += snprintf(out + at, bytes - at, "%s%s", at ? "," : "", names[i].name);
}
