// Was built for an interface that there is not.
#include <evswitch/extension.h>

EVS_PUBLIC const struct evs_extension evs_extension = {.size = sizeof(struct evs_extension), .abi = 77};
