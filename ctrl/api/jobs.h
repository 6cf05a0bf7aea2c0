// Work that may block, off the control thread; and messages back to it.
//
// One jobs thread runs jobs in the order they were given.
#pragma once

// Control thread: runs work(arg) on the jobs thread, then done(arg) on the control thread.
// `done` may be NULL. Never fails: out of memory here ends the process, as it does at start.
void job_run(const char *name, void (*work)(void *arg), void (*done)(void *arg), void *arg);

// Any thread except workers: runs fn(arg) on the control thread soon, in order of the calls.
void control_post(const char *name, void (*fn)(void *arg), void *arg);
