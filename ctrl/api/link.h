// Kernel network interfaces: their state, and a call on every change.
//
// Of the network namespace that the daemon was started in. Control thread only. A watch is for a name, not
// for an interface: it also hears when the interface goes, is renamed away, or comes back with another index.
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct link_watch;

struct link_info {
	char ifname[IFNAMSIZ];
	int ifindex;  // 0 = no such interface; then all below is zero
	bool up;      // IFF_UP: someone switched it on
	bool running; // IFF_RUNNING: and its lower layer has carrier
	uint32_t mtu;
	uint8_t mac[6]; // zero for interfaces without an Ethernet address
};

// Calls fn soon with the present state (never from inside link_watch_start()) and then after every change of one
// of the fields above. Changes in quick succession may be told as one. `info` is valid during the call. fn may
// start and stop watches, also its own. NULL when out of memory.
struct link_watch *link_watch_start(const char *ifname, void (*fn)(const struct link_info *info, void *arg),
				    void *arg);
void link_watch_stop(struct link_watch *lw); // no call after this; accepts NULL
