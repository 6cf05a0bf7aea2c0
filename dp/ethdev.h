// Devices: uplinks and "guest by device", whatever is named by a DPDK device string.
//
// Two port drivers. `net_af_packetN,iface=…` is served by our own packet sockets: the DPDK driver of that name
// reassembles IPv4 fragments, turns service tags into customer tags, hands on unfinished checksums and what the host
// itself sends, can wait for ever in transmit and never finds its interface again. Everything else is an ethdev.
#pragma once

#include "port.h"

extern const struct port_driver afpacket_driver;
extern const struct port_driver ethdev_driver;

// Whether a device string is one of the packet-socket driver.
bool device_is_afpacket(const char *device);
