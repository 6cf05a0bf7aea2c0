// Says that it is longer than it is.
#include <evswitch/extension.h>

EVS_PUBLIC const struct evs_extension evs_extension = {.size = sizeof(struct evs_extension) + 64,
						       .abi = EVS_ABI,
						       .name = "more",
						       .version = "1.0",
						       .id = "0f36bb2a-44b5-4ed3-9b58-1a9a9e8d7f05",
						       .kind = EVS_FILTER};
