// Building a frame from words, for traces and tests. Pure; control thread.
#include "frame.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#define TTL 64

static size_t put_eth(const struct frame_spec *s, uint8_t *out, uint16_t type)
{
	uint16_t be = rte_cpu_to_be_16(type);
	size_t n = 0;

	memcpy(out, s->dst, 6);
	memcpy(out + 6, s->src, 6);
	n = 12;
	if (s->tagged) {
		uint16_t tag[2] = {RTE_BE16(RTE_ETHER_TYPE_VLAN), rte_cpu_to_be_16(s->vlan)};

		memcpy(out + n, tag, sizeof(tag));
		n += sizeof(tag);
	}
	memcpy(out + n, &be, sizeof(be));
	return n + sizeof(be);
}

static size_t put_l4(const struct frame_spec *s, uint8_t *out)
{
	if (s->proto == IPPROTO_TCP) {
		struct rte_tcp_hdr t = {.src_port = rte_cpu_to_be_16(s->sport),
					.dst_port = rte_cpu_to_be_16(s->dport),
					.data_off = 5 << 4,
					.tcp_flags = RTE_TCP_ACK_FLAG,
					.rx_win = RTE_BE16(65535)};

		memcpy(out, &t, sizeof(t));
		return sizeof(t);
	}
	if (s->proto == IPPROTO_UDP) {
		struct rte_udp_hdr u = {.src_port = rte_cpu_to_be_16(s->sport),
					.dst_port = rte_cpu_to_be_16(s->dport),
					.dgram_len = rte_cpu_to_be_16(sizeof(u))};

		memcpy(out, &u, sizeof(u));
		return sizeof(u);
	}
	return 0;
}

// Protocol 59 ("no next header") and 253 (experiments) stand for no L4 header.
static size_t put_ip4(const struct frame_spec *s, uint8_t *out)
{
	size_t l4 = put_l4(s, out + sizeof(struct rte_ipv4_hdr));
	struct rte_ipv4_hdr ip = {.version_ihl = RTE_IPV4_VHL_DEF,
				  .total_length = rte_cpu_to_be_16(sizeof(ip) + l4),
				  .time_to_live = TTL,
				  .next_proto_id = s->proto ? s->proto : 253};

	memcpy(&ip.src_addr, s->ip_src.bytes, 4);
	memcpy(&ip.dst_addr, s->ip_dst.bytes, 4);
	ip.hdr_checksum = rte_ipv4_cksum(&ip);
	memcpy(out, &ip, sizeof(ip));
	struct rte_ipv4_hdr *hdr = (struct rte_ipv4_hdr *)out;
	void *l4_hdr = out + sizeof(ip);

	if (s->proto == IPPROTO_TCP)
		((struct rte_tcp_hdr *)l4_hdr)->cksum = rte_ipv4_udptcp_cksum(hdr, l4_hdr);
	else if (s->proto == IPPROTO_UDP)
		((struct rte_udp_hdr *)l4_hdr)->dgram_cksum = rte_ipv4_udptcp_cksum(hdr, l4_hdr);
	return sizeof(ip) + l4;
}

static size_t put_ip6(const struct frame_spec *s, uint8_t *out)
{
	size_t l4 = put_l4(s, out + sizeof(struct rte_ipv6_hdr));
	struct rte_ipv6_hdr ip = {.vtc_flow = RTE_BE32(6u << 28),
				  .payload_len = rte_cpu_to_be_16(l4),
				  .proto = s->proto ? s->proto : IPPROTO_NONE,
				  .hop_limits = TTL};

	memcpy(ip.src_addr, s->ip_src.bytes, 16);
	memcpy(ip.dst_addr, s->ip_dst.bytes, 16);
	memcpy(out, &ip, sizeof(ip));
	void *l4_hdr = out + sizeof(ip);

	if (s->proto == IPPROTO_TCP)
		((struct rte_tcp_hdr *)l4_hdr)->cksum = rte_ipv6_udptcp_cksum((void *)out, l4_hdr);
	else if (s->proto == IPPROTO_UDP)
		((struct rte_udp_hdr *)l4_hdr)->dgram_cksum = rte_ipv6_udptcp_cksum((void *)out, l4_hdr);
	return sizeof(ip) + l4;
}

size_t frame_build(const struct frame_spec *s, uint8_t *out, size_t size)
{
	bool v6 = s->has_ip && s->ip_src.family == AF_INET6;

	memset(out, 0, size);
	// Without IP: a type for local experiments (IEEE 802), so that nothing else reads meaning into it.
	size_t n = put_eth(s, out, !s->has_ip ? 0x88b5 : v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);

	if (s->has_ip)
		n += v6 ? put_ip6(s, out + n) : put_ip4(s, out + n);
	return n < FRAME_MIN ? FRAME_MIN : n;
}

bool frame_split(const char *text, char *left, char *right, size_t n)
{
	const char *gt = strchr(text, '>');

	if (gt == NULL || (size_t)(gt - text) >= n || strlen(gt + 1) >= n)
		return false;
	memcpy(left, text, gt - text);
	left[gt - text] = '\0';
	strcpy(right, gt + 1);
	return true;
}
