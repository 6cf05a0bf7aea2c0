// Crashes when all of it has been called.
#include <evswitch/extension.h>

static int *volatile nowhere;

static __attribute__((destructor)) void end(void)
{
	*nowhere = 1;
}

EVS_EXTENSION(.name = "destructor", .version = "1.0", .id = "0f36bb2a-44b5-4ed3-9b58-1a9a9e8d7f04",
	      .kind = EVS_FILTER);
