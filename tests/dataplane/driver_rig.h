// One port driver on its own: a control loop, buffers, a worker that is the test itself, no switch.
//
// The test's thread is control thread, jobs thread (for open and close) and worker in turn.
#pragma once

#include <stdbool.h>

#include <check.h>

#include "ctrl/api/err.h"
#include "ctrl/api/timer.h"
#include "dp/port.h"
#include "dp/worker.h"

#define RIG_DEADLINE_NS 10000000000ull

void rig_init(void); // EAL, loop, buffers; ends the program when it cannot
void rig_fini(void);
struct worker *rig_worker(void);
void rig_turn(void); // what the control thread does in a millisecond

struct port *rig_port(const struct port_driver *d, const struct port_conf *c);
void rig_port_free(struct port *p);
struct port *rig_port_start(const struct port_driver *d, const struct port_conf *c); // opened and started
void rig_port_stop(struct port *p);                                                  // stopped, closed, freed
json_t *rig_stats(const struct port *p);

// Turns the loop until the condition holds.
#define rig_wait(condition)                                                                        \
	do {                                                                                       \
		uint64_t deadline_ = time_ns() + RIG_DEADLINE_NS;                                  \
		while (!(condition)) {                                                             \
			ck_assert_msg(time_ns() < deadline_, "waited in vain for %s", #condition); \
			rig_turn();                                                                \
		}                                                                                  \
	} while (0)
#define rig_wait_why(p, text) rig_wait(strstr((p)->why, text) != NULL)

// Worker: one poll, at most `n` packets, owned; sends one frame and says whether it was taken.
uint16_t rig_rx_queue(struct worker *w, struct port *p, uint16_t q, struct pkt *pkts, uint16_t n);
uint16_t rig_rx(struct port *p, struct pkt *pkts, uint16_t n);
bool rig_tx(struct port *p, uint16_t queue, const void *frame, uint32_t len);

// A frame of `len` bytes with a broadcast destination, a local experimental type and bytes made from `seed`.
void rig_frame(uint8_t *frame, uint32_t len, uint8_t seed);
// The frame as the packet carries it, from all segments.
bool rig_same(const struct pkt *p, const uint8_t *frame, uint32_t len);
