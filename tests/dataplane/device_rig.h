// Device ports on the driver rig: one port at a time, owned packets in, frames compared by content.
#pragma once

#include "driver_rig.h"

extern struct port *device; // the port under test
extern struct err device_err;

void device_up(const char *string, uint16_t mtu);   // a port "up0", opened, started and up
void device_open(const char *string, uint16_t mtu); // the same, not waiting for its link
void device_down(void);
// Opening one more port "up1" is refused, and the sentence has `text` in it.
void device_refused(const char *string, uint16_t n_queues, const char *text);

#define FRAME_TYPE 0x88b5                                       // IEEE 802, for local experiments
void frame_make(uint8_t *frame, uint16_t len, uint32_t number); // at least 18 bytes
// An owned packet of segments with at most `seg` bytes each.
void packet_make(struct pkt *k, const uint8_t *frame, uint16_t len, uint16_t seg);

uint16_t device_tx(struct pkt *k, uint16_t n);
uint16_t device_rx(struct pkt *k, uint16_t n);
void device_rx_end(struct pkt *k, uint16_t n);       // frees as well
bool device_has(const uint8_t *frame, uint16_t len); // one burst; whether the frame is in it
unsigned buffers_in_use(void);
