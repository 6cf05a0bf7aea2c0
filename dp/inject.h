// Frames that the switch or an extension makes: they enter a worker's round as if they had just been received.
//
// A frame from a port goes through what stands behind the step that made it, and is accounted to that port (made). One
// from nobody goes to one port as it is, unless an extension excludes it there, and is accounted to that. It waits in the worker's ring; without room it is not taken.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rte_mbuf;
struct worker;

#define INJECT_RING 512 // frames that wait for one worker

// Control thread and workers. Copies the frame of 14 to FRAME_MAX_MTU + 22 bytes. `after`: the `arg` of the port's step behind which it
// enters, NULL = before all; the frame is dropped if the port has no such step. `from` 0 = from nobody, to `to`. Numbers are ports' ids. `w` is the calling worker, NULL =
// the control thread.
bool inject_frame(struct worker *w, const void *frame, uint32_t length, uint32_t from, const void *after,
		  uint32_t to);

bool inject_waits(const struct worker *w);

// control thread, with the worker's
int inject_init(struct worker *w);
void inject_fini(struct worker *w); // frees what still waits

// workers: handles what waits for this one. Returns how many.
uint32_t inject_round(struct worker *w);
