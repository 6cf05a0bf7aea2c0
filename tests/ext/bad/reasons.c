// Its list of reasons does not end.
#include <evswitch/extension.h>

#define EIGHT "a", "b", "c", "d", "e", "f", "g", "h"

static const char *const reasons[] = {EIGHT, EIGHT, EIGHT, EIGHT, EIGHT};

EVS_EXTENSION(.name = "reasons", .version = "1.0", .id = "0f36bb2a-44b5-4ed3-9b58-1a9a9e8d7f09",
	      .kind = EVS_FILTER, .reasons = reasons);
