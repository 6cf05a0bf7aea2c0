// Parsing: reads a frame's headers once and writes down what they are and where, or why they are refused.
//
// First thing that happens with a received packet. Worker that received it.
// Every read is of private bytes and stands behind a check of head_len. Which check fails when decides the reason:
// a frame that ends inside a header is "cut"; a header that contradicts another one is "malformed".

#include "dp/parse.h"

#include <netinet/in.h>
#include <string.h>

#include <immintrin.h>

#include "dp/mix.h"

#define ETH_BYTES  14
#define TAG_BYTES  4
#define ARP_BYTES  28
#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define UDP_BYTES  8
#define TCP_BYTES  20
#define SCTP_BYTES 12
#define ICMP_BYTES 8 // ICMPv6 alike: no message of either is shorter

#define MAX_EXT_HEADERS 8
#define MAX_DATAGRAM    65535u

#define RESERVED_GROUP 0x00c28001u // 01:80:c2:00, as it is read

enum {
	TYPE_IPV4 = 0x0800,
	TYPE_ARP = 0x0806,
	TYPE_VLAN = 0x8100,
	TYPE_IPV6 = 0x86dd,
	TYPE_STAG = 0x88a8,
	TYPE_STAG_OLD = 0x9100,
};

#define likely(x) __builtin_expect(!!(x), 1)

static inline uint16_t be16(const uint8_t *at)
{
	uint16_t v;
	memcpy(&v, at, sizeof(v));
	return __builtin_bswap16(v);
}

static inline uint32_t raw32(const uint8_t *at)
{
	uint32_t v;
	memcpy(&v, at, sizeof(v));
	return v;
}

static inline uint64_t raw64(const uint8_t *at)
{
	uint64_t v;
	memcpy(&v, at, sizeof(v));
	return v;
}

// Says why bytes up to `end` cannot be read: the frame is shorter, or they are not private.
static enum drop unreadable(struct pkt *p, uint32_t end, enum drop cut)
{
	if (end > p->len)
		return cut;
	p->flags |= PKT_BEYOND_HEAD;
	return DROP_NONE;
}

static inline bool readable(const struct pkt *p, uint32_t end)
{
	return likely(end <= p->head_len);
}

static enum drop parse_tcp(struct pkt *p, uint32_t off, uint32_t end)
{
	uint32_t options_end = off + (p->data[off + 12] >> 4) * 4u;

	if (options_end < off + TCP_BYTES)
		return DROP_L4_MALFORMED;
	if (options_end > end)
		return p->flags & PKT_FRAG ? DROP_L4_CUT : DROP_L4_MALFORMED;
	if (!readable(p, options_end))
		return unreadable(p, options_end, DROP_L4_CUT);
	p->l4_off = (uint16_t)off;
	return DROP_NONE;
}

// A port of DHCP (67, 68) or DHCPv6 (546, 547), at either end. Nothing else of UDP is control: QUIC, DNS and the like
// do not even look closer.
static inline bool is_dhcp(const uint8_t *udp)
{
	const __m128i known = _mm_set_epi16(0x2302, 0x2302, 0x2202, 0x2202, 0x4400, 0x4400, 0x4300, 0x4300),
		      hits = _mm_cmpeq_epi16(_mm_set1_epi32(raw32(udp)), known);

	return !_mm_testz_si128(hits, hits);
}

static inline enum drop parse_udp(struct pkt *p, uint32_t off, uint32_t end)
{
	uint32_t bytes = be16(p->data + off + 4);

	// A first fragment carries the length of the whole datagram.
	if (bytes < UDP_BYTES || (off + bytes > end && !(p->flags & PKT_FRAG)))
		return DROP_L4_MALFORMED;
	p->l4_off = (uint16_t)off;
	p->may_control |= is_dhcp(p->data + off);
	return DROP_NONE;
}

// Smallest header of a protocol, 0 = none that is checked.
static inline uint32_t l4_bytes(const struct pkt *p)
{
	switch (p->ip_proto) {
	case IPPROTO_TCP:
		return TCP_BYTES;
	case IPPROTO_UDP:
		return UDP_BYTES;
	case IPPROTO_SCTP:
		return SCTP_BYTES;
	case IPPROTO_ICMP:
		return p->ip_version == 4 ? ICMP_BYTES : 0;
	case IPPROTO_ICMPV6:
		return p->ip_version == 6 ? ICMP_BYTES : 0;
	}
	return 0;
}

// `end` is where the IP payload ends, by the IP header.
static inline enum drop parse_l4(struct pkt *p, uint32_t off, uint32_t end)
{
	uint32_t bytes = l4_bytes(p);

	if (bytes == 0) {
		p->flags |= PKT_L4_UNKNOWN;
		p->l4_off = (uint16_t)off;
		p->may_control = true;
		return DROP_NONE;
	}
	if (off + bytes > end)
		return DROP_L4_CUT;
	if (!readable(p, off + bytes))
		return unreadable(p, off + bytes, DROP_L4_CUT);
	if (p->ip_proto == IPPROTO_TCP)
		return parse_tcp(p, off, end);
	if (p->ip_proto == IPPROTO_UDP)
		return parse_udp(p, off, end);
	p->l4_off = (uint16_t)off;
	p->may_control = true;
	return DROP_NONE;
}

// A fragment of `bytes` that belong `position` bytes behind the begin of the datagram's payload.
static enum drop fragment(struct pkt *p, uint32_t position, uint32_t bytes, uint8_t proto,
			  enum drop malformed)
{
	p->flags |= PKT_FRAG;
	if (position == 0)
		return DROP_NONE;
	p->flags |= PKT_FRAG_LATER;
	p->may_control = true;
	if (position + bytes > MAX_DATAGRAM)
		return malformed;
	// RFC 1858: would replace the flags of a TCP header that was accepted.
	return position == 8 && proto == IPPROTO_TCP ? DROP_L4_MALFORMED : DROP_NONE;
}

static enum drop parse_ipv4(struct pkt *p, uint32_t l3)
{
	const uint8_t *ip = p->data + l3;
	enum drop reason = DROP_NONE;

	if (!readable(p, l3 + IPV4_BYTES))
		return unreadable(p, l3 + IPV4_BYTES, DROP_IPV4_CUT);
	uint32_t l4 = l3 + (ip[0] & 15) * 4u, end = l3 + be16(ip + 2);
	if (!likely(ip[0] == 0x45)) {
		if (ip[0] >> 4 != 4 || l4 < l3 + IPV4_BYTES)
			return DROP_IPV4_MALFORMED;
		if (!readable(p, l4))
			return unreadable(p, l4, DROP_IPV4_CUT);
		p->flags |= PKT_IP_OPTIONS;
	}
	if (end < l4)
		return DROP_IPV4_MALFORMED;
	p->l3_off = (uint16_t)l3;
	p->ip_version = 4;
	p->ip_proto = ip[9];
	uint16_t frag = be16(ip + 6);
	if (!likely((frag & 0x3fff) == 0)) // more fragments, or an offset
		reason = fragment(p, (frag & 0x1fff) * 8u, end - l4, ip[9], DROP_IPV4_MALFORMED);
	if (likely(!(p->flags & PKT_FRAG_LATER)))
		reason = parse_l4(p, l4, end);
	// Last, so that a frame that ends inside the L4 header is reported as that.
	return reason == DROP_NONE && end > p->len ? DROP_IPV4_MALFORMED : reason;
}

struct chain { // of IPv6 headers
	uint32_t at, end;
	uint8_t next;
	bool readable;   // all up to `at`
	bool fragmented; // a fragment header was there
};

static bool is_ext_header(uint8_t next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT || next == IPPROTO_AH;
}

static uint32_t ext_bytes(uint8_t type, const uint8_t *header)
{
	if (type == IPPROTO_FRAGMENT)
		return 8;
	return type == IPPROTO_AH ? (header[1] + 2u) * 4 : (header[1] + 1u) * 8;
}

// Whether an extension header's bytes up to `to` are there. False with a reason or PKT_BEYOND_HEAD.
static bool ext_readable(struct pkt *p, struct chain *c, uint32_t to, enum drop *reason)
{
	if (to > c->end) { // RFC 7112: a first fragment holds the whole chain
		*reason = p->flags & PKT_FRAG ? DROP_IPV6_CUT : DROP_IPV6_MALFORMED;
		return false;
	}
	c->readable = readable(p, to);
	if (!c->readable)
		*reason = unreadable(p, to, DROP_IPV6_CUT);
	return c->readable;
}

static enum drop ext_fragment(struct pkt *p, struct chain *c, const uint8_t *header)
{
	uint16_t frag = be16(header + 2);

	if (c->fragmented)
		return DROP_IPV6_HEADERS;
	c->fragmented = true;
	if ((frag & 0xfff9) == 0) // RFC 6946: atomic, a whole packet
		return DROP_NONE;
	return fragment(p, frag & 0xfff8, c->end - c->at - 8, header[0], DROP_IPV6_MALFORMED);
}

// Steps over the extension headers, up to the L4 header or behind a later fragment's header.
static enum drop ext_walk(struct pkt *p, struct chain *c)
{
	enum drop reason = DROP_NONE;

	for (unsigned n = 0; is_ext_header(c->next); n++) {
		const uint8_t *header = p->data + c->at;
		uint8_t type = c->next;

		if (n == MAX_EXT_HEADERS || (type == IPPROTO_HOPOPTS && n > 0))
			return DROP_IPV6_HEADERS;
		p->flags |= PKT_IP_OPTIONS;
		if (!ext_readable(p, c, c->at + 8, &reason))
			return reason;
		uint32_t bytes = ext_bytes(type, header);
		if (type == IPPROTO_AH && bytes < 12)
			return DROP_IPV6_MALFORMED;
		if (!ext_readable(p, c, c->at + bytes, &reason))
			return reason;
		if (type == IPPROTO_FRAGMENT)
			reason = ext_fragment(p, c, header);
		c->next = header[0];
		c->at += bytes;
		if (reason != DROP_NONE || p->flags & PKT_FRAG_LATER)
			return reason;
	}
	return reason;
}

static enum drop parse_ipv6(struct pkt *p, uint32_t l3)
{
	const uint8_t *ip = p->data + l3;
	enum drop reason = DROP_NONE;

	if (!readable(p, l3 + IPV6_BYTES))
		return unreadable(p, l3 + IPV6_BYTES, DROP_IPV6_CUT);
	struct chain c = {l3 + IPV6_BYTES, l3 + IPV6_BYTES + be16(ip + 4), ip[6], true, false};
	if (ip[0] >> 4 != 6)
		return DROP_IPV6_MALFORMED;
	p->l3_off = (uint16_t)l3;
	p->ip_version = 6;
	if (is_ext_header(c.next))
		reason = ext_walk(p, &c);
	if (likely(reason == DROP_NONE && c.readable)) {
		p->ip_proto = c.next;
		if (!(p->flags & PKT_FRAG_LATER))
			reason = parse_l4(p, c.at, c.end);
	}
	return reason == DROP_NONE && c.end > p->len ? DROP_IPV6_MALFORMED : reason;
}

static enum drop parse_arp(struct pkt *p, uint32_t l3)
{
	static const uint8_t ethernet_ipv4[6] = {0, 1, 8, 0, 6, 4};

	if (!readable(p, l3 + ARP_BYTES))
		return unreadable(p, l3 + ARP_BYTES, DROP_ARP_CUT);
	if (memcmp(p->data + l3, ethernet_ipv4, sizeof(ethernet_ipv4)))
		return DROP_ARP_MALFORMED;
	p->l3_off = (uint16_t)l3;
	return DROP_NONE;
}

static inline bool is_tag(uint16_t type)
{
	return type == TYPE_VLAN || type == TYPE_STAG || type == TYPE_STAG_OLD;
}

// Reads the outer tag and notes a second one. False: the frame cannot be read on.
static bool parse_tags(struct pkt *p, enum drop *reason)
{
	uint32_t end = ETH_BYTES + TAG_BYTES;

	if (!readable(p, end)) {
		*reason = unreadable(p, end, DROP_VLAN_CUT);
		return false;
	}
	p->flags |= PKT_TAGGED | (p->ether_type == TYPE_VLAN ? 0 : PKT_STAG);
	p->tci = be16(p->data + ETH_BYTES);
	p->ether_type = be16(p->data + ETH_BYTES + 2);
	if (!is_tag(p->ether_type))
		return true;
	p->flags |= PKT_INNER_TAG;
	if (!readable(p, end + TAG_BYTES))
		*reason = unreadable(p, end + TAG_BYTES, DROP_VLAN_CUT);
	return false;
}

static enum drop parse_any(struct pkt *p)
{
	enum drop reason = DROP_NONE;
	uint32_t l3 = ETH_BYTES;

	p->tci = p->flags = p->ether_type = p->l3_off = p->l4_off = 0;
	p->ip_proto = p->ip_version = 0;
	p->may_control = false;
	if (!readable(p, ETH_BYTES))
		return unreadable(p, ETH_BYTES, DROP_RUNT);
	p->ether_type = be16(p->data + 12);
	p->may_control = raw32(p->data) == RESERVED_GROUP;
	if (is_tag(p->ether_type)) {
		if (!parse_tags(p, &reason))
			return reason;
		l3 += TAG_BYTES;
	}
	if (p->ether_type == TYPE_IPV4)
		return parse_ipv4(p, l3);
	if (p->ether_type == TYPE_IPV6)
		return parse_ipv6(p, l3);
	p->may_control = true;
	if (p->ether_type == TYPE_ARP)
		return parse_arp(p, l3);
	return DROP_NONE;
}

// Most packets: untagged IPv4 without options, TCP or UDP in one piece, all headers private. False where anything
// is otherwise, or wrong, and nothing is said: parse_any() knows what.
static inline bool parse_usual(struct pkt *p)
{
	enum { L3 = ETH_BYTES, L4 = ETH_BYTES + IPV4_BYTES };
	const uint8_t *at = p->data;

	if (p->head_len < L4 + UDP_BYTES)
		return false;
	// Type, version and length of the header; fragments; all as they are read.
	if ((raw32(at + 12) & 0x00ffffff) != 0x00450008 || (raw32(at + L3 + 4) & 0xff3f0000) != 0)
		return false;
	uint32_t end = L3 + be16(at + L3 + 2), bytes, least;
	bool is_udp = at[L3 + 9] == IPPROTO_UDP;

	if (is_udp) {
		bytes = be16(at + L4 + 4);
		least = UDP_BYTES;
	} else if (at[L3 + 9] == IPPROTO_TCP && p->head_len >= L4 + TCP_BYTES) {
		bytes = (at[L4 + 12] >> 4) * 4u;
		least = TCP_BYTES;
	} else {
		return false;
	}
	if (bytes < least || L4 + bytes > end || end > p->len || (!is_udp && L4 + bytes > p->head_len))
		return false;
	p->flags = p->tci = 0;
	p->ether_type = TYPE_IPV4;
	p->l3_off = L3;
	p->l4_off = L4;
	p->ip_proto = at[L3 + 9];
	p->ip_version = 4;
	p->may_control = raw32(at) == RESERVED_GROUP || (is_udp && is_dhcp(at + L4));
	return true;
}

enum drop parse(struct pkt *p)
{
	return likely(parse_usual(p)) ? DROP_NONE : parse_any(p);
}

// Ports only where every packet of the flow has them: no fragment of a datagram may go another way.
static uint64_t hash_l4(const struct pkt *p)
{
	uint32_t ports = 0;
	bool has_ports =
	    p->ip_proto == IPPROTO_TCP || p->ip_proto == IPPROTO_UDP || p->ip_proto == IPPROTO_SCTP;

	if (has_ports && p->l4_off && !(p->flags & PKT_FRAG))
		memcpy(&ports, p->data + p->l4_off, sizeof(ports));
	return ports | (uint64_t)p->ip_proto << 32 | (uint64_t)p->ip_version << 40;
}

uint32_t parse_hash(const struct pkt *p, uint32_t seed)
{
	const uint64_t key = (seed + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9 | 1;
	const uint8_t *l3 = p->data + p->l3_off;
	uint64_t h = key;

	if (p->ip_version == 4) {
		h = mix(h ^ raw64(l3 + 12), key ^ hash_l4(p));
	} else if (p->ip_version == 6) {
		h = mix(h ^ raw64(l3 + 8), key ^ raw64(l3 + 16));
		h = mix(h ^ raw64(l3 + 24), key ^ raw64(l3 + 32));
		h = mix(h ^ hash_l4(p), key);
	} else if (p->head_len >= ETH_BYTES) {
		h = mix(h ^ raw64(p->data), key ^ raw64(p->data + 6)); // both addresses and the type
	}
	h = mix(h ^ 0x94d049bb133111eb, key); // the fold alone leaves products of small numbers recognizable
	uint32_t hash = (uint32_t)(h ^ h >> 32);
	return hash ? hash : 1;
}

static uint64_t either(uint64_t a, uint64_t b)
{
	return mix(a ^ b, 0x9e3779b97f4a7c15) + a + b;
}

uint32_t parse_hash_both(const struct pkt *p, uint32_t seed)
{
	const uint64_t key = (seed + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9 | 1;
	const uint8_t *l3 = p->data + p->l3_off;
	uint64_t l4 = hash_l4(p), ports = either(l4 & 0xffff, l4 >> 16 & 0xffff) ^ l4 >> 32, h;

	if (p->ip_version == 4) {
		uint64_t both = raw64(l3 + 12);

		h = either(both & UINT32_MAX, both >> 32);
	} else if (p->ip_version == 6) {
		h = mix(either(raw64(l3 + 8), raw64(l3 + 24)), key ^ either(raw64(l3 + 16), raw64(l3 + 32)));
	} else {
		h = p->head_len >= ETH_BYTES ? either(raw64(p->data) << 16, raw64(p->data + 6) << 16) : 0;
	}
	h = mix(h ^ key, ports ^ 0x94d049bb133111eb);
	return (uint32_t)(h ^ h >> 32);
}
