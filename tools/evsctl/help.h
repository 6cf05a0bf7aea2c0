// Help and manual, written from the method table of the daemon.
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "ctrl/api/err.h"

void help_options(FILE *out); // what is known without a daemon
void help_all(FILE *out, const json_t *methods);
// The verbs of one object with their usage, or one verb with all its parameters. `verb` may be NULL.
int help_on(FILE *out, const json_t *methods, const char *object, const char *verb, struct err *e);
void help_usage(FILE *out, const json_t *method); // "usage: evsctl port del NAME"
void help_man(FILE *out, const json_t *methods);  // the section COMMANDS in mdoc
