// The whole data plane in one process: real change engine, snapshots, walk and transmit queues, and ports that are
// arrays of frames instead of devices.
//
// A test reads like the specification:
//     sw("sw0", "external");
//     port("a", "sw0", NULL);
//     inject("a", eth(B, A));
//     expect("b", same());
//     expect_drops("a", "runt", 0);
// After each test the accounting identity (I6) must hold for every port, no frame may be left unexpected, and all
// packet buffers must be back.
#pragma once

#include <check.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_net.h>

#define FRAME_BYTES 65600

struct frame {
	size_t len;
	struct virtio_net_hdr_v1 vnet; // what the sender asks for, what the receiver is asked
	uint8_t bytes[FRAME_BYTES];
};

extern const uint8_t MAC_A[6], MAC_B[6], MAC_C[6], MAC_ALL[6];

// Runs a suite in this process and returns main()'s status. Without workers the test's own thread does the
// rounds; with some, they poll by themselves and expectations wait.
int house_run(Suite *s, uint16_t n_workers);
const char *house_dir(void); // ours alone, removed at the end
void house_setup(void);      // before each test: nothing configured
void house_teardown(void);   // after each test: checks and removes everything

// Configuration through the change engine. `text` is JSON with single quotes for double ones; NULL = {}.
void sw(const char *name, const char *kind);
void port(const char *name, const char *sw, const char *text);
void set(const char *kind, const char *name, const char *text);
void del(const char *kind, const char *name);
// Two requests that come together: each {kind: {name: conf, or null to delete}}; the second may be NULL.
void changes(const char *first, const char *second);
// Refused: the sentence must contain `words`.
void refused(const char *kind, const char *name, const char *text, const char *words);

// Frames
struct frame *eth(const uint8_t dst[6], const uint8_t src[6]);                  // 60 bytes, a local type
struct frame *tagged(const uint8_t dst[6], const uint8_t src[6], uint16_t vid); // 64 bytes
struct frame *with_tag(const struct frame *f, uint16_t tpid, uint16_t tci);     // one more tag in front
struct frame *sized(const uint8_t dst[6], const uint8_t src[6], size_t len);
struct frame *cut(const struct frame *f, size_t len);
struct frame *from_bytes(const void *bytes, size_t len);

void inject(const char *port, const struct frame *f);             // one frame, and a round of its worker
void inject_many(const char *port, const struct frame *f, int n); // in bursts
void expect(const char *port, const struct frame *f);             // the next frame delivered there is f
void expect_last(const char *port);                               // the next one equals the last injected
void expect_nothing(const char *port);
void expect_drops(const char *port, const char *reason, uint64_t n);  // since the port was made
void expect_sent(const char *port, uint64_t packets, uint64_t bytes); // the same
void expect_fdb(const char *sw, uint16_t vid, const uint8_t mac[6], const char *port); // port NULL = unknown

void ring_queue(const char *port, const struct frame *f); // waits for the next round
void house_settle(void); // until every driver is open, as after a change of a port's address
void house_turn(
    void); // of the control thread's loop: timers that are due. Fails when the test takes half a minute
void house_rounds(void);        // rounds of the worker until nothing moves
void house_flows(bool on);      // compile and use flows (the start), or let every packet take the walk
void house_seconds(uint32_t n); // so much time goes by, addresses age

// Ring ports
void ring_refuse(bool on); // whether rings that are opened from now on fail
void ring_bells(bool on);  // whether rings that are opened from now on let a worker sleep
void ring_late(const char *port,
	       const struct frame *f); // comes when a worker is about to sleep, just too early for the bell
void ring_hold(bool on);               // whether who opens a ring has to wait
bool ring_is_opening(void);
void ring_up(const char *port, bool up);
void ring_accept(const char *port, int n);      // the next n frames only, then the queue is full; -1 = all
void ring_room(const char *port, size_t bytes); // of the longest frame that it can hold; 0 = any
void ring_send_on(const char *port, uint16_t queue); // 0 at the start
uint16_t ring_received_on(const char *port);         // its last frame
void ring_borrow(const char *port,
		 size_t piece); // lends its frames in pieces of so many bytes; 0 = owned again
void ring_offloads(const char *port, uint32_t mask); // enum port_offload; 0 at the start
size_t ring_delivered(const char *port);             // frames not yet expected
const struct frame *ring_take(const char *port);     // the next of them, NULL = none
