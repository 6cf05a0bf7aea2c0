// Control protocols: what they are, and the token bucket that their packets pass. Workers.
#include "control.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_common.h>
#include <rte_ether.h>

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool is_control_icmp(const struct pkt *p)
{
	if (p->l4_off >= p->head_len)
		return false;
	uint8_t type = p->data[p->l4_off];

	if (p->ip_proto == IPPROTO_ICMP)
		return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
	return type < 128 || (type >= 130 && type <= 137) || type == 143;
}

static bool is_dhcp(const struct pkt *p)
{
	uint32_t ports = load32(p->data + p->l4_off);
	uint16_t sport = rte_be_to_cpu_16(ports), dport = rte_be_to_cpu_16(ports >> 16);

	return sport == 67 || sport == 68 || dport == 67 || dport == 68 || sport == 546 || sport == 547 ||
	       dport == 546 || dport == 547;
}

bool control_matches(const struct pkt *p)
{
	if (unlikely(p->ether_type == RTE_ETHER_TYPE_ARP || p->ether_type == RTE_ETHER_TYPE_RARP))
		return true;
	if (unlikely(load32(p->data) == RTE_BE32(0x0180c200) && p->data[4] == 0))
		return true;
	if (likely(p->ip_proto == IPPROTO_TCP))
		return false;
	if (p->l4_off == 0)
		return p->ip_proto == IPPROTO_IGMP;
	if (p->ip_proto == IPPROTO_UDP)
		return is_dhcp(p);
	if (p->ip_proto == IPPROTO_ICMP || p->ip_proto == IPPROTO_ICMPV6)
		return is_control_icmp(p);
	return p->ip_proto == IPPROTO_IGMP;
}

bool control_admits(struct control_bucket *b, uint64_t now_tsc, uint64_t hz)
{
	uint64_t cost = hz / CONTROL_PPS, full = cost * CONTROL_BURST;

	b->tokens = RTE_MIN(b->tokens + (now_tsc - b->tsc), full);
	b->tsc = now_tsc;
	if (b->tokens < cost)
		return false;
	b->tokens -= cost;
	return true;
}
