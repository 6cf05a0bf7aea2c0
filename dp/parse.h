// Parsing: one bounded pass over the private header bytes that fills a packet's facts.
//
// Every header that is cut or contradicts itself is refused with its own reason, so that no later
// stage needs to check lengths again. Pure; no thread.
//
// Ethernet II and 802.1Q (outer tag, of a customer or of a service: PKT_STAG and PKT_TAGGED; a second tag is noted
// and left opaque: no L3 facts behind it),
// IPv4 (RFC 791; options noted), IPv6 (RFC 8200; at most 8 extension headers: hop-by-hop, routing,
// destination, fragment, AH), TCP, UDP, SCTP, ICMP, ICMPv6, ARP (RFC 826 for Ethernet and IPv4).
// A first fragment must hold its whole L4 header (RFC 1858, RFC 7112), and no later one may overlay
// the flags of a TCP header. IPv6 atomic fragments (RFC 6946) are whole packets. Padding behind the IP length is fine.
// 802.3 frames (length instead of type) pass without L3 facts.
#pragma once

#include "drop.h"
#include "pkt.h"

// Needs p->data, head_len, len; fills flags, tci, ether_type, offsets, ip_version, ip_proto. A borrowed packet
// whose headers go beyond head_len gets PKT_BEYOND_HEAD instead of facts it cannot check (so does an owned
// one whose first segment is that short). With a reason other than DROP_NONE the facts mean nothing.
enum drop parse(struct pkt *p);

// Hash of addresses, protocol and ports (what the headers have), another one for each direction; never 0. `seed` is
// random per process.
uint32_t parse_hash(const struct pkt *p, uint32_t seed);

// The same for both directions of a flow.
uint32_t parse_hash_both(const struct pkt *p, uint32_t seed);
