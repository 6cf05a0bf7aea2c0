// Who ends the process: the handlers of the signals by which programs die, the end of exit(), and the watch for calls that
// do not come back. The handlers run on the thread that dies, the watch on a thread of its own: the control thread
// calls extensions too, and waits for them at start.
#include "blame.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "blame_page.h"
#include "ctrl/api/err.h"
#include "ctrl/api/log.h"

#define STACK_BYTES 32768 // for a handler, if the thread's own has run over

static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
#define N_DEADLY (sizeof(deadly) / sizeof(deadly[0]))

static struct blame_page own;
struct blame_page *blame = &own;
_Thread_local uint16_t blame_thread = BLAME_NONE;

static struct sigaction before[NSIG];
static struct { // jobs: w, handlers: r
	_Atomic uintptr_t from, to;
} code[BLAME_NAMES];
static alignas(64) uint8_t stacks[BLAME_THREADS][STACK_BYTES];
static struct { // writer: the thread, once; watch: r
	_Atomic int tid;
	clockid_t clock;
} threads[BLAME_THREADS];

// Handlers

static uint32_t owner_of(uintptr_t pc)
{
	for (uint32_t i = 0; i < BLAME_NAMES; i++)
		if (pc >= atomic_load(&code[i].from) && pc < atomic_load(&code[i].to))
			return i + 1;
	return 0;
}

static uint32_t who_runs(const ucontext_t *at)
{
	uint32_t who = blame_thread != BLAME_NONE ? atomic_load(&blame->inside[blame_thread]) : 0;

	if (who == 0 && at != NULL)
		who = owner_of((uintptr_t)at->uc_mcontext.gregs[REG_RIP]);
	return who != 0 ? who : BLAME_NOBODY;
}

// The first of several threads that die at the same time is the one. True: this one.
static bool verdict(uint32_t who, uint32_t how)
{
	uint32_t none = 0;

	return atomic_compare_exchange_strong(&blame->verdict, &none, blame_verdict(who, how));
}

static void handle(int number, siginfo_t *info, void *context);

static bool is_handled(int number)
{
	struct sigaction now;

	return sigaction(number, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO && now.sa_sigaction == handle;
}

// What handled the signal before handles it now: it may be no death after all, or a sanitizer wants to report it.
static void handle(int number, siginfo_t *info, void *context)
{
	const struct sigaction *was = &before[number];
	bool is_sent = info->si_code <= 0 && info->si_pid != getpid();
	bool is_first = verdict(is_sent ? BLAME_NOBODY : who_runs(context), number);

	if (was->sa_flags & SA_SIGINFO) {
		was->sa_sigaction(number, info, context);
		if (is_first && is_handled(number))
			atomic_store(&blame->verdict, 0);
		return;
	}
	sigaction(number, was, NULL); // the access is repeated, or abort() goes on
	if (is_sent)
		raise(number);
}

static void handlers_install(bool first)
{
	struct sigaction sa = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};

	for (size_t i = 0; i < N_DEADLY; i++)
		sigaction(deadly[i], &sa, first ? &before[deadly[i]] : NULL);
}

static void die(uint32_t who, uint32_t how)
{
	verdict(who, how);
	signal(SIGABRT, SIG_DFL);
	abort();
}

// The daemon itself ends by _exit().
static void exited(void)
{
	die(who_runs(NULL), BLAME_EXIT);
}

// Threads

void blame_thread_begin(uint16_t thread)
{
	stack_t now, stack = {.ss_sp = stacks[thread], .ss_size = STACK_BYTES};

	blame_thread = thread;
	if (sigaltstack(NULL, &now) == 0 && now.ss_flags & SS_DISABLE) // sanitizers have brought theirs
		sigaltstack(&stack, NULL);
	pthread_getcpuclockid(pthread_self(), &threads[thread].clock);
	atomic_store(&threads[thread].tid, gettid());
}

void blame_code(uint16_t index, uintptr_t from, uintptr_t to)
{
	atomic_store(&code[index].from, from);
	atomic_store(&code[index].to, to);
}

// The watch

static struct look { // of the watch alone
	uint32_t calls;
	uint16_t ticks;
	uint64_t cpu_ns;
} looks[BLAME_THREADS];

static char state_of(int tid)
{
	char path[48], text[128] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	const char *end = n > 0 ? strrchr(text, ')') : NULL;

	if (fd >= 0)
		close(fd);
	return end != NULL && end[1] == ' ' ? end[2] : '?';
}

// It would run, and has not: nobody gave it a processor.
static bool is_starved(uint16_t t)
{
	struct timespec now = {0};

	clock_gettime(threads[t].clock, &now);
	uint64_t ns = now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
	bool ran = ns != looks[t].cpu_ns;

	looks[t].cpu_ns = ns;
	return !ran && state_of(atomic_load(&threads[t].tid)) == 'R';
}

static void look(uint16_t t)
{
	uint32_t who = atomic_load(&blame->inside[t]), calls = atomic_load(&blame->calls[t]);

	if (who == 0 || calls != looks[t].calls) {
		looks[t] = (struct look){.calls = calls};
		return;
	}
	if (t == BLAME_JOBS && ++looks[t].ticks >= BLAME_TICKS_JOBS)
		die(who, BLAME_LOOP_JOBS);
	if (t != BLAME_JOBS && !is_starved(t) && ++looks[t].ticks >= BLAME_TICKS)
		die(who, BLAME_LOOP);
}

// An extension may bring a runtime that takes signals for itself.
static void handlers_look(void)
{
	bool changed = false;

	for (size_t i = 0; i < N_DEADLY; i++)
		changed |= !is_handled(deadly[i]);
	if (!changed || atomic_load(&blame->verdict) != 0)
		return;
	handlers_install(false);
	log_warn("extensions: one of them has taken signals for itself that say who is to blame for a crash; "
		 "they were taken back");
}

static void *watch(void *arg)
{
	const struct timespec tick = {.tv_nsec = BLAME_TICK_US * 1000};

	(void)arg;
	pthread_setname_np(pthread_self(), "evs-watch");
	for (;;) {
		nanosleep(&tick, NULL);
		handlers_look();
		for (uint16_t t = 0; t < BLAME_THREADS; t++)
			look(t);
	}
	return NULL;
}

static int watch_begin(struct err *e)
{
	sigset_t all, old;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int ret = pthread_create(&thread, NULL, watch, NULL);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret != 0)
		return err_set(e, -ret, "extensions: cannot start a thread: %s", err_name(ret));
	pthread_detach(thread);
	return 0;
}

int blame_open(const char *dir, struct err *e)
{
	struct blame_page *page = blame_page_map(dir, e);

	if (page == NULL)
		return e->code;
	blame_page_begin(page);
	blame = page;
	handlers_install(true);
	atexit(exited);
	return watch_begin(e);
}
