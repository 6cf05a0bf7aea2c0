// Gives all IPv4 packets of guests the same time to live, 64, and so hides how many hops they are away. A filter that
// changes bytes of each packet.
#include <evswitch/extension.h>

// Only flows of IPv4 are worth a call for each of their packets.
static void look(void *self, const struct evs_call *call, const struct evs_flow *f, struct evs_answer *a)
{
	(void)self, (void)call;
	if (f->ip_version == 4)
		a->verdict = EVS_PACKETS;
}

// The header's checksum is put right by the difference (RFC 1624, equation 3).
static void ttl_set(uint8_t *ip, uint8_t ttl)
{
	uint32_t sum = (uint16_t) ~(ip[10] << 8 | ip[11]);

	sum += (uint16_t) ~(ip[8] << 8) + (uint32_t)(ttl << 8);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip[8] = ttl;
	ip[10] = (uint8_t)(~sum >> 8);
	ip[11] = (uint8_t)~sum;
}

static void change(void *self, const struct evs_call *call, struct evs_packet *const *packets, uint32_t n)
{
	(void)self, (void)call;
	for (uint32_t i = 0; i < n; i++) {
		struct evs_packet *p = packets[i];

		if (p->ip_version == 4 && p->l3 + 20u <= p->safe && p->data[p->l3 + 8] != 64)
			ttl_set(p->data + p->l3, 64);
	}
}

EVS_EXTENSION(.name = "one-ttl", .version = "1.0", .id = "6a1c2f0e-3a52-4d5f-8a53-0a4e0a8f8c02",
	      .kind = EVS_FILTER, .reads = EVS_READ_IP, .flags = EVS_MODIFIES, .flow_in = look,
	      .packets_in = change);
