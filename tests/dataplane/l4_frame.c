// TCP and UDP frames with requests, made and taken apart by code of their own: nothing of the data plane's is used.
#include "l4_frame.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "dp/offload.h"

#define SEQ0     0xfffff000u // wraps
#define ID0      0xfffe
#define TCP_HEAD 32 // with a timestamp
#define UDP_HEAD 8

enum { FIN = 1, PSH = 8, ACK = 16, CWR = 128 };

static uint8_t payload_at(size_t i)
{
	return i * 7 + i / 256;
}

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static uint32_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v);
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

static uint32_t sum_of(const uint8_t *at, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 ? at[i] : at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t pseudo(int version, const uint8_t *ip, uint8_t proto, size_t len)
{
	uint32_t sum = sum_of(version == 4 ? ip + 12 : ip + 8, version == 4 ? 8 : 32, proto);

	return sum_of(ip, 0, sum + len);
}

static size_t l3_head(int version)
{
	return version == 4 ? 20 : 40;
}

static size_t l4_head(uint8_t proto)
{
	return proto == IPPROTO_TCP ? TCP_HEAD : UDP_HEAD;
}

static size_t csum_at(uint8_t proto)
{
	return proto == IPPROTO_TCP ? 16 : 6;
}

size_t l4_header_bytes(const struct l4_spec *s)
{
	return 14 + l3_head(s->version) + l4_head(s->proto);
}

static void ip_write(uint8_t *ip, const struct l4_spec *s, size_t l4_bytes)
{
	if (s->version == 4) {
		ip[0] = 0x45;
		put16(ip + 2, 20 + l4_bytes);
		put16(ip + 4, ID0);
		ip[8] = 64;
		ip[9] = s->proto;
		memcpy(ip + 12, (uint8_t[]){10, 0, 0, 1, 10, 0, 0, 2}, 8);
		put16(ip + 10, ~sum_of(ip, 20, 0));
		return;
	}
	ip[0] = 0x60;
	put16(ip + 4, l4_bytes);
	ip[6] = s->proto;
	ip[7] = 64;
	for (int i = 0; i < 32; i++)
		ip[8 + i] = 0x20 + i;
}

static void l4_write(uint8_t *l4, const struct l4_spec *s)
{
	put16(l4, 1234);
	put16(l4 + 2, 80);
	if (s->proto == IPPROTO_UDP) {
		put16(l4 + 4, UDP_HEAD + s->payload);
		return;
	}
	put32(l4 + 4, SEQ0);
	l4[12] = TCP_HEAD / 4 << 4;
	l4[13] = ACK | PSH | FIN | (s->gso_type & VIRTIO_NET_HDR_GSO_ECN ? CWR : 0);
	memcpy(l4 + 20, (uint8_t[]){1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, 12);
}

struct frame *l4_frame(const uint8_t dst[6], const uint8_t src[6], const struct l4_spec *s)
{
	size_t head = l4_header_bytes(s), l4_bytes = l4_head(s->proto) + s->payload;
	struct frame *f = sized(dst, src, head + s->payload);
	uint8_t *ip = f->bytes + 14, *l4 = ip + l3_head(s->version);

	put16(f->bytes + 12, s->version == 4 ? 0x0800 : 0x86dd);
	memset(ip, 0, head - 14);
	ip_write(ip, s, l4_bytes);
	l4_write(l4, s);
	for (size_t i = 0; i < s->payload; i++)
		f->bytes[head + i] = payload_at(i);
	uint32_t sum = pseudo(s->version, ip, s->proto, l4_bytes);

	put16(l4 + csum_at(s->proto), s->csum ? sum : ~sum_of(l4, l4_bytes, sum));
	if (s->csum)
		f->vnet = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						     .gso_type = s->gso_type,
						     .gso_size = s->gso_size,
						     .csum_start = l4 - f->bytes,
						     .csum_offset = csum_at(s->proto)};
	return f;
}

struct frame *l4_tagged(const struct frame *f, uint16_t vid)
{
	struct frame *t = with_tag(f, 0x8100, vid);

	t->vnet = f->vnet;
	t->vnet.csum_start += 4;
	return t;
}

// What is expected

static void l4_csum_check(const uint8_t *ip, const uint8_t *l4, size_t bytes, const struct l4_seen *seen,
			  bool is_open)
{
	const struct l4_spec *s = seen->spec;
	uint32_t sum = pseudo(s->version, ip, s->proto, bytes);

	if (is_open)
		ck_assert_uint_eq(get16(l4 + csum_at(s->proto)), sum);
	else
		ck_assert_uint_eq(sum_of(l4, bytes, sum), 0xffff);
}

static void payload_check(const uint8_t *at, size_t n, struct l4_seen *seen)
{
	size_t same = 0; // an assertion for each byte would make a system call each time

	while (same < n && at[same] == payload_at(seen->payload + same))
		same++;
	ck_assert_msg(same == n, "payload differs at byte %zu", seen->payload + same);
	seen->payload += n;
	seen->ended = seen->payload == seen->spec->payload;
}

static void tcp_check(const uint8_t *tcp, const struct l4_seen *seen, size_t n)
{
	bool last = seen->payload + n == seen->spec->payload;
	uint8_t flags = ACK | (last ? PSH | FIN : 0);

	if (seen->payload == 0 && seen->spec->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		flags |= CWR;
	ck_assert_uint_eq(get32(tcp + 4), (uint32_t)(SEQ0 + seen->payload));
	ck_assert_uint_eq(tcp[13], flags);
	ck_assert_uint_eq(tcp[12], TCP_HEAD / 4 << 4);
}

static void whole_check(const uint8_t *ip, const uint8_t *l4, size_t bytes, struct l4_seen *seen,
			bool is_open)
{
	const struct l4_spec *s = seen->spec;
	size_t n = bytes - l4_head(s->proto);

	l4_csum_check(ip, l4, bytes, seen, is_open);
	if (s->proto == IPPROTO_TCP)
		tcp_check(l4, seen, n);
	else
		ck_assert_uint_eq(get16(l4 + 4), bytes);
	payload_check(l4 + l4_head(s->proto), n, seen);
}

static void fragment_take(const uint8_t *ip, const uint8_t *data, size_t n, uint32_t off, bool more,
			  struct l4_seen *seen)
{
	size_t all = UDP_HEAD + seen->spec->payload;

	ck_assert_uint_eq(off, seen->payload);
	ck_assert(n % 8 == 0 || !more);
	memcpy(seen->datagram + off, data, n);
	seen->payload += n;
	ck_assert_int_eq(more, seen->payload < all);
	if (more)
		return;
	ck_assert_uint_eq(seen->payload, all);
	seen->payload = 0;
	whole_check(ip, seen->datagram, all, seen, false);
}

static void ipv4_take(const uint8_t *ip, size_t bytes, struct l4_seen *seen, bool is_open)
{
	uint32_t frag = get16(ip + 6);
	bool ufo = seen->spec->gso_type == VIRTIO_NET_HDR_GSO_UDP;

	ck_assert_uint_eq(sum_of(ip, 20, 0), 0xffff);
	ck_assert_uint_eq(get16(ip + 2), bytes);
	ck_assert_uint_eq(get16(ip + 4), ufo ? ID0 : (uint16_t)(ID0 + seen->frames));
	if (ufo && !is_open)
		fragment_take(ip, ip + 20, bytes - 20, (frag & 0x1fff) * 8, frag & 0x2000, seen);
	else
		whole_check(ip, ip + 20, bytes - 20, seen, is_open);
}

static void ipv6_take(const uint8_t *ip, size_t bytes, struct l4_seen *seen, bool is_open)
{
	ck_assert_uint_eq(get16(ip + 4), bytes - 40);
	if (ip[6] != IPPROTO_FRAGMENT) {
		whole_check(ip, ip + 40, bytes - 40, seen, is_open);
		return;
	}
	ck_assert_uint_eq(ip[40], IPPROTO_UDP);
	fragment_take(ip, ip + 48, bytes - 48, get16(ip + 42) & 0xfff8, get16(ip + 42) & 1, seen);
}

void l4_take(const char *port, struct l4_seen *seen)
{
	const struct frame *f = ring_take(port);

	ck_assert_msg(f != NULL, "%s did not get more than %zu frames, %zu bytes", port, seen->frames,
		      seen->payload);
	bool is_open = f->vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	size_t l2 = seen->vid ? 18 : 14;

	if (seen->vid)
		ck_assert_uint_eq(get32(f->bytes + 12), 0x81000000 | seen->vid);
	ck_assert_uint_eq(get16(f->bytes + l2 - 2), seen->spec->version == 4 ? 0x0800 : 0x86dd);
	if (is_open)
		ck_assert_uint_eq(f->vnet.csum_start, l2 + l3_head(seen->spec->version));
	else
		ck_assert_uint_eq(f->vnet.gso_type, 0);
	if (f->vnet.gso_type)
		ck_assert_uint_eq(f->vnet.hdr_len, l4_header_bytes(seen->spec) + l2 - 14);
	seen->asks |= is_open;
	seen->longest = f->len - l2 > seen->longest ? f->len - l2 : seen->longest;
	if (seen->spec->version == 4)
		ipv4_take(f->bytes + l2, f->len - l2, seen, is_open);
	else
		ipv6_take(f->bytes + l2, f->len - l2, seen, is_open);
	seen->frames++;
}
