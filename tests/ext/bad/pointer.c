// Has its name where no memory is.
#include <evswitch/extension.h>

EVS_EXTENSION(.name = (const char *)0x1000, .version = "1.0", .id = "0f36bb2a-44b5-4ed3-9b58-1a9a9e8d7f08",
	      .kind = EVS_FILTER);
