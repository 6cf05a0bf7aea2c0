// Offloads by name, for whoever asks what a port takes. Control thread.
#include "offload.h"

#include <assert.h>

json_t *offload_names(uint32_t set)
{
	static const char *const names[] = {"csum", "tso4", "tso6", "ecn", "ufo", "uso4", "uso6"};
	json_t *out = json_array();

	static_assert(OFFLOAD_USO6 == 1 << 6, "one name for each");
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (set >> i & 1)
			json_array_append_new(out, json_string(names[i]));
	return out;
}
