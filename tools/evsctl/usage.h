// How a parameter is written on a command line, and what is to be known about it. Pure.
#pragma once

#include <jansson.h>
#include <stddef.h>

// What stands for the value: "client|server", "on|off", "NUMBER", "FILE"; the name in capitals for a
// positional one. Valid until the next call.
const char *usage_value(const json_t *param);
// "mtu NUMBER", "[queues NUMBER]", "[NAME]"; returns the length.
size_t usage_piece(const json_t *param, char *out, size_t size);
// "68..9216 bytes; default 1500"; "" if there is nothing to say.
void usage_facts(const json_t *param, char *out, size_t size);
