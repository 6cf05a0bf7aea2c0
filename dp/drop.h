// Why packets are dropped: one list, and nothing is dropped for a reason that is not in it.
//
// Names are stable: they are the JSON value of `drop show` and the label of the metrics. Append only.
#pragma once

#include <stdint.h>

// X(symbol, name, stage, text)
#define DROP_REASONS(X)                                                                                     \
	X(RUNT, "runt", "parse", "shorter than an Ethernet header")                                         \
	X(OVERSIZE, "oversize", "parse", "longer than the port's MTU allows")                               \
	X(TRUNCATED, "truncated", "receive", "cut by the device's receive buffer")                          \
	X(VLAN_CUT, "vlan-cut", "parse", "ends inside a VLAN tag")                                          \
	X(IPV4_CUT, "ipv4-cut", "parse", "ends inside the IPv4 header")                                     \
	X(IPV4_MALFORMED, "ipv4-malformed", "parse", "IPv4 header with impossible lengths")                 \
	X(IPV6_CUT, "ipv6-cut", "parse", "ends inside the IPv6 header or an extension header")              \
	X(IPV6_MALFORMED, "ipv6-malformed", "parse", "IPv6 header with impossible lengths")                 \
	X(IPV6_HEADERS, "ipv6-headers", "parse", "too many or misplaced IPv6 extension headers")            \
	X(L4_CUT, "l4-cut", "parse", "ends inside the TCP, UDP, SCTP or ICMP header")                       \
	X(L4_MALFORMED, "l4-malformed", "parse", "TCP or UDP header with impossible lengths")               \
	X(ARP_CUT, "arp-cut", "parse", "ends inside the ARP packet")                                        \
	X(ARP_MALFORMED, "arp-malformed", "parse", "ARP packet with wrong types or lengths")                \
	X(SOURCE_MAC, "invalid-source-mac", "classify", "source MAC is a group address or zero")            \
	X(BRIDGE_RESERVED, "bridge-reserved", "classify", "sent to 01-80-C2-00-00-0x")                      \
	X(VLAN_TAGGED, "vlan-tagged", "ingress policy", "tagged frame on an untagged or access port")       \
	X(VLAN_NOT_ALLOWED, "vlan-not-allowed", "policy", "VLAN is not allowed on the port")                \
	X(VLAN_TPID, "vlan-tpid", "ingress policy", "service tag (802.1ad) is not carried")                 \
	X(VLAN_INNER_TAG, "vlan-inner-tag", "policy", "a second tag would be left without the outer one")   \
	X(MAC_SPOOFING, "mac-spoofing", "ingress policy", "source MAC is not the port's")                   \
	X(NO_DESTINATION, "no-destination", "forward", "no port to deliver to")                             \
	X(HAIRPIN, "hairpin", "forward", "destination is on the port it came from")                         \
	X(UPLINK_TO_UPLINK, "uplink-to-uplink", "forward", "from one uplink to another of the same switch") \
	X(MTU_EXCEEDED, "mtu-exceeded", "egress policy", "longer than the destination's MTU")               \
	X(PORT_DOWN, "port-down", "transmit", "destination is not connected or has no link")                \
	X(TX_FULL, "tx-full", "transmit", "destination's queue is full")                                    \
	X(TX_UNFIT, "tx-unfit", "transmit", "longer than a buffer of the receiving guest")                  \
	X(TX_BUSY, "tx-busy", "transmit", "destination's mailbox is full")                                  \
	X(NO_MEMORY, "no-memory", "transmit", "no packet buffer for a copy")                                \
	X(PORT_REMOVED, "port-removed", "transmit", "destination was removed while the packet was held")    \
	X(CONTROL_RATE, "control-rate", "classify", "more ARP, ND, DHCP and the like than a port may")      \
	X(OFFLOAD_CHECKSUM, "offload-checksum", "parse", "asks for a checksum where its headers have none") \
	X(OFFLOAD_SEGMENT, "offload-segment", "parse", "asks for segments that its headers do not allow")   \
	X(EXTENSION, "extension", "extension", "by an extension; 'ext drops' says by which and why")        \
	X(EXTENSION_GONE, "extension-gone", "extension", "an extension that has to see it is not there")

enum drop {
	DROP_NONE, // go on
#define DROP_ENUM(symbol, name, stage, text) DROP_##symbol,
	DROP_REASONS(DROP_ENUM)
#undef DROP_ENUM
	    N_DROPS
};

const char *drop_name(enum drop reason);  // "tx-full"
const char *drop_stage(enum drop reason); // "transmit"
const char *drop_text(enum drop reason);  // a sentence without subject
