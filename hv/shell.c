// Words of a command line (shell.h): plain ones stay as they are, so that they are easy to read.
#include "shell.h"

#include <stdio.h>
#include <string.h>

static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=,./:@%";

char *shell_word(const char *word, char *buf, size_t size)
{
	if (*word != '\0' && word[strspn(word, plain)] == '\0') {
		snprintf(buf, size, "%s", word);
		return buf;
	}
	size_t n = (size_t)snprintf(buf, size, "'");

	for (; *word && n < size; word++)
		n += (size_t)snprintf(buf + n, size - n, *word == '\'' ? "'\\%c'" : "%c", *word);
	if (n < size)
		snprintf(buf + n, size - n, "'");
	return buf;
}
