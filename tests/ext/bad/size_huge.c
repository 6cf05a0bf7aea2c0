// Says that it is longer than any description can be.
#include <evswitch/extension.h>

EVS_PUBLIC const struct evs_extension evs_extension = {.size = 1U << 30, .abi = EVS_ABI};
