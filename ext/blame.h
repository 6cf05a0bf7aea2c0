// Who is to blame: a shared page that names, per thread, the extension that it is inside of.
//
// The page is a file in the run directory, so that a crash leaves its message to the process that is started next. A
// handler of the signals by which programs die notes whose call it was, or whose code. A death that no handler sees is
// settled by the supervisor: if all threads that were inside of an extension were inside of the same, it is that one. A
// process that is killed says nothing about its extensions.
//
// Who is to blame stands on the page until the configuration says so, too: processes that die before they have written
// that do not forget it, whatever else they die of.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLAME_THREADS 18 // workers, traces on the control thread, jobs
#define BLAME_JOBS    17
#define BLAME_NONE    UINT16_MAX
#define BLAME_NAMES   64
#define BLAME_NAME    64

struct err;

// An extension as it was loaded. `key` tells what was loaded from another version or another configuration of it.
struct blame_name {
	char name[BLAME_NAME];
	uint64_t key;
};

struct blame_page {
	_Atomic uint32_t inside[BLAME_THREADS]; // 1 + the extension's index, 0 = none; writer: the thread
	_Atomic uint32_t calls[BLAME_THREADS];  // grows with each
	_Atomic uint32_t verdict;               // 0 = none yet; writer: who ends the process first
	struct blame_name names[BLAME_NAMES];
	struct blame_left {
		struct blame_name who; // without a name = free
		uint32_t how;
	} left[BLAME_NAMES]; // by processes before
};

extern struct blame_page *blame; // a private one until blame_open()
// The calling thread's number. Threads that never called an extension have none.
extern _Thread_local uint16_t blame_thread;

// supervisor

// Whom the process that has ended is blamed on. `killed`: from outside. False: on no extension.
bool blame_settle(const char *dir, bool killed, char name[BLAME_NAME]);

// control thread

// Maps DIR/extensions, and takes what a process that has died left there. Installs the handlers and starts the watch.
int blame_open(const char *dir, struct err *e);
void blame_name(uint16_t index, const char *name, uint64_t key); // "" = none
// Whether a process before was ended by it, and how; and the end of that.
bool blame_left(const char *name, uint64_t key, char why[128]);
void blame_forget(const char *name);

// A call that is not back for so many looks ends the process. By looks, not by the clock: a process that was stopped
// has missed its looks, too. A worker that gets no processor is not looked at.
#define BLAME_TICK_US    50000
#define BLAME_TICKS      6
#define BLAME_TICKS_JOBS 200 // of the jobs thread

// jobs thread

// Where the extension's code lies: its own threads are known by it. 0, 0 = nowhere.
void blame_code(uint16_t index, uintptr_t from, uintptr_t to);

// the thread itself
void blame_thread_begin(uint16_t thread);

static inline void blame_enter(uint16_t thread, uint16_t index)
{
	if (__builtin_expect(blame_thread != thread, 0))
		blame_thread_begin(thread);
	atomic_store_explicit(&blame->calls[thread],
			      atomic_load_explicit(&blame->calls[thread], memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_store_explicit(&blame->inside[thread], index + 1u, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void blame_leave(uint16_t thread)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&blame->inside[thread], 0, memory_order_relaxed);
}
