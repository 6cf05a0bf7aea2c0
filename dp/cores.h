// CPUs: those of the workers, theirs alone, and those of all other threads of this process. Control thread.
#pragma once

#include <stdint.h>

struct err;

// At start: this process may use the calling thread's CPUs and those of the first workers.
void cores_init(const int *cores, uint16_t n);
// Whether a worker may be added on this CPU. -errno with a sentence.
int cores_check(int core, struct err *e);
// Other threads leave the CPUs of the workers that there are now, as long as that leaves them any.
void cores_divide(void);
// They may use those as well, until the next division: no worker works.
void cores_share(void);
