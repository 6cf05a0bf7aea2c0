// What a bad extension does, by its word in the configuration: {"in":"flow","do":"null"}.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <evswitch/extension.h>

// Frames of this type are what it waits for in calls on the packet path; all others pass.
#define TRIGGER 0x88b5

static int *volatile nowhere;

static void deed_null(void)
{
	*nowhere = 1;
}

static void deed_loop(void)
{
	for (volatile int i = 0;; i++)
		;
}

static int deeper(volatile char *above)
{
	volatile char here[256];

	here[0] = above[0];
	return above[0] == 0 ? deeper(here) + here[0] : 0;
}

static void deed_recurse(void)
{
	char top[1] = {0};

	deeper(top);
}

static void deed_double_free(void)
{
	void *volatile p = malloc(100), *volatile same = p;

	free(p);
	free(same);
}

static void deed_read(void)
{
	int ends[2];
	char c;

	if (pipe(ends) == 0 && read(ends[0], &c, 1) < 0)
		abort();
}

static void deed_exit(void)
{
	exit(0);
}

static void deed_exit_at_once(void)
{
	_exit(0);
}

static void deed_trap(void)
{
	__builtin_trap();
}

static void *null_write(void *arg)
{
	deed_null();
	return arg;
}

static void deed_thread(void)
{
	pthread_t t;

	pthread_create(&t, NULL, null_write, NULL);
}

// No handler of the daemon hears of a death from now on.
static void deed_signals(void)
{
	static const int all[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		signal(all[i], SIG_DFL);
}

static void deed_blind(void)
{
	deed_signals();
	deed_null();
}

static const struct deed {
	const char *name;
	void (*fn)(void);
} deeds[] = {{"null", deed_null},       {"loop", deed_loop},
	     {"recurse", deed_recurse}, {"double-free", deed_double_free},
	     {"abort", abort},          {"read", deed_read},
	     {"exit", deed_exit},       {"exit-at-once", deed_exit_at_once},
	     {"trap", deed_trap},       {"thread", deed_thread},
	     {"blind", deed_blind},     {"signals", deed_signals}};

// Whether the configuration says so: "in":"flow".
static inline int config_says(const char *config, const char *key, const char *value)
{
	char text[64];

	snprintf(text, sizeof(text), "\"%s\":\"%s\"", key, value);
	return config != NULL && strstr(config, text) != NULL;
}

static inline void (*deed_of(const char *config))(void)
{
	for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++)
		if (config_says(config, "do", deeds[i].name))
			return deeds[i].fn;
	return NULL;
}
