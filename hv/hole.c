// Guests that take memory away from under us: the handler of SIGBUS. Vhost thread; the handler on any thread.
#include "hole.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "ctrl/api/err.h"

#define MAX_RANGES 8192 // regions of all guests

// A range is there while `hit` is not NULL. Who accesses it keeps it from going.
struct range {
	_Atomic uintptr_t from, to;
	_Atomic(_Atomic bool *) hit;
};

static struct range ranges[MAX_RANGES];
static _Atomic uint32_t n_ranges;                        // ever used
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of watch and forget
static struct sigaction before;
static _Thread_local bool survives;

static _Atomic bool *hit_of(uintptr_t at)
{
	for (uint32_t i = 0; i < atomic_load(&n_ranges); i++) {
		_Atomic bool *hit = atomic_load(&ranges[i].hit);

		if (hit != NULL && at >= atomic_load(&ranges[i].from) && at < atomic_load(&ranges[i].to))
			return hit;
	}
	return NULL;
}

// What the file system calls its block may be more than a page, and may reach into another's mapping: the kernel knows
// the page, and takes nothing smaller.
static bool page_put(uintptr_t address)
{
	static const size_t pages[] = {4096, 2UL << 20, 1UL << 30};

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		void *at = (void *)(address & ~(pages[i] - 1));

		if (mmap(at, pages[i], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			 0) == at)
			return true;
	}
	return false;
}

static void handle(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	_Atomic bool *hit = hit_of((uintptr_t)info->si_addr);

	(void)number, (void)context;
	if (hit != NULL)
		atomic_store(hit, true);
	// Not ours, or no help: the access is repeated and ends as it would have.
	if ((hit == NULL && !survives) || !page_put((uintptr_t)info->si_addr))
		sigaction(SIGBUS, &before, NULL);
	errno = saved;
}

int hole_init(struct err *e)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	if (sigaction(SIGBUS, &action, &before) != 0)
		return err_set(e, -errno, "cannot handle SIGBUS: %s", err_name(errno));
	return 0;
}

bool hole_watch(void *at, size_t bytes, _Atomic bool *hit)
{
	uint32_t i = 0;

	pthread_mutex_lock(&lock);
	while (i < MAX_RANGES && atomic_load(&ranges[i].hit) != NULL)
		i++;
	if (i < MAX_RANGES) {
		atomic_store(&ranges[i].from, (uintptr_t)at);
		atomic_store(&ranges[i].to, (uintptr_t)at + bytes);
		atomic_store(&ranges[i].hit, hit);
		if (i >= atomic_load(&n_ranges))
			atomic_store(&n_ranges, i + 1);
	}
	pthread_mutex_unlock(&lock);
	return i < MAX_RANGES;
}

void hole_forget(const _Atomic bool *hit)
{
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < atomic_load(&n_ranges); i++)
		if (atomic_load(&ranges[i].hit) == hit)
			atomic_store(&ranges[i].hit, NULL);
	pthread_mutex_unlock(&lock);
}

void hole_survive(void)
{
	sigset_t bus;

	if (survives)
		return;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, NULL); // blocked, it would end the process
	survives = true;
}
