// The command line of bench-front.
#pragma once

#include "tools/bench/front/front.h"

extern const char front_help[];

// 0, or 1 after --help, or -EINVAL after a sentence on stderr.
int front_conf_parse(struct conf *c, int argc, char **argv);
