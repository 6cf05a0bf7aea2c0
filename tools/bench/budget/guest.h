// Guests of rig.h: ports with our own rings in plain memory, and what their drivers do. Frames of 64 bytes go in and
// come out in order; every buffer keeps its place in the ring, so that the guest's work is small.
#pragma once

#include <stdbool.h>

#include "dp/port.h"

#define GUEST_FRAME 64 // bytes

void guests_init(void); // before start(): whoever is asked first has the port
struct port *guest_make(int number, int sw, bool packed);
// Makes a burst available, from end `from` (rig.h: frame_write()).
void guest_send(struct port *p, int from);
// Takes back what was sent, ends the program unless the switch has completed all of it.
void guest_reap(const struct port *p);
// Takes what has arrived and makes the buffers available again; ends the program unless it is a burst.
void guest_receive(const struct port *p);
