// Control protocols: packets that no flow decides, because every one of them may change what others mean.
//
// ARP (RFC 826), neighbour discovery (RFC 4861), DHCP (RFC 2131, RFC 8415), IGMP and MLD, ICMP errors (RFC 792, RFC 4443)
// and the reserved group addresses of IEEE 802.1Q. They always take the walk, behind a token bucket per receive
// queue: a flood of one port's control frames costs that port only. Workers; pure but for the bucket.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkt.h"

#define CONTROL_PPS   20000
#define CONTROL_BURST 2048

struct control_bucket {  // writer: the queue's worker
	uint64_t tsc;    // of the last packet
	uint64_t tokens; // in TSC: one packet costs hz / CONTROL_PPS
};

bool control_matches(const struct pkt *p);

// p is parsed: most packets are ruled out by then.
static inline bool control_is(const struct pkt *p)
{
	return __builtin_expect(p->may_control, 0) && control_matches(p);
}

// Whether one more may pass at this time.
bool control_admits(struct control_bucket *b, uint64_t now_tsc, uint64_t hz);
