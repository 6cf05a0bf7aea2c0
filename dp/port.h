// Ports: what connects a guest, the host or a NIC to a switch, behind one driver table.
//
// `struct port_conf` is what the user asked for, `struct port` the live object (control thread), `struct
// port_live` the few words that drivers, netlink and workers share, `struct snap_port` (snap.h) what
// workers read. A driver lives in its own files (hv/vhost.c, hv/tap.c, dp/ethdev.c) and is listed in a table.
//
// Life: created ▸ driver open (jobs thread) ▸ published ▸ driver start ▸ … ▸ driver stop ▸ unpublished ▸ grace ▸
// driver close (jobs thread) ▸ destroyed. The driver reports what it waits for by port_state_set(). A changed conf
// closes and opens the driver again under the same port; `conf` may then be newer than what close() sees, so a driver
// keeps what it needs of the conf it was opened with.
#pragma once

#include <jansson.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bypass.h"
#include "drop.h"
#include "pkt.h"

#define MAX_PORTS      4096
#define MAX_WORKERS    16
#define MAX_QUEUES     16 // queue pairs of a port
#define PORT_NAME_SIZE 64
#define TXQ_MAILBOX    256
#define STEER_SLOTS    256
#define NO_PORT        0xffff

struct err;
struct port;
struct worker;

enum port_type { PORT_GUEST, PORT_UPLINK, PORT_HOST };
enum port_state {
	PORT_OPENING, // the driver is being opened
	PORT_WAITING, // for a peer, a socket, a device, a link: `why` says which
	PORT_UP,
	PORT_FAILED, // needs a person, or a retry is under way: `why` says which
};

enum vlan_mode { VLAN_UNTAGGED, VLAN_ACCESS, VLAN_TRUNK };

struct vlan_conf { // semantics: VLAN modes; an uplink is a trunk of every VLAN
	enum vlan_mode mode;
	uint16_t vid; // access VLAN, or a trunk's native VLAN (0 = untagged frames stay untagged)
	uint64_t allowed[4096 / 64]; // trunk, prune already taken out
};

struct port_conf {
	char name[PORT_NAME_SIZE];
	char switch_name[PORT_NAME_SIZE];
	enum port_type type;
	char socket[108]; // guest by vhost-user, else ""
	bool server;      // we listen on `socket`
	bool library;     // rings are processed by librte_vhost, as a reference to compare with
	char device[256]; // DPDK device string, else ""
	char ifname[16];  // host vNIC, else ""
	char vm[PORT_NAME_SIZE];
	char bypass[BYPASS_SIZE]; // guest: a device past the switch, else ""
	uint16_t n_queues;        // queue pairs, 1..MAX_QUEUES
	uint16_t mtu;             // 576..9216
	uint16_t await_s;         // 0 = frames pass; else its state has to come first (port_hold.c)
	bool has_mac;
	uint8_t mac[6];
};

// Counters of one port, kept by one worker: everything about packets that came *from* this port, and
// tx_* for what was delivered to it. Identity I6, at any quiet moment, summed over workers:
// rx_packets + made = delivered + consumed + Σ dropped + (held_in - held_out).
struct port_counters {
	uint64_t rx_packets, rx_bytes; // writer: the worker; control reads
	uint64_t tx_packets, tx_bytes;
	uint64_t made;      // extra copies and segments, injected and answered frames
	uint64_t delivered; // frames (and copies) accepted by their destination
	uint64_t consumed;  // ended in the switch on purpose
	uint64_t held_in, held_out;
	uint64_t dropped[N_DROPS];
};

struct port_live {
	_Atomic bool up;              // frames can be delivered; writer: driver or netlink; worker: r
	_Atomic uint16_t n_tx_active; // transmit queues that the peer takes from; writer: driver; worker: r
	// By hash of a flow, the same in both directions: 1 + the queue pair on which the peer last sent it, 0 = none. Workers
	_Atomic uint8_t steer[STEER_SLOTS];
	_Atomic uint32_t offloads; // enum port_offload: what the peer finishes; writer: driver; worker: r
};

struct rxq;
// How many of n packets may be taken from the queue now; 0 = it is not looked at in this round. Worker.
typedef uint16_t rxq_credit_fn(struct worker *w, struct rxq *q, uint16_t n);

// One receive queue; belongs to one worker at a time, and is handed over with all that is in it (queue.h).
struct rxq {
	alignas(64) struct port *port;
	uint16_t port_index;
	uint16_t id;            // queue pair
	uint16_t worker;        // its place: who gets it with the next snapshot; control
	_Atomic uint16_t owner; // who may poll it; writer: control; worker: r
	uint64_t packets;       // received; writer: the owner; control: r
	struct flow_table *flows;
	void *drv;                       // driver's queue
	_Atomic(rxq_credit_fn *) credit; // NULL = no limit; writer: control; worker: r

	// owner (sleep.h)
	struct rxq *next_hot; // of the queues that are polled
	uint64_t seen_tsc;    // round that last found a packet
	uint32_t list_no;     // which of its owner's lists it was in last
	uint16_t asleep_in;   // 1 + worker in whose set it sleeps, 0 = it is polled
};

// One transmit queue, entered by try (txq.h).
struct txq {
	alignas(64) _Atomic uint32_t busy; // 1 = a worker is inside; workers
	uint16_t id;
	bool unfit; // tx() stopped at a frame that no buffer of the receiver holds; who is inside
	void *drv;  // driver's queue
	struct rte_ring *mailbox; // owned mbufs, m->port = source port's index
};

#define PORT_GIFT_FDS 128

struct port_gift { // what a port's driver leaves to the next process; all zero = nothing
	json_t *what;
	unsigned n_fds;
	int fds[PORT_GIFT_FDS]; // -1 = taken
};

struct port_driver {
	const char *name; // "vhost-user"

	// control thread, pure: whether a port with this conf is this driver's.
	bool (*claims)(const struct port_conf *c);
	// control thread, pure: what this driver cannot do with the conf. May be NULL.
	int (*validate)(const struct port_conf *c, struct err *e);
	// jobs thread: everything that blocks or can fail; sets p->drv and every rxq's and txq's drv. The control thread
	// may be changing p->conf meanwhile: `c` holds still during the call.
	int (*open)(struct port *p, const struct port_conf *c, struct err *e);
	// control thread, with the publication of the port, maybe just before it / before it is unpublished. May be NULL.
	void (*start)(struct port *p);
	void (*stop)(struct port *p);
	// jobs thread, after the grace period: no worker is inside any more.
	void (*close)(struct port *p);
	// control thread, before it is committed: the MTU is the only key that is changed without reopening; NULL = the
	// driver is reopened for that too. It takes effect in mtu_changed(), jobs thread, after the commit.
	void (*mtu_changed)(struct port *p, uint16_t mtu);
	// Upgrade, control thread: why the port cannot change hands now, without a subject. NULL = it can. May be NULL.
	const char *(*stays)(const struct port *p);
	// Upgrade, pure: the next process may open the port while this one has it, as only start() touches what both need.
	// NULL = it may not.
	bool (*opens_beside)(const struct port_conf *c);
	// Upgrade, jobs thread, when workers have ended: lets go of what the next process takes, and changes nothing of it.
	// NULL = close() does. It may leave it something (dp/port_life.h).
	void (*leave)(struct port *p, struct port_gift *g);
	// Upgrade, the next process, jobs thread: the port is open and will be left something. May be NULL.
	void (*prepare)(struct port *p);
	// Upgrade, the next process, control thread: gets that before start(), and takes it over. May be NULL.
	void (*take)(struct port *p, struct port_gift *g);
	// control thread: driver's own figures for `port show NAME`, added to `out`. May be NULL.
	void (*stats)(const struct port *p, json_t *out);

	// workers. rx: fills pkts[0..n) with owned or borrowed packets, data/len/head_len/src set.
	uint16_t (*rx)(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
	// Completes what rx lent out: end of the burst. May be NULL.
	void (*rx_done)(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
	// May be NULL: the queue has to be polled. On: asks the peer to notify; returns a descriptor that gets ready when
	// there may be something in the queue, or -1 = poll it this time. The caller puts it into a set, calls rx once more,
	// which must really look, and then waits. The descriptor is the queue's own and the same until close(), whatever it
	// stands for: a driver whose peer replaces its descriptors gives an epoll set. Off: it is polled again.
	int (*notify)(struct worker *w, struct rxq *q, bool on);
	// Delivers up to n packets in order; returns how many were accepted (the first k). Called by the
	// holder of q only. A driver that stopped at a frame that it can never deliver sets q->unfit. The packets stay the caller's: a driver that keeps a frame beyond the call takes p->m
	// away (sets it to NULL) when p->n_users == 1, and pkt_copy()s otherwise.
	uint16_t (*tx)(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n);
};

struct port {
	struct port_conf conf;
	struct vlan_conf vlan;
	const struct port_driver *driver;
	void *drv; // driver's port
	uint16_t index;
	uint16_t switch_index;
	uint32_t id; // never 0, and of no other port while the process lives: serial number, index
	enum port_state state;
	char why[256];
	uint64_t state_since_ns;
	bool open;    // the driver is open: workers may poll and transmit
	bool leaving; // being deleted: not in the next snapshot
	struct port_live live;
	struct rxq rxqs[MAX_QUEUES];
	struct txq *txqs;                                // conf.n_queues of them
	struct port_counters *counters[MAX_WORKERS + 1]; // by worker index; the last is the control thread's
	struct port_counters *restored; // what is in that one of another host's; NULL = nothing; save.c
	struct snap_port *part;         // what the current snapshot shows; snap.c
	bool dirty;                     // and is to be rebuilt with the next
	bool built;                     // was dirty when the one was built that is not published yet; snap.c
	uint64_t own_key;               // static FDB entry of its own address, 0 = none; snap.c
	struct bypass *bypass;          // NULL = none
	struct port_life *life;         // opening, closing, retries; port_life.c
	bool told_up;                   // what the last event said
	struct timer *hold;             // ends its waiting for its state; port_hold.c
};

// control thread

// Makes a driver known. A conf goes to the first driver that claims it.
void port_driver_register(const struct port_driver *d);
const struct port_driver *port_driver_for(const struct port_conf *c); // NULL

struct port *port_find(const char *name); // NULL
struct port *port_at(uint16_t index);     // NULL
static inline uint16_t port_id_index(uint32_t id)
{
	return id % MAX_PORTS;
}
// A driver reports. Emits events on a change. `why` may be NULL when up.
void port_state_set(struct port *p, enum port_state state, const char *why, ...)
    __attribute__((format(printf, 3, 4)));
// The same from another thread: by index and name, as the port may be gone when it is heard.
void port_state_post(const struct port *p, enum port_state state, const char *why, ...)
    __attribute__((format(printf, 3, 4)));
void port_forget_learned(struct port *p); // the addresses seen on it
// It waits for its state, and no snapshot shows it: it is not polled, learns nothing, and frames are forwarded as if it
// were not there.
static inline bool port_is_held(const struct port *p)
{
	return p->conf.await_s > 0;
}
void port_gift_free(struct port_gift *g);
void port_counters_sum(const struct port *p, struct port_counters *out);
