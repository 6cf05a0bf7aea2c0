// The command line: options, which may stand anywhere, and words.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctrl/api/err.h"

struct args {
	const char *socket; // option, environment or the default
	bool json, watch, help, version, man;
	int timeout_ms;
	char **word; // to be freed; room for one more
	size_t n_words;
};

int args_read(struct args *a, int argc, char **argv, struct err *e);
