// Who is to blame: a shared page that names, per thread, the extension that it is inside of.
//
// The page is a file in the run directory, so that a crash leaves its message to the process that is started next: a
// handler of the signals by which programs die notes which thread it was. A process that is killed leaves none.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BLAME_THREADS 18 // workers, traces on the control thread, jobs
#define BLAME_JOBS    17
#define BLAME_NONE    UINT16_MAX
#define BLAME_NAMES   64
#define BLAME_NAME    64

struct err;

struct blame_page {
	_Atomic uint32_t inside[BLAME_THREADS]; // 1 + the extension's index, 0 = none; writer: the thread
	_Atomic uint32_t calls[BLAME_THREADS];  // grows with each
	_Atomic uint32_t guilty; // 1 + the index of who was running; writer: who ends the process
	_Atomic uint32_t how;    // signal, 0 = it did not come back
	char names[BLAME_NAMES][BLAME_NAME];
};

extern struct blame_page *blame; // a private one until blame_open()
// For the handler, which runs on the thread that is to blame: its number. Threads that never called one have none.
extern _Thread_local uint16_t blame_thread;

// control thread

// Maps DIR/extensions, and takes what a process that has died left there. Installs the handlers.
int blame_open(const char *dir, struct err *e);
// Whom the process before was ended by: its name, "" = nobody; and the sentence why.
const char *blame_left(char why[128]);
void blame_name(uint16_t index, const char *name); // "" = none
// Looks for a call that does not come back: every BLAME_TICK_US. Ends the process if one has not for BLAME_TICKS looks.
#define BLAME_TICK_US    50000
#define BLAME_TICKS      8
#define BLAME_TICKS_JOBS 200 // of the jobs thread
void blame_look(void);

// the thread itself
static inline void blame_enter(uint16_t thread, uint16_t index)
{
	blame_thread = thread;
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
