// Virtqueues of a guest's network device as the switch works on them: split and packed rings (virtio 1.2, 2.7 and
// 2.8), with event indexes, indirect tables, mergeable receive buffers and any layout of headers.
//
// Everything here may be changed by the guest at any moment. Therefore each descriptor, index and header is read once into
// a local, checked there, and then used. What breaks the rules in a way that leaves the ring without meaning sets
// `fault`: the ring is not looked at any more until the guest sets it up anew.
//
// Taking from a transmit ring lends packets out (pkt.h): the first bytes are copied to private memory, the rest stays in
// the guest's buffers until vring_give_back(). Descriptors complete in ring order, before the burst ends, always.
//
// A virtq belongs to a worker between the enter and the leave of its vhost_ring (vhost.h), else to the vhost thread.
#pragma once

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_ring.h>

#include "dp/pkt.h"

#define VIRTQ_MAX_SIZE    32768
#define VIRTQ_REGIONS     8           // of a guest's memory
#define VIRTQ_MAX_PIECES  256         // descriptors of one frame
#define VIRTQ_MAX_FRAME   (64 * 1024) // bytes of a frame, without the virtio header
#define VIRTIO_NET_HEADER 12          // its length in virtio 1, or with mergeable buffers; else 10

struct journal;
struct worker;

enum virtq_fault {
	VIRTQ_FINE,
	VIRTQ_ANEW,      // no fault: just taken over, see virtq_begin()
	VIRTQ_INDEX,     // more entries are available than the ring has
	VIRTQ_HEAD,      // a head beyond the ring
	VIRTQ_OUTSIDE,   // a buffer, or a table, that is not in the guest's memory
	VIRTQ_DIRECTION, // a buffer to write where one to read has to be, or the other way round
	VIRTQ_CHAIN,     // a chain that is too long, or does not end
	VIRTQ_INDIRECT,  // an indirect table of a wrong length, or within another
	VIRTQ_SHORT,     // buffers that do not hold the virtio header
	VIRTQ_LONG,      // a frame that is longer than any can be
	VIRTQ_N_FAULTS,
};

struct virtq_region {
	uint64_t gpa, size; // guest physical
	uint8_t *va;
};

struct virtq_memory { // const while rings use it
	uint32_t n;
	uint32_t page_bytes; // the smallest page that it is made of
	struct virtq_region regions[VIRTQ_REGIONS];
	uint8_t *log; // a bit for each page that was written, NULL = none; begins a page
	uint64_t log_bytes;
};

struct virtq {
	alignas(64) struct virtq_region last; // that was found
	union {
		struct vring_desc *desc;
		struct vring_packed_desc *packed;
	};
	union {
		struct vring_avail *avail;
		struct vring_packed_desc_event *driver_event;
	};
	union {
		struct vring_used *used;
		struct vring_packed_desc_event *device_event;
	};
	uint16_t size;
	uint16_t next; // entry to take next
	uint16_t done; // entry to complete next
	bool is_packed, next_wrap, done_wrap;
	bool event_idx, mergeable;
	bool asks;     // the guest may ask for checksums and segmentation
	uint8_t fault; // enum virtq_fault; worker: w, others: r
	// second line
	alignas(64) const struct virtq_memory *memory;
	uint8_t header;     // bytes of the virtio header
	bool log;           // what is written is to be logged (VHOST_F_LOG_ALL)
	bool signalled;     // has interrupted the guest before
	uint16_t index;     // the library's number of the ring
	int vid;            // and of the device
	int call;           // eventfd, -1 = the guest polls
	bool calling;       // worker: w, control: r
	uint32_t n_calls;   // worker: w, control: r
	uint32_t *position; // packed: the journal's (journal.h), NULL = none
	bool unfit;         // put stopped at a frame that the next buffers can never hold
	uint16_t n_lent;
	bool lent_chains;           // packed: some are of several descriptors
	uint16_t n_before;          // packed: taken at once, the last time
	uint64_t lent[PKT_BURST];   // to complete, in order: what the used ring will say
	uint16_t lent_n[PKT_BURST]; // packed: descriptors of each
};

// vhost thread

// The guest's memory as the library has mapped it; `hit` is set when a part of it goes away (hole.h). False: there is
// none, or a part of it is not behind its file. Forgotten when nobody uses it any more, before it is unmapped.
bool virtq_memory_read(struct virtq_memory *to, int vid, _Atomic bool *hit);
void virtq_memory_forget(struct virtq_memory *m, const _Atomic bool *hit);
// The dirty log, in place of the one before; fd is the caller's. As above: `hit` is of the log alone, and the one before
// is not in use any more. The library has no part in it: it would be hit where nobody can help.
bool virtq_log_open(struct virtq_memory *m, int fd, uint64_t bytes, _Atomic bool *hit);
void virtq_log_close(struct virtq_memory *m, _Atomic bool *hit);
// Takes over a ring as the front end has set it up, and a packed one where the journal says that it stands. False: it
// cannot be used.
bool virtq_attach(struct virtq *r, int vid, uint16_t index, const struct virtq_memory *memory,
		  uint64_t features, const struct journal *j);
// Gives the positions to the library. Only after virtq_attach() was true.
void virtq_detach(struct virtq *r);

// workers

// With a ring that has a fault. True: it is VIRTQ_ANEW, and can be used from now on. The guest is interrupted once, as
// whoever worked on the ring before may have died when he was about to.
bool virtq_begin(struct virtq *r);

// Takes up to n frames of a transmit ring (n <= PKT_BURST): packets from port `src`, lent until vring_give_back().
uint16_t split_take(struct worker *w, struct virtq *r, struct pkt *pkts, uint16_t n, uint16_t src);
uint16_t packed_take(struct worker *w, struct virtq *r, struct pkt *pkts, uint16_t n, uint16_t src);
void split_give_back(struct virtq *r);
void packed_give_back(struct virtq *r);

// Puts frames into a receive ring, in order. Returns how many fitted (the first k); r->unfit says whether the next one
// would not even fit if the guest offered more buffers.
uint16_t split_put(struct virtq *r, struct pkt **pkts, uint16_t n);
uint16_t packed_put(struct virtq *r, struct pkt **pkts, uint16_t n);

// Whether the guest is to notify when it makes entries available. A fence is the caller's.
void split_notify(struct virtq *r, bool on);
void packed_notify(struct virtq *r, bool on);
