// pcapng blocks, written to memory (draft-ietf-opsawg-pcapng, sections 3 and 4). In the machine's byte order, as the
// format allows; times in nanoseconds.
//
// Each function appends one block, or nothing if there is no room for it. Any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pcapng {
	uint8_t *bytes;
	size_t n, room;
};

enum pcapng_direction { PCAPNG_INBOUND = 1, PCAPNG_OUTBOUND = 2 };

struct pcapng_packet {
	uint32_t interface; // number of the block in its section
	uint64_t time_ns;   // since 1970
	const void *bytes;
	uint32_t captured, length;
	uint32_t direction;  // enum pcapng_direction
	const char *comment; // NULL = none
};

bool pcapng_section(struct pcapng *o, const char *program);
// `filter` NULL = none.
bool pcapng_interface(struct pcapng *o, const char *name, const char *description, const char *filter,
		      uint32_t snaplen);
bool pcapng_packet(struct pcapng *o, const struct pcapng_packet *p);
bool pcapng_statistics(struct pcapng *o, uint32_t interface, uint64_t time_ns, uint64_t received,
		       uint64_t lost);
