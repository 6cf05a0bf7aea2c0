// Numbers for what is known of drops beside their reasons. Control thread.
#include "drop_detail.h"

#include <stddef.h>

#include "worker.h"

static struct detail {
	const char *owner, *text;
	uint64_t before; // counted under this number when it was taken
} details[MAX_DROP_DETAILS];

static uint16_t next = 1; // numbers are used again as late as possible

static uint64_t counted(uint16_t number)
{
	uint64_t sum = 0;

	for (uint16_t i = 0; i < workers_n(); i++)
		if (worker_at(i) != NULL)
			sum += __atomic_load_n(&worker_at(i)->details[number], __ATOMIC_RELAXED);
	return sum;
}

uint16_t drop_detail_take(const char *owner, const char *text)
{
	for (uint16_t i = 0; i < MAX_DROP_DETAILS; i++) {
		uint16_t at = (next + i) % MAX_DROP_DETAILS;

		if (at == 0 || details[at].owner != NULL)
			continue;
		next = at + 1;
		details[at] = (struct detail){owner, text, counted(at)};
		return at;
	}
	return 0;
}

void drop_detail_give(uint16_t number)
{
	if (number != 0)
		details[number] = (struct detail){0};
}

const char *drop_detail_owner(uint16_t number)
{
	return details[number].owner;
}

const char *drop_detail_text(uint16_t number)
{
	return details[number].text != NULL ? details[number].text : "by an extension";
}

uint64_t drop_detail_count(uint16_t number)
{
	uint64_t now = counted(number);

	// A worker that has left took its count along.
	return now > details[number].before ? now - details[number].before : 0;
}
