// Crashes before anything of it is called.
#include <evswitch/extension.h>

static int *volatile nowhere;

static __attribute__((constructor)) void begin(void)
{
	*nowhere = 1;
}

EVS_EXTENSION(.name = "constructor", .version = "1.0", .id = "0f36bb2a-44b5-4ed3-9b58-1a9a9e8d7f03",
	      .kind = EVS_FILTER);
