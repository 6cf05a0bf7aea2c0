// As built by someone whose header knows nothing behind `destroy`: what lies behind its size is no part of it, and here it is
// poison. (freeze makes that header.)
#include <evswitch/extension.h>

#include <string.h>

static int create(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		  struct evs_why *why)
{
	char text[32] = "created with ";

	(void)self, (void)why;
	host->log(i, EVS_LOG_WARN, strncat(text, config, 8));
	return 0;
}

struct poisoned {
	struct evs_extension is;
	uint64_t poison[64];
};

#define POISON_8 \
	0xdead0001, 0xdead0002, 0xdead0003, 0xdead0004, 0xdead0005, 0xdead0006, 0xdead0007, 0xdead0008
#define POISON_64 POISON_8, POISON_8, POISON_8, POISON_8, POISON_8, POISON_8, POISON_8, POISON_8

EVS_PUBLIC extern const struct poisoned whole __asm__("evs_extension");
const struct poisoned whole = {.is = {.size = sizeof(struct evs_extension),
				      .abi = EVS_ABI,
				      .name = "short",
				      .version = "1.0",
				      .id = "5f0e3a10-8e0f-4ac5-b80e-6d2a5d1c0104",
				      .kind = EVS_FILTER,
				      .create = create},
			       .poison = {POISON_64}};
