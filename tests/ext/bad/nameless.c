// Does not say what it is.
#include <evswitch/extension.h>

EVS_EXTENSION(.version = "1.0", .id = "0f36bb2a-44b5-4ed3-9b58-1a9a9e8d7f07", .kind = EVS_FILTER);
