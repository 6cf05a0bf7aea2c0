// The parser: every header whole, cut at every byte, and with every length bent. All frames stand in heap
// buffers of exactly the private bytes, so that a sanitizer sees any byte read too much.

#include "dp/parse.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct frame {
	uint32_t len;
	uint8_t b[1024];
};

struct result {
	struct pkt p;
	enum drop drop;
	uint32_t hash, hash_both;
};

static struct result parse_frame(const struct frame *f, uint32_t len, uint32_t head_len)
{
	struct result r;
	memset(&r, 0, sizeof(r));
	uint8_t *exact = malloc(head_len ? head_len : 1);
	memcpy(exact, f->b, head_len);
	r.p.data = exact;
	r.p.len = len;
	r.p.head_len = (uint16_t)head_len;
	r.p.flags = 0xffff; // of a packet before
	r.p.l4_off = r.p.l3_off = 77;
	r.drop = parse(&r.p);
	r.hash = r.drop == DROP_NONE ? parse_hash(&r.p, 7) : 0;
	r.hash_both = r.drop == DROP_NONE ? parse_hash_both(&r.p, 7) : 0;
	free(exact);
	r.p.data = NULL;
	return r;
}

static struct result parse_whole(const struct frame *f)
{
	return parse_frame(f, f->len, f->len);
}

// Building: each function appends.

static void put(struct frame *f, const char *hex)
{
	for (unsigned v; *hex; hex += 2) {
		while (*hex == ' ')
			hex++;
		ck_assert_int_eq(sscanf(hex, "%2x", &v), 1);
		f->b[f->len++] = (uint8_t)v;
	}
}

static void put16(struct frame *f, uint32_t at, unsigned v)
{
	f->b[at] = (uint8_t)(v >> 8);
	f->b[at + 1] = (uint8_t)v;
}

static void pad(struct frame *f, uint32_t n)
{
	f->len += n;
}

static struct frame eth(const char *tags_and_type)
{
	struct frame f = {0};
	put(&f, "020000000001 020000000002");
	put(&f, tags_and_type);
	return f;
}

static uint32_t ipv4(struct frame *f, uint8_t proto, uint32_t option_words)
{
	uint32_t at = f->len;
	put(f, "45000000 00004000 40000000 0a000001 0a000002");
	f->b[at] = (uint8_t)(0x45 + option_words);
	f->b[at + 9] = proto;
	pad(f, option_words * 4);
	return at;
}

static uint32_t ipv6(struct frame *f, uint8_t next)
{
	uint32_t at = f->len;
	put(f, "60000000 00000040 20010db8000000000000000000000001 20010db8000000000000000000000002");
	f->b[at + 6] = next;
	return at;
}

static uint32_t tcp(struct frame *f, uint32_t option_words)
{
	uint32_t at = f->len;
	put(f, "03e807d0 00000001 00000002 50100400 00000000");
	f->b[at + 12] = (uint8_t)((5 + option_words) << 4);
	pad(f, option_words * 4);
	return at;
}

static uint32_t l4(struct frame *f, const char *hex)
{
	uint32_t at = f->len;
	put(f, hex);
	return at;
}

static void seal4(struct frame *f, uint32_t ip)
{
	put16(f, ip + 2, f->len - ip);
}

static void seal6(struct frame *f, uint32_t ip)
{
	put16(f, ip + 4, f->len - ip - 40);
}

static struct frame udp4(void)
{
	struct frame f = eth("0800");
	uint32_t ip = ipv4(&f, 17, 0);
	l4(&f, "03e80035 000c0000 01020304");
	seal4(&f, ip);
	return f;
}

static struct frame tcp4(uint32_t ip_options, uint32_t tcp_options)
{
	struct frame f = eth("0800");
	uint32_t ip = ipv4(&f, 6, ip_options);
	tcp(&f, tcp_options);
	pad(&f, 5);
	seal4(&f, ip);
	return f;
}

// `headers` stand between the IPv6 header and a UDP header with 4 bytes; `first` names the first of them.
static struct frame udp6(uint8_t first, const char *headers)
{
	struct frame f = eth("86dd");
	uint32_t ip = ipv6(&f, first);
	put(&f, headers);
	l4(&f, "03e80035 000c0000 01020304");
	seal6(&f, ip);
	return f;
}

// Cuts the frame at every byte: from each `from` on (up to the next one) the reason must be this.
struct part {
	uint32_t from;
	enum drop drop;
};

static void check_cuts(const struct frame *f, const struct part *parts)
{
	const struct part *part = parts;
	for (uint32_t len = 0; len < f->len; len++) {
		while (part[1].from && part[1].from <= len)
			part++;
		struct result r = parse_frame(f, len, len);
		ck_assert_msg(r.drop == part->drop, "cut at %u: %s instead of %s", len, drop_name(r.drop),
			      drop_name(part->drop));
		ck_assert(!(r.p.flags & PKT_BEYOND_HEAD));
	}
	ck_assert_str_eq(drop_name(parse_whole(f).drop), "none");
	// The same frame with fewer private bytes: never a reason, and all facts or the mark.
	struct result whole = parse_whole(f);
	for (uint32_t head = 0; head < f->len; head++) {
		struct result r = parse_frame(f, f->len, head);
		ck_assert_str_eq(drop_name(r.drop), "none");
		if (!(r.p.flags & PKT_BEYOND_HEAD)) {
			ck_assert_uint_eq(r.p.flags, whole.p.flags);
			ck_assert_uint_eq(r.p.l4_off, whole.p.l4_off);
			ck_assert_uint_eq(r.hash, whole.hash);
		} else {
			ck_assert_uint_eq(r.p.l4_off, 0);
		}
	}
}
#define CUTS(...) ((const struct part[]){{0, DROP_RUNT}, __VA_ARGS__, {0}})

static void check_drop(const struct frame *f, enum drop reason)
{
	ck_assert_str_eq(drop_name(parse_whole(f).drop), drop_name(reason));
}

START_TEST(ipv4_udp)
{
	struct frame f = udp4();
	check_cuts(&f, CUTS({14, DROP_IPV4_CUT}, {34, DROP_L4_CUT}, {42, DROP_IPV4_MALFORMED}));
	struct pkt p = parse_whole(&f).p;
	ck_assert_uint_eq(p.l3_off, 14);
	ck_assert_uint_eq(p.l4_off, 34);
	ck_assert_uint_eq(p.ip_version, 4);
	ck_assert_uint_eq(p.ip_proto, 17);
	ck_assert_uint_eq(p.ether_type, 0x0800);
	ck_assert_uint_eq(p.flags, 0);
	pad(&f, 18); // padding behind the datagram is fine
	check_drop(&f, DROP_NONE);
}
END_TEST

START_TEST(ipv4_tcp_with_options)
{
	struct frame f = tcp4(3, 4);
	check_cuts(&f, CUTS({14, DROP_IPV4_CUT}, {46, DROP_L4_CUT}, {82, DROP_IPV4_MALFORMED}));
	struct pkt p = parse_whole(&f).p;
	ck_assert_uint_eq(p.l4_off, 46);
	ck_assert_uint_eq(p.flags, PKT_IP_OPTIONS);
	f = tcp4(10, 10); // 14 + 60 + 60: more than a borrowed packet's private bytes
	struct result r = parse_frame(&f, f.len, PKT_HEAD);
	ck_assert_uint_eq(r.drop, DROP_NONE);
	ck_assert_uint_eq(r.p.flags, PKT_IP_OPTIONS | PKT_BEYOND_HEAD);
	ck_assert_uint_eq(r.p.l3_off, 14);
	ck_assert_uint_eq(r.p.l4_off, 0);
}
END_TEST

START_TEST(ipv4_sctp_icmp_and_others)
{
	static const struct {
		uint8_t proto, bytes;
		uint16_t flags;
	} of[] = {{132, 12, 0},
		  {1, 8, 0},
		  {47, 0, PKT_L4_UNKNOWN},
		  {58, 0, PKT_L4_UNKNOWN},
		  {51, 0, PKT_L4_UNKNOWN}};

	for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		struct frame f = eth("0800");
		uint32_t ip = ipv4(&f, of[i].proto, 0);
		pad(&f, 20);
		seal4(&f, ip);
		check_cuts(&f,
			   CUTS({14, DROP_IPV4_CUT}, {34, of[i].bytes ? DROP_L4_CUT : DROP_IPV4_MALFORMED},
				{34u + of[i].bytes, DROP_IPV4_MALFORMED}));
		ck_assert_uint_eq(parse_whole(&f).p.flags, of[i].flags);
		ck_assert_uint_eq(parse_whole(&f).p.l4_off, 34);
	}
}
END_TEST

START_TEST(ipv4_bent_lengths)
{
	struct frame f;
	for (unsigned first = 0; first < 256; first++) { // version and header length
		f = udp4();
		f.b[14] = (uint8_t)first;
		if (first >> 4 != 4 || (first & 15) < 5)
			check_drop(&f, DROP_IPV4_MALFORMED);
	}
	for (unsigned total = 0; total < 20; total++) {
		f = udp4();
		put16(&f, 16, total);
		check_drop(&f, DROP_IPV4_MALFORMED);
	}
	for (unsigned total = 20; total < 28; total++) { // the UDP header is outside, though in the frame
		put16(&f, 16, total);
		check_drop(&f, DROP_L4_CUT);
	}
	for (unsigned total = 33; total < 65536; total += 97) { // beyond the frame
		put16(&f, 16, total);
		check_drop(&f, DROP_IPV4_MALFORMED);
	}
	f = tcp4(5, 0);
	put16(&f, 16, 39); // inside its own options
	check_drop(&f, DROP_IPV4_MALFORMED);
}
END_TEST

START_TEST(l4_bent_lengths)
{
	struct frame f = udp4();
	for (unsigned bytes = 0; bytes < 40; bytes++) {
		put16(&f, 38, bytes);
		check_drop(&f, bytes < 8 || bytes > 12 ? DROP_L4_MALFORMED : DROP_NONE);
	}
	pad(&f, 20); // padding is not UDP payload
	put16(&f, 38, 13);
	check_drop(&f, DROP_L4_MALFORMED);
	for (unsigned words = 0; words < 16; words++) {
		f = tcp4(0, 2); // 28 bytes of header, 5 of payload
		f.b[46] = (uint8_t)(words << 4);
		check_drop(&f, words < 5 || words > 8 ? DROP_L4_MALFORMED : DROP_NONE);
	}
}
END_TEST

START_TEST(ipv4_fragments)
{
	struct frame f = udp4();
	put16(&f, 20, 0x2000); // first
	put16(&f, 38, 3000);   // the whole datagram's length
	check_cuts(&f, CUTS({14, DROP_IPV4_CUT}, {34, DROP_L4_CUT}, {42, DROP_IPV4_MALFORMED}));
	ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_FRAG);
	ck_assert_uint_eq(parse_whole(&f).p.l4_off, 34);
	uint32_t hash = parse_whole(&f).hash;
	put16(&f, 20, 0x0010); // later: what would be the UDP header is not one
	put16(&f, 38, 0);
	ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_FRAG | PKT_FRAG_LATER);
	ck_assert_uint_eq(parse_whole(&f).p.l4_off, 0);
	ck_assert_uint_eq(parse_whole(&f).hash, hash); // all fragments go one way
	put16(&f, 20, 0x1fff);                         // ends behind 65,535
	check_drop(&f, DROP_IPV4_MALFORMED);

	f = tcp4(0, 4);
	put16(&f, 20, 0x2000);
	for (unsigned total = 20; total < 56; total++) { // a first fragment without its whole TCP header
		put16(&f, 16, total);
		check_drop(&f, DROP_L4_CUT);
	}
	put16(&f, 16, 56);
	check_drop(&f, DROP_NONE);
	put16(&f, 20, 1); // would replace the TCP flags
	check_drop(&f, DROP_L4_MALFORMED);
}
END_TEST

START_TEST(ipv6_udp_and_others)
{
	struct frame f = udp6(17, "");
	check_cuts(&f, CUTS({14, DROP_IPV6_CUT}, {54, DROP_L4_CUT}, {62, DROP_IPV6_MALFORMED}));
	struct pkt p = parse_whole(&f).p;
	ck_assert_uint_eq(p.ip_version, 6);
	ck_assert_uint_eq(p.l3_off, 14);
	ck_assert_uint_eq(p.l4_off, 54);
	ck_assert_uint_eq(p.flags, 0);
	pad(&f, 9);
	check_drop(&f, DROP_NONE);
	f.b[20] = 58; // ICMPv6
	check_drop(&f, DROP_NONE);
	f.b[20] = 59; // nothing follows
	ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_L4_UNKNOWN);
	f.b[14] = 0x50;
	check_drop(&f, DROP_IPV6_MALFORMED);
	f = udp6(17, "");
	put16(&f, 18, 13); // beyond the frame
	check_drop(&f, DROP_IPV6_MALFORMED);
	put16(&f, 18, 7);
	check_drop(&f, DROP_L4_CUT);
	f = udp6(0, "1100c20400010000"); // a jumbogram
	put16(&f, 18, 0);
	check_drop(&f, DROP_IPV6_MALFORMED);
}
END_TEST

START_TEST(ipv6_extension_headers)
{
	// Hop-by-hop, destination (16 bytes), routing, AH (24 bytes), destination.
	struct frame f = udp6(0, "3c00010400000000 2b01010c000000000000000000000000 3300000000000000"
				 "3c040000000000010000000200000000000000000000000b 1100010400000000");
	check_cuts(&f, CUTS({14, DROP_IPV6_CUT}, {54 + 64, DROP_L4_CUT}, {54 + 72, DROP_IPV6_MALFORMED}));
	ck_assert_uint_eq(parse_whole(&f).p.l4_off, 54 + 64);
	ck_assert_uint_eq(parse_whole(&f).p.ip_proto, 17);
	ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_IP_OPTIONS);
	f.b[55] = 200; // a header longer than the payload
	check_drop(&f, DROP_IPV6_MALFORMED);
	f = udp6(51, "1100000000000001"); // AH of 8 bytes
	check_drop(&f, DROP_IPV6_MALFORMED);
	f = udp6(60, "0000010400000000 1100010400000000"); // hop-by-hop is not first
	check_drop(&f, DROP_IPV6_HEADERS);
}
END_TEST

START_TEST(ipv6_chain_is_bounded)
{
	for (unsigned n = 1; n <= 12; n++) {
		struct frame f = eth("86dd");
		uint32_t ip = ipv6(&f, 60);
		for (unsigned i = 1; i < n; i++)
			put(&f, "3c00010400000000");
		put(&f, "1100010400000000 03e80035 000c0000 01020304");
		seal6(&f, ip);
		check_drop(&f, n <= 8 ? DROP_NONE : DROP_IPV6_HEADERS);
	}
}
END_TEST

START_TEST(ipv6_fragments)
{
	struct frame f = udp6(44, "1100000100000007"); // first
	check_cuts(&f, CUTS({14, DROP_IPV6_CUT}, {62, DROP_L4_CUT}, {70, DROP_IPV6_MALFORMED}));
	ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_FRAG | PKT_IP_OPTIONS);
	ck_assert_uint_eq(parse_whole(&f).p.l4_off, 62);
	uint32_t hash = parse_whole(&f).hash;
	put16(&f, 18, 15); // ends in the UDP header, though the frame goes on
	check_drop(&f, DROP_L4_CUT);

	f = udp6(44, "1100001100000007"); // later
	ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_FRAG | PKT_FRAG_LATER | PKT_IP_OPTIONS);
	ck_assert_uint_eq(parse_whole(&f).p.l4_off, 0);
	ck_assert_uint_eq(parse_whole(&f).p.ip_proto, 17);
	ck_assert_uint_eq(parse_whole(&f).hash, hash);
	put16(&f, 56, 0xfff8);
	check_drop(&f, DROP_IPV6_MALFORMED);

	f = udp6(44, "1100000000000007"); // atomic
	ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_IP_OPTIONS);
	put16(&f, 66, 13);
	check_drop(&f, DROP_L4_MALFORMED);
	f = udp6(44, "3c00000100000007 1102010400000000"); // the chain goes on in the next fragment
	check_drop(&f, DROP_IPV6_CUT);
	f = udp6(44, "2c00000000000007 1100000100000008"); // a fragment of a fragment
	check_drop(&f, DROP_IPV6_HEADERS);
}
END_TEST

START_TEST(arp)
{
	struct frame f = eth("0806");
	put(&f, "0001 0800 06 04 0001 020000000002 0a000001 000000000000 0a000002");
	check_cuts(&f, CUTS({14, DROP_ARP_CUT}));
	ck_assert_uint_eq(parse_whole(&f).p.l3_off, 14);
	ck_assert_uint_eq(parse_whole(&f).p.ip_version, 0);
	for (unsigned i = 14; i < 20; i++) {
		struct frame bent = f;
		bent.b[i]++;
		check_drop(&bent, DROP_ARP_MALFORMED);
	}
	put16(&f, 12, 0x8035); // RARP is none of ours
	f.b[14]++;
	check_drop(&f, DROP_NONE);
	ck_assert_uint_eq(parse_whole(&f).p.l3_off, 0);
}
END_TEST

START_TEST(tags)
{
	struct frame f = eth("8100a00a 0800");
	uint32_t ip = ipv4(&f, 6, 0);
	tcp(&f, 0);
	seal4(&f, ip);
	check_cuts(&f, CUTS({14, DROP_VLAN_CUT}, {18, DROP_IPV4_CUT}, {38, DROP_L4_CUT}));
	struct pkt p = parse_whole(&f).p;
	ck_assert_uint_eq(p.flags, PKT_TAGGED);
	ck_assert_uint_eq(p.tci, 0xa00a);
	ck_assert_uint_eq(p.ether_type, 0x0800);
	ck_assert_uint_eq(p.l3_off, 18);
	put16(&f, 14, 0xe000); // priority only
	ck_assert_uint_eq(parse_whole(&f).p.tci, 0xe000);
	ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_TAGGED);
	for (unsigned i = 0; i < 2; i++) {
		put16(&f, 12, i ? 0x9100 : 0x88a8);
		ck_assert_uint_eq(parse_whole(&f).p.flags, PKT_TAGGED | PKT_STAG);
	}
}
END_TEST

START_TEST(second_tags_are_opaque)
{
	static const struct {
		const char *tags;
		uint16_t type, flags;
	} of[] = {{"8100000a 81000014 0800", 0x8100, PKT_TAGGED | PKT_INNER_TAG},
		  {"8100000a 88a80014 0800", 0x88a8, PKT_TAGGED | PKT_INNER_TAG},
		  {"8100000a 91000014 0800", 0x9100, PKT_TAGGED | PKT_INNER_TAG},
		  {"88a8000a 81000014 0800", 0x8100, PKT_TAGGED | PKT_STAG | PKT_INNER_TAG},
		  {"9100000a 81000014 8100", 0x8100, PKT_TAGGED | PKT_STAG | PKT_INNER_TAG}};

	for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		struct frame f = eth(of[i].tags);
		pad(&f, 20); // no IP header at all: nobody looks
		check_cuts(&f, CUTS({14, DROP_VLAN_CUT}, {22, DROP_NONE}));
		struct pkt p = parse_whole(&f).p;
		ck_assert_uint_eq(p.flags, of[i].flags);
		ck_assert_uint_eq(p.tci, 10);
		ck_assert_uint_eq(p.ether_type, of[i].type);
		ck_assert_uint_eq(p.l3_off, 0);
	}
}
END_TEST

// A frame behind a tag is not of the usual kind: what it gives is what the frame without it has to give.
static void check_behind_a_tag(const struct frame *f, uint32_t cut)
{
	struct frame tagged = *f;

	memmove(tagged.b + 16, tagged.b + 12, f->len - 12);
	put16(&tagged, 12, 0x8100);
	put16(&tagged, 14, 0);
	struct result bare = parse_frame(f, f->len - cut, f->len - cut),
		      behind = parse_frame(&tagged, f->len + 4 - cut, f->len + 4 - cut);

	ck_assert_int_eq(bare.drop, behind.drop);
	if (bare.drop != DROP_NONE)
		return;
	ck_assert_int_eq(bare.p.flags | PKT_TAGGED, behind.p.flags);
	ck_assert_int_eq(bare.p.ether_type, behind.p.ether_type);
	ck_assert_int_eq(bare.p.l3_off ? bare.p.l3_off + 4 : 0, behind.p.l3_off);
	ck_assert_int_eq(bare.p.l4_off ? bare.p.l4_off + 4 : 0, behind.p.l4_off);
	ck_assert_int_eq(bare.p.ip_proto, behind.p.ip_proto);
	ck_assert_int_eq(bare.p.ip_version, behind.p.ip_version);
	ck_assert_int_eq(bare.p.may_control, behind.p.may_control);
	ck_assert_uint_eq(bare.p.tci, 0);
}

START_TEST(usual_frames_are_parsed_like_others)
{
	const struct frame kinds[] = {udp4(), tcp4(0, 0), tcp4(0, 1)};

	for (int k = 0; k < 3; k++) {
		for (uint32_t cut = 0; cut <= kinds[k].len - 14; cut++)
			check_behind_a_tag(&kinds[k], cut);
		for (uint32_t at = 14; at < kinds[k].len; at++)
			for (int v = 0; v < 256; v++) {
				struct frame f = kinds[k];

				f.b[at] = (uint8_t)v;
				check_behind_a_tag(&f, 0);
			}
	}
}
END_TEST

START_TEST(frames_without_l3)
{
	struct frame f = eth("0026 424203"); // 802.3: length and LLC
	pad(&f, 40);
	check_cuts(&f, CUTS({14, DROP_NONE}));
	ck_assert_uint_eq(parse_whole(&f).p.l3_off, 0);
	f = eth("88cc");
	check_cuts(&f, CUTS({14, DROP_NONE}));
	ck_assert_uint_ne(parse_whole(&f).hash, 0);
}
END_TEST

START_TEST(hash_tells_flows_apart)
{
	struct frame a = udp4(), b = udp4();
	ck_assert_uint_eq(parse_whole(&a).hash, parse_whole(&b).hash);
	b.b[b.len - 1]++; // payload
	ck_assert_uint_eq(parse_whole(&a).hash, parse_whole(&b).hash);
	for (uint32_t at = 26; at < 38; at++) { // addresses and ports
		b = a;
		b.b[at]++;
		ck_assert_uint_ne(parse_whole(&a).hash, parse_whole(&b).hash);
	}
	b = a;
	memcpy(b.b + 26, a.b + 30, 4); // the answer's direction
	memcpy(b.b + 30, a.b + 26, 4);
	memcpy(b.b + 34, a.b + 36, 2);
	memcpy(b.b + 36, a.b + 34, 2);
	ck_assert_uint_ne(parse_whole(&a).hash, parse_whole(&b).hash);
	a = b = udp6(17, "");
	for (uint32_t at = 22; at < 58; at++) {
		b = a;
		b.b[at]++;
		ck_assert_uint_ne(parse_whole(&a).hash, parse_whole(&b).hash);
	}
}
END_TEST

START_TEST(every_reason_has_a_name)
{
	for (unsigned a = 0; a < N_DROPS; a++) {
		ck_assert_uint_gt(strlen(drop_name(a)), 0);
		ck_assert_uint_gt(strlen(drop_text(a)), 0);
		for (unsigned b = 0; b < a; b++)
			ck_assert_str_ne(drop_name(a), drop_name(b));
	}
	ck_assert_str_eq(drop_name(DROP_TX_FULL), "tx-full");
	ck_assert_str_eq(drop_stage(DROP_TX_FULL), "transmit");
	ck_assert_str_eq(drop_name(N_DROPS), "unknown");
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("parse");
	Suite *suite = suite_create("parse");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, ipv4_udp);
	tcase_add_test(tc, ipv4_tcp_with_options);
	tcase_add_test(tc, ipv4_sctp_icmp_and_others);
	tcase_add_test(tc, ipv4_bent_lengths);
	tcase_add_test(tc, l4_bent_lengths);
	tcase_add_test(tc, ipv4_fragments);
	tcase_add_test(tc, ipv6_udp_and_others);
	tcase_add_test(tc, ipv6_extension_headers);
	tcase_add_test(tc, ipv6_chain_is_bounded);
	tcase_add_test(tc, ipv6_fragments);
	tcase_add_test(tc, arp);
	tcase_add_test(tc, tags);
	tcase_add_test(tc, second_tags_are_opaque);
	tcase_add_test(tc, frames_without_l3);
	tcase_add_test(tc, usual_frames_are_parsed_like_others);
	tcase_add_test(tc, hash_tells_flows_apart);
	tcase_add_test(tc, every_reason_has_a_name);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed != 0;
}
