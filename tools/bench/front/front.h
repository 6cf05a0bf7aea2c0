// The guests of a bench: many virtio-net devices in one process, which speak vhost-user as front ends.
//
// Two threads. The control thread (main.c, control.c, vhost.c) connects devices and prints; the worker
// (load.c) owns the rings and moves frames. A device changes hands by parking: control sets `want_parked` and
// bumps load->changes, the worker answers in `parked`; the one who has it may touch its rings.
//
// Devices 2k and 2k+1 are a pair: they share one memory region and exchange frames. A direction is named by its
// sender. Each direction has its own buffers, which only ever carry its frames: the transmit ring of the sender
// and the receive ring of the peer are filled from one pool.
#pragma once

#include "tools/bench/front/packet.h"
#include "tools/bench/front/ring.h"
#include "tools/bench/front/shape.h"
#include "tools/bench/front/stats.h"
#include "tools/bench/front/stream.h"

#include <stdatomic.h>

enum mode { MODE_LOOP, MODE_PACED, MODE_BLAST };

struct conf {
	const char **sockets; // n_sockets; one with a %d stands for all devices
	unsigned n_sockets, n_devices, busy, first;
	bool server, packed, mrg, in_order, event_idx, require, odd, huge, one_way;
	int stamp; // -1: as the mode needs it
	unsigned ring_size, idle_ring_size, buffer_bytes;
	enum mode mode;
	double rate_pps, seconds, frames, deadline_s, patience_s;
	unsigned interval_ms, in_flight, nap_us;
	unsigned hang_up_ms; // 0 = never
	int core;
	unsigned queues;
	bool log;                 // a dirty log, on from the start
	unsigned dirty;           // rounds of its proof; 0: traffic instead
	uint64_t must[2], may[2]; // features of even and odd devices
	// How buffers are described; all of it false and the worker takes the short way (load.c).
	bool shaped;
	enum layout layout, rx_layout;
	unsigned rx_buffer; // bytes, shaped; 0: one holds a frame
	bool streams;       // payload that is checked
	struct stream_conf stream;
	const char *attack;
	unsigned seed;
	struct packet_conf packet;
};

struct pool {
	uint32_t *offs;
	unsigned n;
};

#define MAX_QUEUES 16

struct queue { // a pair; index 0 of two is the receive ring's
	// control
	int kick[2], call[2];
	size_t ring_at[2];
	uint32_t base[2]; // where the back end stopped
	// who has the device
	struct ring rx, tx;
	struct seg rest[RING_SEGS]; // buffers of a frame whose others are not taken yet
	unsigned n_rest;
	struct seg *pile; // the same when frames may have any number of them
	unsigned n_pile;
	uint64_t rx_frames; // w: worker, control: r
};

struct device {
	unsigned index, number; // number: in addresses
	struct device *peer;
	char path[108];
	// control
	int listener, fd, memfd;
	uint64_t features;
	bool connected, acks;
	char *region;
	size_t region_bytes;
	int logfd;
	uint8_t *log; // a bit for each page of guest physical memory
	size_t log_bytes;
	unsigned ring_size, n_queues;
	// who has it
	struct queue *queues;
	atomic_bool want_parked; // w: control
	atomic_bool parked;      // w: worker
	// worker
	bool up, sends;
	struct pool pool;    // of the direction in which this device sends
	struct pool rx_pool; // shaped: what this device receives into
	struct stream stream;
	struct arrivals arrivals;
	uint64_t open_bytes; // closed loop: payload of frames that have not come as a whole
	uint32_t turn;       // varies shapes
	struct packet_source source;
	struct seq_table seen; // of what this device has received
	uint64_t credit;       // frames that may be sent (closed loop)
	uint64_t last_rx_tsc;  // of the last one that the peer got
	uint64_t next_fp;      // TSC of the next frame, in 1/256 (paced)
	uint32_t announce_at;
	bool *heard; // per address of this device: the peer has got its announcement
	struct counts counts;
};

enum phase { PHASE_WAIT, PHASE_ANNOUNCE, PHASE_RUN, PHASE_DRAIN, PHASE_END };

struct load {
	const struct conf *conf;
	struct device *devices;
	struct device **senders;
	unsigned n_devices, n_senders, n_active, next_idle, rounds, n_connected;
	int set;          // epoll: connections
	uint8_t *scratch; // worker: a frame that came in several buffers
	bool forwards;    // what arrives is posted again as it is
	unsigned segs;    // buffers of the longest frame
	double tsc_hz;
	uint64_t interval_fp;  // between two frames of one sender, TSC in 1/256
	uint64_t announce_tsc; // worker: when those on their way are given up
	unsigned announce_device, announce_open;
	uint64_t hang_up_tsc; // control: when the next one does
	unsigned n_hung_up;
	atomic_uint changes;       // w: control
	unsigned seen_changes;     // worker
	atomic_int phase;          // w: control
	atomic_uint unheard;       // w: worker: addresses that no peer has heard yet
	_Atomic uint64_t busy_tsc; // w: worker: of rounds that moved a frame
	struct hist latency;       // w: worker
};

// vhost.c, control thread: tells the back end at d->fd all about the parked device. 0 or -errno; `why` says more.
int vhost_set_up(struct device *d, const struct conf *c, char *why, size_t why_bytes);

// Takes the rings back from the back end, and lets it go on where it stopped.
int vhost_stop(struct device *d, char *why, size_t why_bytes);
int vhost_start(struct device *d, const struct conf *c, char *why, size_t why_bytes);

// device.c: memory and descriptors. 0 or -errno, the reason is on stderr.
int devices_create(struct load *l, const struct conf *c);
void devices_destroy(struct load *l);

// control.c: connects, listens, notices who leaves. A device that is not there is looked for again.
int control_open(struct load *l);
// Waits at most timeout_ms for something to happen. Number of devices that are connected, or -errno if one
// never will be.
int control_poll(struct load *l, int timeout_ms);
void control_close(struct load *l);

// dirty.c: conf->dirty rounds with two connected devices, in place of traffic. 0 or -errno, the reason is on stderr.
int dirty_run(struct load *l);

// load.c: the worker's thread.
void *load_run(void *load);

#define BUFFER_BYTES (33 * 64)

// A silent device has one address.
static inline uint32_t device_macs(const struct conf *c, unsigned index)
{
	return index < c->busy ? c->packet.macs : 1;
}

static inline unsigned buffer_room(const struct conf *c)
{
	return c->buffer_bytes - BUFFER_HEAD;
}

static inline unsigned frame_buffers(const struct conf *c, unsigned len)
{
	return (len + VIRTIO_HEAD + buffer_room(c) - 1) / buffer_room(c);
}

// Shaped: bytes of a buffer behind its head.
static inline unsigned tx_room_bytes(const struct conf *c)
{
	return (c->streams ? stream_longest(&c->stream) : packet_longest(&c->packet)) + VIRTIO_HEAD;
}

static inline unsigned rx_room_bytes(const struct conf *c)
{
	return c->rx_buffer ? c->rx_buffer : tx_room_bytes(c);
}
