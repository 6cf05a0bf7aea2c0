// Extensions that have failed. Those that workers have marked are heard of here; those that ended the process are found on
// the page that names who runs (blame.h). Both are noted in the configuration, so that they stay out. Control thread.
#include "fault.h"

#include <stdio.h>
#include <string.h>

#include "blame.h"
#include "ctrl/api/conf.h"
#include "ctrl/api/event.h"
#include "ctrl/api/log.h"
#include "methods.h"

void ext_fail(struct ext *x, enum ext_state state, const char *text)
{
	const char *colon = strncmp(text, "ext ", 4) == 0 ? strstr(text, ": ") : NULL;

	x->state = state;
	snprintf(x->why, sizeof(x->why), "%s", colon != NULL ? colon + 2 : text);
}

static void note(const struct ext *x, const char *text)
{
	conf_set_soon("ext", x->conf.name,
		      json_pack("{s:s, s:I}", "faulted", text, "faults", (json_int_t)x->conf.faults + 1));
}

// FNV-1a.
static uint64_t hash(uint64_t h, const char *text)
{
	for (; *text != '\0'; text++)
		h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return h;
}

uint64_t ext_fault_key(const struct ext_conf *c)
{
	uint64_t h = hash(UINT64_C(0xcbf29ce484222325), c->path);

	return c->config != NULL ? hash(h, c->config) : h;
}

bool ext_is_left_out(struct ext *x, const char *known, bool is_restore)
{
	char why[128];

	if (known == NULL && !(is_restore && blame_left(x->conf.name, ext_fault_key(&x->conf), why)))
		return false;
	ext_fail(x, EXT_FAULTED, known != NULL ? known : why);
	log_error("ext %s: left out: %s", x->conf.name, x->why);
	if (known == NULL) {
		event_emit_late("extension-faulted", x->conf.name, "%s", x->why);
		note(x, x->why);
	}
	return true;
}

static const char *fault_text(uint32_t fault)
{
	return fault == EXT_FAULT_OVERRUN  ? "it wrote past the bytes of a packet that it was given"
	       : fault == EXT_FAULT_BUDGET ? "it took more time for a packet than its budget"
					   : "";
}

void ext_fault_hear(struct ext *x)
{
	ext_fail(x, EXT_FAULTED, fault_text(atomic_load(&x->fault)));
	log_error("ext %s: taken out: %s", x->conf.name, x->why);
	event_emit("extension-faulted", x->conf.name, "%s", x->why);
	ext_calls_end(x, "was taken out");
	note(x, x->why);
}

// The mean of the last second, of those who did anything.
void ext_budget_look(struct ext *x)
{
	struct ext_counters n;

	ext_counters_sum(x, &n);
	uint64_t units = n.packets + n.flows - x->packets_seen, cycles = n.cycles - x->cycles_seen;

	x->packets_seen = n.packets + n.flows;
	x->cycles_seen = n.cycles;
	if (x->conf.budget != 0 && units > 0 && cycles / units > x->conf.budget)
		ext_fault_mark(x, EXT_FAULT_BUDGET);
}
