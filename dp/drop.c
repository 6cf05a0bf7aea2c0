// The drop reasons' names, stages and sentences, as one table. Any thread.

#include "dp/drop.h"

#include <stddef.h>

struct drop_reason {
	const char *name, *stage, *text;
};

static const struct drop_reason reasons[N_DROPS] = {[DROP_NONE] = {"none", "", "not dropped"},
#define REASON(symbol, name, stage, text) [DROP_##symbol] = {name, stage, text},
						    DROP_REASONS(REASON)
#undef REASON
};

static const struct drop_reason *reason_of(enum drop reason)
{
	static const struct drop_reason unknown = {"unknown", "", "dropped for a reason that has no name"};
	return (size_t)reason < N_DROPS ? &reasons[reason] : &unknown;
}

const char *drop_name(enum drop reason)
{
	return reason_of(reason)->name;
}

const char *drop_stage(enum drop reason)
{
	return reason_of(reason)->stage;
}

const char *drop_text(enum drop reason)
{
	return reason_of(reason)->text;
}
