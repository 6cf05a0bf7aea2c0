// Writes frames of a word stream. Reading them is in stream_check.c. Pure.

#include "tools/bench/front/stream.h"

#include "tools/bench/front/feature.h"
#include "tools/bench/front/inet.h"
#include "tools/bench/front/packet.h"

#include <string.h>

enum { ETH = 14, SOURCE_PORT = 0x5000, TARGET_PORT = 0x5001 };

const char *const offload_names[N_OFFLOADS] = {
    [OFFLOAD_NONE] = "none", [OFFLOAD_CSUM] = "csum", [OFFLOAD_TSO4] = "tso4",
    [OFFLOAD_TSO6] = "tso6", [OFFLOAD_UFO] = "ufo",   [OFFLOAD_USO] = "uso",
};

static unsigned l4_at(const struct stream_conf *c)
{
	return ETH + (c->ip6 ? 40 : 20);
}

static unsigned head_bytes(const struct stream_conf *c)
{
	return l4_at(c) + (c->udp ? 8 : 20);
}

unsigned stream_longest(const struct stream_conf *c)
{
	return c->frame_bytes;
}

unsigned stream_payload(const struct stream_conf *c)
{
	return c->frame_bytes - head_bytes(c);
}

static bool is_gso(const struct stream_conf *c)
{
	return c->offload > OFFLOAD_CSUM && stream_payload(c) > c->gso_bytes;
}

uint64_t stream_needs(const struct stream_conf *c)
{
	static const uint64_t needs[N_OFFLOADS] = {
	    [OFFLOAD_CSUM] = F_CSUM,
	    [OFFLOAD_TSO4] = F_CSUM | F_HOST_TSO4,
	    [OFFLOAD_TSO6] = F_CSUM | F_HOST_TSO6,
	    [OFFLOAD_UFO] = F_CSUM | F_HOST_UFO,
	    [OFFLOAD_USO] = F_CSUM | F_HOST_USO,
	};
	return needs[c->offload] | (c->ecn ? F_HOST_ECN : 0);
}

void stream_init(struct stream *s, const struct stream_conf *c, uint16_t from, uint16_t to)
{
	*s = (struct stream){.conf = c, .from = from, .to = to, .word = (uint64_t)from << 48};
}

static void address4(uint8_t *p, uint16_t device)
{
	p[0] = 10;
	put16(p + 1, device);
	p[3] = 1;
}

static void address6(uint8_t *p, uint16_t device)
{
	memset(p, 0, 16);
	p[0] = 0xfd;
	put16(p + 14, device);
}

static void ip_write(const struct stream *s, uint8_t *p, unsigned len)
{
	uint8_t protocol = s->conf->udp ? PROTO_UDP : PROTO_TCP, tos = s->conf->ecn ? 2 : 0;
	if (s->conf->ip6) {
		memset(p, 0, 8);
		p[0] = 0x60;
		p[1] = tos << 4;
		put16(p + 4, len - 40);
		p[6] = protocol;
		p[7] = 64;
		address6(p + 8, s->from);
		address6(p + 24, s->to);
		return;
	}
	memset(p, 0, 20);
	p[0] = 0x45;
	p[1] = tos;
	put16(p + 2, len);
	put16(p + 4, s->frames);
	p[6] = s->conf->offload == OFFLOAD_UFO ? 0 : 0x40;
	p[8] = 64;
	p[9] = protocol;
	address4(p + 12, s->from);
	address4(p + 16, s->to);
	put16(p + 10, ~sum_fold(sum_bytes(p, 20, 0)));
}

static void l4_write(const struct stream *s, uint8_t *p, unsigned len)
{
	memset(p, 0, s->conf->udp ? 8 : 20);
	put16(p, SOURCE_PORT);
	put16(p + 2, TARGET_PORT);
	if (s->conf->udp) {
		put16(p + 4, len);
		return;
	}
	put32(p + 4, s->word << 3);
	p[12] = 5 << 4;
	p[13] = 0x10 | (s->conf->ecn && s->frames % 8 == 0 ? 0x80 : 0); // CWR now and then
	put16(p + 14, 0xffff);
}

static void payload_write(struct stream *s, uint8_t *p, unsigned n)
{
	for (unsigned at = 0; at < n; at += 8, s->word++) {
		unsigned bytes = n - at < 8 ? n - at : 8;
		memcpy(p + at, &s->word, bytes);
		s->sum += word_mix(s->word, bytes);
	}
}

static void request_write(const struct stream_conf *c, struct virtio_header *h)
{
	static const uint8_t types[N_OFFLOADS] = {[OFFLOAD_TSO4] = GSO_TCP4,
						  [OFFLOAD_TSO6] = GSO_TCP6,
						  [OFFLOAD_UFO] = GSO_UDP,
						  [OFFLOAD_USO] = GSO_UDP_L4};
	*h = (struct virtio_header){0};
	if (c->offload == OFFLOAD_NONE)
		return;
	h->flags = HDR_NEEDS_CSUM;
	h->csum_start = l4_at(c);
	h->csum_offset = c->udp ? 6 : 16;
	if (!is_gso(c))
		return;
	h->gso_type = types[c->offload] | (c->ecn ? GSO_ECN : 0);
	h->gso_size = c->gso_bytes;
	h->hdr_len = head_bytes(c);
}

unsigned stream_write(struct stream *s, struct virtio_header *h, uint8_t *frame)
{
	const struct stream_conf *c = s->conf;
	unsigned head = head_bytes(c), l4 = l4_at(c), n = stream_payload(c), l4_len = c->frame_bytes - l4;
	packet_mac(frame, s->to, 0);
	packet_mac(frame + 6, s->from, 0);
	put16(frame + 12, c->ip6 ? 0x86dd : 0x0800);
	ip_write(s, frame + ETH, c->frame_bytes - ETH);
	l4_write(s, frame + l4, l4_len);
	if (!c->blind)
		payload_write(s, frame + head, n);
	request_write(c, h);
	uint64_t pseudo = sum_pseudo(frame + ETH, c->ip6, c->udp ? PROTO_UDP : PROTO_TCP, l4_len);
	uint8_t *field = frame + l4 + (c->udp ? 6 : 16);
	if (c->offload != OFFLOAD_NONE) {
		put16(field, sum_fold(pseudo));
	} else {
		uint16_t sum = ~sum_fold(sum_bytes(frame + l4, l4_len, pseudo));
		put16(field, sum || !c->udp ? sum : 0xffff);
	}
	s->frames++;
	s->bytes += n;
	return c->frame_bytes;
}
