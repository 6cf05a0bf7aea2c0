// Snapshots: the configuration as workers read it, one immutable object behind one pointer.
//
// A snapshot is an array of pointers to const parts (ports, switches, flood lists); parts that did not change
// are shared with the snapshot before. snap_build() makes the next one from the live objects, snap_publish() stores
// the pointer, and what it replaced is freed when every worker has passed (rte_rcu_qsbr, polled).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fdb.h"
#include "port.h"
#include "stage.h"

enum snap_port_flags {
	SNAP_UPLINK = 1,
	SNAP_OWN_MAC = 2, // has an address of its own: no unknown unicast, source checked
	SNAP_STEERS = 4,  // chooses by what it sends on which queue pair it receives
};

struct snap_port { // const for workers
	uint16_t index;
	uint32_t id;
	uint16_t sw;    // index of the switch
	uint16_t flags; // enum snap_port_flags
	uint16_t n_txqs;
	uint32_t version;     // changes with each rebuilding
	uint32_t max_payload; // the MTU: bytes behind the Ethernet header and the tags
	uint8_t n_in, n_out;
	uint8_t n_watches;
	uint8_t reads_in, reads_out; // enum step_reads: union over the steps
	uint8_t mac[6];
	uint16_t vid;                 // of untagged frames
	const uint64_t *vlan_allowed; // trunk: 64 words; NULL = every VLAN
	const struct port_driver *driver;
	struct port_live *live;
	struct txq *txqs;
	struct port_counters *const *counters; // by worker
	struct step in[MAX_STEPS];             // ingress stages that are not empty, in order
	struct step out[MAX_STEPS];            // egress stages
	struct op ops[MAX_OPS];                // that plans name by their bits
	uint8_t n_ops;
	struct watch watches[MAX_WATCHES]; // of drops
	char name[PORT_NAME_SIZE];
};

static inline bool snap_port_has_vlan(const struct snap_port *sp, uint16_t vid)
{
	return sp->vlan_allowed == NULL || (sp->vlan_allowed[vid / 64] >> (vid % 64) & 1);
}

struct snap_flood { // ports that may be members; the egress half decides
	uint32_t n;
	uint16_t ports[];
};

struct snap_switch {
	uint16_t index;
	uint8_t reads_out; // union over the ports
	uint32_t version;
	struct fdb *fdb;
	const struct snap_flood *every_vlan;    // trunks and uplinks
	const struct snap_flood *const *by_vid; // 4096 entries: access and untagged ports, NULL = none
	char name[PORT_NAME_SIZE];
};

struct snap_rxqs { // of one worker
	uint32_t n;
	struct rxq *q[];
};

struct snap {
	uint64_t epoch; // grows by one with each
	uint32_t n_ports, n_switches;
	const struct snap_port *const *ports; // by index, NULL = none
	const struct snap_switch *const *switches;
	const struct snap_rxqs *rxqs[MAX_WORKERS];
};

// control thread
int snap_init(struct err *e);
void snap_fini(void); // workers have stopped
int snap_build(struct err *e);
void snap_discard(void);
void snap_publish(void);
// No queue is polled, from the next one on.
void snap_hold(bool hold);
bool snap_grace_over(void);
const struct snap *snap_now(void); // the published one; workers and control thread
struct rte_rcu_qsbr *snap_rcu(void);
