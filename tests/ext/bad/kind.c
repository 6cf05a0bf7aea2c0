// Is of a kind that there is not.
#include <evswitch/extension.h>

EVS_EXTENSION(.name = "kind", .version = "1.0", .id = "0f36bb2a-44b5-4ed3-9b58-1a9a9e8d7f06", .kind = 9);
