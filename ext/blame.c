// The page that says who is to blame for the end of the process. Control thread, but for the handler.
#include "blame.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctrl/api/err.h"

static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

static struct blame_page own;
struct blame_page *blame = &own;
_Thread_local uint16_t blame_thread = BLAME_NONE;

static char left[BLAME_NAME], left_why[128];
static struct sigaction before[NSIG];
static uint32_t calls_seen[BLAME_THREADS];
static uint16_t ticks[BLAME_THREADS];

static void guilty(uint16_t thread, int how)
{
	atomic_store(&blame->how, how);
	atomic_store(&blame->guilty, atomic_load(&blame->inside[thread]));
}

// What handled the signal before handles it now: it may be no death after all, or a sanitizer wants to report it.
static void handle(int number, siginfo_t *info, void *context)
{
	const struct sigaction *was = &before[number];

	if (blame_thread != BLAME_NONE && atomic_load(&blame->inside[blame_thread]) != 0)
		guilty(blame_thread, number);
	if (was->sa_flags & SA_SIGINFO) {
		was->sa_sigaction(number, info, context);
		return;
	}
	sigaction(number, was, NULL); // the access is repeated, or abort() goes on
}

static void handlers_install(void)
{
	struct sigaction sa = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};

	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		sigaction(deadly[i], &sa, &before[deadly[i]]);
}

static void left_read(const struct blame_page *page)
{
	uint32_t who = atomic_load(&page->guilty);
	int how = (int)atomic_load(&page->how);

	left[0] = '\0';
	if (who == 0 || who > BLAME_NAMES)
		return;
	snprintf(left, sizeof(left), "%.*s", BLAME_NAME - 1, page->names[who - 1]);
	if (how != 0)
		snprintf(left_why, sizeof(left_why), "the switch process died in it (%s)",
			 sigdescr_np(how) != NULL ? sigdescr_np(how) : "a signal");
	else
		snprintf(left_why, sizeof(left_why), "a call of it did not come back within %d ms",
			 BLAME_TICKS * BLAME_TICK_US / 1000);
}

int blame_open(const char *dir, struct err *e)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/extensions", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(struct blame_page)) < 0) {
		int was = errno;

		if (fd >= 0)
			close(fd);
		return err_set(e, -was, "extensions: cannot keep %s: %s", path, err_name(was));
	}
	void *page = mmap(NULL, sizeof(struct blame_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (page == MAP_FAILED)
		return err_set(e, -ENOMEM, "extensions: cannot map %s", path);
	blame = page;
	left_read(blame);
	memset(page, 0, sizeof(struct blame_page));
	handlers_install();
	return 0;
}

const char *blame_left(char why[128])
{
	memcpy(why, left_why, sizeof(left_why));
	return left;
}

void blame_name(uint16_t index, const char *name)
{
	snprintf(blame->names[index], BLAME_NAME, "%s", name);
}

// By looks, not by the clock: a process that was stopped has missed its looks, too.
void blame_look(void)
{
	for (uint16_t t = 0; t < BLAME_THREADS; t++) {
		uint32_t calls = atomic_load(&blame->calls[t]);
		bool is_same = atomic_load(&blame->inside[t]) != 0 && calls == calls_seen[t];

		ticks[t] = is_same ? ticks[t] + 1 : 0;
		calls_seen[t] = calls;
		if (ticks[t] < (t == BLAME_JOBS ? BLAME_TICKS_JOBS : BLAME_TICKS))
			continue;
		guilty(t, 0);
		signal(SIGABRT, SIG_DFL);
		abort();
	}
}
