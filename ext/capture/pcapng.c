// pcapng blocks: a type, a length, a body of 32-bit words with options at its end, and the length again. Any thread.
#include "pcapng.h"

#include <string.h>

enum block { SECTION = 0x0a0d0d0a, INTERFACE = 1, STATISTICS = 5, PACKET = 6 };

enum option {
	END = 0,
	COMMENT = 1,
	SECTION_PROGRAM = 4,
	INTERFACE_NAME = 2,
	INTERFACE_DESCRIPTION = 3,
	INTERFACE_RESOLUTION = 9,
	INTERFACE_FILTER = 11,
	PACKET_FLAGS = 2,
	STATISTICS_RECEIVED = 4,
	STATISTICS_LOST = 5,
};

#define BYTE_ORDER_MAGIC 0x1a2b3c4d
#define LINK_ETHERNET    1
#define MAX_TEXT         1024

static size_t padded(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

// What a block needs at most: its texts are cut.
static size_t text_room(const char *text)
{
	return text != NULL ? 4 + padded(strnlen(text, MAX_TEXT)) : 0;
}

static void put(struct pcapng *o, const void *from, size_t n)
{
	if (n > 0)
		memcpy(o->bytes + o->n, from, n);
	memset(o->bytes + o->n + n, 0, padded(n) - n);
	o->n += padded(n);
}

static void put16(struct pcapng *o, uint16_t a, uint16_t b)
{
	put(o, (uint16_t[]){a, b}, 4);
}

static void put32(struct pcapng *o, uint32_t v)
{
	put(o, &v, sizeof(v));
}

// Times are two words, the upper one first in either byte order.
static void put_time(struct pcapng *o, uint64_t ns)
{
	put32(o, ns >> 32);
	put32(o, (uint32_t)ns);
}

static void option(struct pcapng *o, enum option code, const void *from, size_t n)
{
	put16(o, code, (uint16_t)n);
	put(o, from, n);
}

static void option_text(struct pcapng *o, enum option code, const char *text)
{
	if (text != NULL)
		option(o, code, text, strnlen(text, MAX_TEXT));
}

static bool begin(struct pcapng *o, enum block type, size_t needs, size_t *at)
{
	if (o->room - o->n < needs + 64)
		return false;
	*at = o->n;
	put32(o, type);
	put32(o, 0);
	return true;
}

static bool end(struct pcapng *o, size_t at)
{
	uint32_t length = o->n + 4 - at;

	put32(o, length);
	memcpy(o->bytes + at + 4, &length, sizeof(length));
	return true;
}

bool pcapng_section(struct pcapng *o, const char *program)
{
	size_t at;

	if (!begin(o, SECTION, text_room(program), &at))
		return false;
	put32(o, BYTE_ORDER_MAGIC);
	put16(o, 1, 0);
	put(o, &(int64_t){-1}, 8); // its length is not known
	option_text(o, SECTION_PROGRAM, program);
	option(o, END, NULL, 0);
	return end(o, at);
}

bool pcapng_interface(struct pcapng *o, const char *name, const char *description, const char *filter,
		      uint32_t snaplen)
{
	char code_and_filter[MAX_TEXT] = {0}; // 0: a string in libpcap's syntax
	size_t at, n = filter != NULL ? strnlen(filter, MAX_TEXT - 1) : 0;

	if (!begin(o, INTERFACE, text_room(name) + text_room(description) + padded(n + 1), &at))
		return false;
	put16(o, LINK_ETHERNET, 0);
	put32(o, snaplen);
	option_text(o, INTERFACE_NAME, name);
	option_text(o, INTERFACE_DESCRIPTION, description);
	option(o, INTERFACE_RESOLUTION, &(uint8_t){9}, 1);
	if (filter != NULL) {
		memcpy(code_and_filter + 1, filter, n);
		option(o, INTERFACE_FILTER, code_and_filter, n + 1);
	}
	option(o, END, NULL, 0);
	return end(o, at);
}

bool pcapng_packet(struct pcapng *o, const struct pcapng_packet *p)
{
	size_t at;

	if (!begin(o, PACKET, padded(p->captured) + text_room(p->comment), &at))
		return false;
	put32(o, p->interface);
	put_time(o, p->time_ns);
	put32(o, p->captured);
	put32(o, p->length);
	put(o, p->bytes, p->captured);
	option_text(o, COMMENT, p->comment);
	option(o, PACKET_FLAGS, &p->direction, 4);
	option(o, END, NULL, 0);
	return end(o, at);
}

bool pcapng_statistics(struct pcapng *o, uint32_t interface, uint64_t time_ns, uint64_t received,
		       uint64_t lost)
{
	size_t at;

	if (!begin(o, STATISTICS, 0, &at))
		return false;
	put32(o, interface);
	put_time(o, time_ns);
	option(o, STATISTICS_RECEIVED, &received, 8);
	option(o, STATISTICS_LOST, &lost, 8);
	option(o, END, NULL, 0);
	return end(o, at);
}
