// Says that it is shorter than any description can be.
#include <evswitch/extension.h>

EVS_PUBLIC const struct evs_extension evs_extension = {.size = 16, .abi = EVS_ABI};
