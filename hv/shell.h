// Words of a command line that people copy into a shell. Pure; any thread.
#pragma once

#include <stddef.h>

#define SHELL_WORD_MAX(len) (4 * (len) + 3) // room for a word of that length

// The word as a shell takes it, in single quotes if it has to be. Returns buf.
char *shell_word(const char *word, char *buf, size_t size);
