// Timers and descriptor watches of the control thread's event loop.
//
// Control thread only. Callbacks run on the control thread and return within 1 ms; the loop's
// watchdog logs the name of one that does not.
#pragma once

#include <stdint.h>

struct timer;
struct watch;

// Runs fn(arg) after `delay_us`, then every `period_us` (0 = once; the timer is then freed after the
// call and its pointer must not be used any more). `name` is static text for the watchdog.
// NULL when out of memory.
struct timer *timer_start(const char *name, uint64_t delay_us, uint64_t period_us, void (*fn)(void *arg),
			  void *arg);
void timer_stop(struct timer *t); // accepts NULL

// Runs fn(fd, arg) whenever `fd` is readable, until watch_stop(). The descriptor stays the caller's.
struct watch *watch_start(const char *name, int fd, void (*fn)(int fd, void *arg), void *arg);
void watch_stop(struct watch *w); // accepts NULL

uint64_t time_ns(void); // CLOCK_MONOTONIC; any thread
