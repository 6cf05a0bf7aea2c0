// The page that says who is to blame, as a file: made, mapped, and read after a death. What stands on it was written by a
// process that was dying, so nothing of it is believed beyond its bounds. Control thread and supervisor.
#include "blame_page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/api/err.h"
#include "ctrl/api/log.h"

static int page_file(const char *path, struct err *e)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;

	// Of another version it says nothing.
	if (fd >= 0 && fstat(fd, &st) == 0 &&
	    (st.st_size == sizeof(struct blame_page) ||
	     (ftruncate(fd, 0) == 0 && ftruncate(fd, sizeof(struct blame_page)) == 0)))
		return fd;
	int was = errno;

	if (fd >= 0)
		close(fd);
	return err_set(e, -was, "extensions: cannot keep %s: %s", path, err_name(was));
}

struct blame_page *blame_page_map(const char *dir, struct err *e)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/extensions", dir);
	int fd = page_file(path, e);

	if (fd < 0)
		return NULL;
	void *page = mmap(NULL, sizeof(struct blame_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (page != MAP_FAILED)
		return page;
	err_set(e, -ENOMEM, "extensions: cannot map %s", path);
	return NULL;
}

static void how_print(uint32_t how, char why[128])
{
	const char *signal = how < NSIG ? sigdescr_np((int)how) : NULL;

	if (how == BLAME_LOOP || how == BLAME_LOOP_JOBS)
		snprintf(why, 128, "a call of it did not come back within %d ms",
			 (how == BLAME_LOOP ? BLAME_TICKS : BLAME_TICKS_JOBS) * BLAME_TICK_US / 1000);
	else if (how == BLAME_EXIT)
		snprintf(why, 128, "it ended the switch process by exit()");
	else if (signal != NULL)
		snprintf(why, 128, "the switch process died in it (%s)", signal);
	else
		snprintf(why, 128, "the switch process ended in it, and no handler heard of that");
}

static bool is_same(const struct blame_name *a, const char *name)
{
	return strncmp(a->name, name, BLAME_NAME) == 0;
}

static void left_note(struct blame_page *page, const struct blame_name *who, uint32_t how)
{
	struct blame_left *at = &page->left[0]; // of more than there can be the first goes
	char why[128];

	for (uint32_t i = BLAME_NAMES; i-- > 0;)
		if (page->left[i].who.name[0] == '\0' || is_same(&page->left[i].who, who->name))
			at = &page->left[i];
	*at = (struct blame_left){*who, how};
	at->who.name[BLAME_NAME - 1] = '\0';
	how_print(how, why);
	log_error("ext %s: %s", at->who.name, why);
}

void blame_page_begin(struct blame_page *page)
{
	uint32_t verdict = atomic_load(&page->verdict), who = verdict & 0xffff;

	if (who > 0 && who <= BLAME_NAMES && page->names[who - 1].name[0] != '\0')
		left_note(page, &page->names[who - 1], verdict >> 16);
	memset(page, 0, offsetof(struct blame_page, left));
}

void blame_name(uint16_t index, const char *name, uint64_t key)
{
	struct blame_name *to = &blame->names[index];

	snprintf(to->name, sizeof(to->name), "%s", name);
	to->key = key;
}

bool blame_left(const char *name, uint64_t key, char why[128])
{
	for (uint32_t i = 0; i < BLAME_NAMES; i++) {
		const struct blame_left *l = &blame->left[i];

		if (l->who.name[0] != '\0' && is_same(&l->who, name) && l->who.key == key) {
			how_print(l->how, why);
			return true;
		}
	}
	return false;
}

void blame_forget(const char *name)
{
	for (uint32_t i = 0; i < BLAME_NAMES; i++)
		if (is_same(&blame->left[i].who, name))
			memset(&blame->left[i], 0, sizeof(blame->left[i]));
}

// The one that all were inside of that were inside of any; 0 = there is none.
static uint32_t only_one_inside(const struct blame_page *page)
{
	uint32_t who = 0;

	for (uint32_t t = 0; t < BLAME_THREADS; t++) {
		uint32_t here = atomic_load(&page->inside[t]);

		if (here != 0 && who != 0 && here != who)
			return 0;
		who = here != 0 ? here : who;
	}
	return who;
}

bool blame_settle(const char *dir, bool killed, char name[BLAME_NAME])
{
	struct err e = {0};
	struct blame_page *page = blame_page_map(dir, &e);

	if (page == NULL)
		return false;
	uint32_t who = atomic_load(&page->verdict) & 0xffff;

	if (atomic_load(&page->verdict) == 0 && !killed && (who = only_one_inside(page)) != 0)
		atomic_store(&page->verdict, blame_verdict(who, BLAME_UNSEEN));
	bool is_one = who > 0 && who <= BLAME_NAMES && page->names[who - 1].name[0] != '\0';

	snprintf(name, BLAME_NAME, "%.*s", BLAME_NAME - 1, is_one ? page->names[who - 1].name : "");
	munmap(page, sizeof(*page));
	return is_one;
}
