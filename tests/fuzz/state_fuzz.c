// Arbitrary bytes as state.db: loaded whole, or refused with a sentence.
#include "ctrl/store.c"
#include "ctrl/store_file.c"

#include <stdlib.h>

#include "ctrl/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

static void setup(void)
{
	struct err e = {0};
	char dir[] = "/dev/shm/evs-fuzz-XXXXXX";

	if (loop_init(&e) < 0 || !mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/state.db", dir);
}

static int row(const char *kind, const char *name, const char *conf, void *arg, struct err *e)
{
	(void)e;
	*(size_t *)arg += strlen(kind) + strlen(name) + strlen(conf);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = {0};
	size_t bytes = 0;
	char journal[80];
	int fd;

	if (!path[0])
		setup();
	snprintf(journal, sizeof(journal), "%s-journal", path);
	unlink(journal);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	close(fd);
	if (store_open(path, &e) < 0) {
		if (!e.code || !e.text[0])
			abort();
		return 0;
	}
	if (store_load(row, &bytes, &e) < 0)
		abort();
	store_close();
	return 0;
}
