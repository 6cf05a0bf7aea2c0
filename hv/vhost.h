// Guests by vhost-user: the port driver "vhost-user".
//
// librte_vhost holds the conversation with the front end on its own event thread. What it says becomes two things
// here: `struct vhost_talk`, from which the control thread makes the port's state and its reason, and `stop` of every
// ring, which workers obey. Files: vhost.c (driver, connecting and retrying), vhost_talk.c (the library's
// callbacks), vhost_fault.c (guests that break rules), vhost_stats.c (figures), vhost_socket.c (what stands in the way of a socket), vhost_kick.c (what a sleeping worker waits for),
// vhost_check.c (messages that the library must not see), virtq.c and virtq_dp.c, split_dp.c, packed_dp.c (rings), journal.c
// (where they stood), vhost_pass.c and relay.c (conversations that go over to another process), vhost_dp.c (bursts), announce_dp.c (guests that have moved here).
//
// Life of struct vhost: made by the driver's open, freed by a post behind its close, so that every post that
// names it has run before.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/api/err.h"
#include "dp/port.h"
#include "journal.h"
#include "virtq.h"

extern const struct port_driver vhost_driver;

#ifndef VIRTIO_NET_F_GUEST_USO4 // virtio 1.3, 5.1.3
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif

enum vhost_phase {
	VHOST_AWAY,      // no peer
	VHOST_CONNECTED, // a peer, but no driver in the guest yet
	VHOST_FEATURES,  // the guest's driver has chosen features
	VHOST_MEMORY,    // and its memory is mapped
	VHOST_RUNNING,   // rings can be used
};

struct vhost_talk {
	enum vhost_phase phase;
	bool ran;                                  // this peer has been VHOST_RUNNING
	bool too_many_rings;                       // the peer set up more queue pairs than the port has
	bool rx_up[MAX_QUEUES], tx_up[MAX_QUEUES]; // guest's receive and transmit rings that it has enabled
	uint32_t asked; // message being handled, 0 = none. Stays when it fails: then the library hangs up
	const char *refused; // why we refused a message of this peer, or of the last one; NULL
	bool doomed;         // the conversation ends with the message being handled
	bool unusable;       // a ring that the guest has enabled cannot be worked on
	bool parked;         // a message that touches rings is being handled, or failed
	char broken
	    [96]; // what the guest did, so that nothing is taken from it or given to it until it starts anew; ""
	int vid; // the library's number of the connection
	uint64_t features;
	uint64_t uso;        // of these, those that the library does not know
	uint16_t guest_mtu;  // 0 = not said
	uint8_t status;      // of the guest's driver, as the peer said last
	int fd;              // the library's own descriptor of the connection, -1 = it was not found
	uint32_t page_bytes; // of its memory, the smallest page; 0 = no memory yet
	uint32_t n_connections, n_left; // since the port was opened
};

// One ring of the guest, `q` with the switch's own datapath. `stop` and `busy` are how it is taken away from a worker:
// the vhost thread sets stop and, before memory or rings may go, waits for busy to be false; the worker sets
// busy, then looks at stop, so one of the two always sees the other. The fence that this needs on both sides is made by
// the vhost thread for all threads of the process (membarrier), so that it costs a burst nothing.
struct vhost_ring {
	alignas(64) _Atomic bool stop; // vhost thread; worker: r
	_Atomic bool busy;             // worker, for one burst; vhost thread: r
	uint16_t index;                // the library's number of the ring
	int vid;                       // vhost thread, while stopped and not busy
	bool own;                      // by our rings; else by the library's; const while open
	bool attached;                 // `q` is valid; vhost thread, under the lock; control thread: r
	uint32_t n_calls_seen;         // control thread, under the lock
	int watch;                 // epoll set of a transmit ring, -1 = it has to be polled; const while open
	_Atomic int kick;          // our duplicate, in `watch`; -1 = none; vhost thread; worker: r
	_Atomic uint64_t announce; // an address to announce, 0 = none; vhost thread; worker
	uint64_t announced_tsc;    // worker
	struct journal journal;
	struct virtq q;
};

struct vhost {
	struct port *port;
	char name[PORT_NAME_SIZE];
	char path[sizeof(((struct port_conf *)0)->socket)];
	char at[sizeof(((struct port_conf *)0)->socket)]; // where the library has its socket; jobs thread
	bool server;
	uint16_t n_queues;
	bool own; // rings are processed by our code
	int bell; // eventfd in every `watch`

	struct vhost *next;         // of all that own their path; lock of vhost_talk.c
	struct vhost_talk talk;     // lock of vhost_talk.c
	struct virtq_memory memory; // vhost thread; workers inside a ring: r
	_Atomic bool hole;          // a part of it went away; any thread
	_Atomic bool log_hole;      // a part of the dirty log did
	bool at_rest;      // since rings were last stopped no worker can be inside; lock of vhost_talk.c
	_Atomic bool told; // a post to the control thread is under way

	// upgrade
	int kept; // the connection, when the library hears of it no more; -1; vhost thread, jobs thread
	struct port_gift
	    gift;            // of the process before this one, until it was taken up; control thread, one job
	int back;            // from us to the library, for the relay; -1; one job, control thread
	struct relay *relay; // control thread; jobs thread when it rests

	// jobs thread
	bool owns_path;
	bool registered;
	int likely_fd;    // where the library's next descriptor is expected, -1 = anywhere; jobs thread
	struct err error; // of the last try; control thread: r when no job runs

	// control thread
	struct timer *timer; // of the next try
	uint32_t backoff_ms;
	bool started;
	bool job_runs;
	uint32_t n_left;      // of these peers that left we have heard
	bool must_unregister; // the peer has left a client's connection

	struct vhost_ring rings[]; // queue pair q: 2q is the guest's receive ring, 2q + 1 its transmit ring
};

// vhost.c, control thread

int vhost_init(struct err *e);
void vhost_heard(void *arg); // the struct vhost whose talk has changed
// Jobs thread. Has the library connect to another socket than the port's.
int vhost_connect_at(struct vhost *v, const char *at, struct err *e);

// vhost_talk.c

extern const struct rte_vhost_device_ops vhost_callbacks;

// Once, before the first port: what taking rings away from workers needs.
int vhost_talk_init(struct err *e);

// Jobs thread. False when another port has the path; its name is then in `owner`.
bool vhost_talk_claim(struct vhost *v, char owner[PORT_NAME_SIZE]);
// Jobs thread, after the socket was unregistered: no callback any more. `release` gives the path back, too.
void vhost_talk_end(struct vhost *v, bool release);
// Any thread: for all that own their path, under the lock.
void vhost_talk_each(void (*fn)(struct vhost *v, void *arg), void *arg);
// Any thread. Lets the control thread know that there is something to read, once until it has.
void vhost_tell(struct vhost *v);
struct vhost_talk vhost_talk_read(const struct vhost *v);
// Control thread, now and then. Takes guests that broke the rules out of use, and frees workers whom they hold up.
void vhost_talk_judge(void);

// vhost_fault.c, under the lock of vhost_talk.c

// What the guest did that its rings cannot be used any more; nothing is printed if it did nothing.
void vhost_fault_print(struct vhost *v, char *buf, size_t size);
// Whether a worker stood still in interrupting the guest, and was set free.
bool vhost_fault_free_calls(struct vhost *v);

// vhost_stats.c

void vhost_stats(const struct port *p, json_t *out);

// vhost_socket.c, jobs thread

// 0, or why we cannot connect: -ENOENT and -ECONNREFUSED are worth waiting for, the others need a person.
int vhost_socket_check(const char *path, struct err *e);
// Makes the path free to listen on: removes a socket that nobody listens on.
int vhost_socket_clear(const char *path, struct err *e);
// Why bind() would fail, as the library does not say it.
int vhost_socket_refusal(const char *path, struct err *e);
// Any thread, while a connection is new: a peer that stops within a message, or reads no answers, holds up
// the library's one thread no longer than this.
#define VHOST_SOCKET_WAIT_MS 200
// Returns the descriptor of the one that is new, which the library does not tell; -1 if it is not found. It is looked
// for at `likely` first.
int vhost_socket_bound(bool server, int likely);

// vhost_kick.c, jobs thread
void vhost_kick_open(struct vhost *v);
void vhost_kick_close(struct vhost *v); // no callback any more
// vhost_kick.c, vhost thread
void vhost_kick_follow(struct vhost_ring *r, int vid); // the ring was enabled
void vhost_kick_forget(struct vhost_ring *r);
void vhost_kick_bell(struct vhost *v); // rings came or went

// vhost_dp.c

uint16_t vhost_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
void vhost_rx_done(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
int vhost_notify(struct worker *w, struct rxq *q, bool on);
uint16_t vhost_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n);
