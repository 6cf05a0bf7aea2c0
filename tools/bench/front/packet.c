// Builds and reads frames. The worker writes one head of 64 bytes per frame, so a frame costs two lines of the
// shared memory: the virtio header's and the head's.

#include "tools/bench/front/packet.h"

#include "tools/bench/front/inet.h"

#include <netinet/in.h>
#include <string.h>

enum { ETH = 14, IP = ETH, L4 = 34, UDP_STAMP = 42, TCP_STAMP = 38, TCP_TSC = 54 };
enum { SPORT_BASE = 0x4000, SPORT_BITS = 14, DPORT_BASE = 0x2000 };

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return v;
}

unsigned packet_longest(const struct packet_conf *conf)
{
	unsigned size = 0;
	for (unsigned i = 0; i < conf->n_sizes; i++)
		size = conf->sizes[i] > size ? conf->sizes[i] : size;
	return size;
}

// 02 dd dd nn nn nn: a device has 2^24 addresses.
void packet_mac(uint8_t mac[6], uint16_t device, uint32_t n)
{
	mac[0] = 2;
	put16(mac + 1, device);
	mac[3] = n >> 16;
	put16(mac + 4, n);
}

static uint32_t mac_device(const uint8_t *mac)
{
	return load32(mac) & 0xffffff;
}

static uint32_t device_mac(uint16_t device)
{
	return 2 | (device >> 8) << 8 | (device & 0xff) << 16;
}

static void put_ip(uint8_t *p, uint16_t device)
{
	p[0] = 10;
	put16(p + 1, device);
	p[3] = 1;
}

// Of a TCP header the sum of all that is the same in each frame stays in the checksum field.
static void head_build(struct packet_head *h, const struct packet_conf *conf, uint16_t from, uint16_t to,
		       unsigned size)
{
	uint8_t *p = h->bytes;
	memset(p, 0, PACKET_HEAD);
	packet_mac(p, to, 0);
	packet_mac(p + 6, from, 0);
	put16(p + 12, 0x0800);
	p[IP] = 0x45;
	put16(p + IP + 2, size - ETH);
	p[IP + 6] = 0x40; // do not fragment
	p[IP + 8] = 64;
	p[IP + 9] = conf->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	put_ip(p + IP + 12, from);
	put_ip(p + IP + 16, to);
	put16(p + IP + 10, ~sum_fold(sum_bytes(p + IP, 20, 0)));
	if (!conf->tcp) {
		put16(p + L4 + 4, size - L4);
		return; // no checksum
	}
	p[L4 + 12] = 5 << 4;
	p[L4 + 13] = 0x10; // ACK
	put16(p + L4 + 14, 0xffff);
	uint32_t pseudo = sum_bytes(p + IP + 12, 8, 0) + IPPROTO_TCP + size - L4;
	put16(p + L4 + 16, sum_fold(pseudo + sum_bytes(p + L4, PACKET_HEAD - L4, 0)));
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
	return b ? gcd(b, a % b) : a;
}

void packet_source_init(struct packet_source *s, const struct packet_conf *conf, uint16_t from, uint16_t to)
{
	*s = (struct packet_source){.conf = conf, .from = from, .to = to, .left = conf->flows};
	// Far apart, so that neighbours in a switch's table do not follow each other.
	s->step = conf->flows * 0.618 + 1;
	while (gcd(s->step, conf->flows) != 1)
		s->step++;
	for (unsigned i = 0; i < conf->n_sizes; i++)
		head_build(&s->heads[i], conf, from, to, conf->sizes[i]);
}

static void tcp_sum(uint8_t *frame)
{
	uint32_t sum =
	    get16(frame + L4 + 16) + sum_bytes(frame + L4, 12, 0) + sum_bytes(frame + TCP_TSC, 8, 0);
	put16(frame + L4 + 16, ~sum_fold(sum));
}

static void stamp_write(const struct packet_source *s, uint8_t *frame, uint64_t tsc)
{
	unsigned at = s->conf->tcp ? TCP_STAMP : UDP_STAMP;
	memcpy(frame + at, &s->turn, 4);
	memcpy(frame + at + 4, &s->flow, 4);
	memcpy(frame + (s->conf->tcp ? TCP_TSC : UDP_STAMP + 8), &tsc, 8);
}

unsigned packet_write(struct packet_source *s, uint8_t *frame, uint64_t tsc)
{
	const struct packet_conf *conf = s->conf;
	unsigned size = s->size_at;
	memcpy(frame, &s->heads[size], PACKET_HEAD);
	if (conf->macs > 1) {
		packet_mac(frame, s->to, s->flow % conf->macs);
		packet_mac(frame + 6, s->from, s->flow % conf->macs);
	}
	put16(frame + L4, SPORT_BASE + (s->flow & ((1u << SPORT_BITS) - 1)));
	put16(frame + L4 + 2, DPORT_BASE + (s->flow >> SPORT_BITS));
	if (conf->stamp)
		stamp_write(s, frame, tsc);
	if (conf->tcp)
		tcp_sum(frame);
	s->size_at = size + 1 < conf->n_sizes ? size + 1 : 0;
	s->flow += s->step;
	if (s->flow >= conf->flows)
		s->flow -= conf->flows;
	if (--s->left == 0) {
		s->left = conf->flows;
		s->turn++;
	}
	return conf->sizes[size];
}

// An ARP request for the sender's own address.
void packet_announce(uint8_t *frame, uint16_t device, uint32_t n)
{
	static const uint8_t arp[8] = {0, 1, 8, 0, 6, 4, 0, 1};
	memset(frame, 0, PACKET_HEAD);
	memset(frame, 0xff, 6);
	packet_mac(frame + 6, device, n);
	put16(frame + 12, 0x0806);
	memcpy(frame + ETH, arp, 8);
	packet_mac(frame + ETH + 8, device, n);
	put_ip(frame + ETH + 14, device);
	put_ip(frame + ETH + 24, device);
}

bool packet_is_announce(const uint8_t *frame, uint16_t device, uint32_t *n)
{
	*n = frame[9] << 16 | get16(frame + 10);
	return frame[0] == 0xff && get16(frame + 12) == 0x0806 && mac_device(frame + 6) == device_mac(device);
}

bool packet_is(const uint8_t *frame, uint16_t from, uint16_t to)
{
	return mac_device(frame) == device_mac(to) && mac_device(frame + 6) == device_mac(from);
}

bool packet_read(const struct packet_conf *conf, const uint8_t *frame, unsigned len, struct packet_view *v)
{
	unsigned at = conf->tcp ? TCP_STAMP : UDP_STAMP;
	if (len < PACKET_MIN || get16(frame + 12) != 0x0800)
		return false;
	v->seq = load32(frame + at);
	v->flow = load32(frame + at + 4);
	memcpy(&v->tsc, frame + (conf->tcp ? TCP_TSC : UDP_STAMP + 8), 8);
	return v->flow < conf->flows;
}
