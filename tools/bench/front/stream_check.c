// Judges frames of a word stream: requests, checksums, payload. Pure.

#include "tools/bench/front/inet.h"
#include "tools/bench/front/stream.h"

#include <string.h>

enum { ETH = 14, FRAGMENT_HEADER = 44 };

struct view { // of one frame
	const uint8_t *ip, *l4, *payload;
	unsigned l4_len, payload_len;
	bool ip6, fragment;
	uint8_t protocol;
};

static bool view_ip4(struct view *v, unsigned left)
{
	const uint8_t *p = v->ip;
	unsigned len = get16(p + 2);
	if (left < 20 || p[0] != 0x45 || len < 20 || len > left || sum_fold(sum_bytes(p, 20, 0)) != 0xffff)
		return false;
	v->protocol = p[9];
	v->fragment = get16(p + 6) & 0x3fff;
	v->l4 = p + 20;
	v->l4_len = len - 20;
	v->payload = get16(p + 6) & 0x1fff ? v->l4 : NULL; // a later fragment has no header
	return true;
}

static bool view_ip6(struct view *v, unsigned left)
{
	const uint8_t *p = v->ip;
	if (left < 40 || p[0] >> 4 != 6 || get16(p + 4) + 40u > left)
		return false;
	v->ip6 = true;
	v->protocol = p[6];
	v->l4 = p + 40;
	v->l4_len = get16(p + 4);
	if (v->protocol != FRAGMENT_HEADER || v->l4_len < 8)
		return true;
	v->fragment = true;
	v->protocol = p[40];
	v->l4 += 8;
	v->l4_len -= 8;
	v->payload = get16(p + 42) & 0xfff8 ? v->l4 : NULL;
	return true;
}

static bool view_make(struct view *v, const uint8_t *frame, unsigned len)
{
	*v = (struct view){.ip = frame + ETH};
	uint16_t type = len > ETH ? get16(frame + 12) : 0;
	if (!(type == 0x0800 && view_ip4(v, len - ETH)) && !(type == 0x86dd && view_ip6(v, len - ETH)))
		return false;
	if (v->protocol != PROTO_TCP && v->protocol != PROTO_UDP)
		return false;
	if (!v->payload) {
		unsigned head = v->protocol == PROTO_TCP ? 20 : 8;
		if (v->l4_len < head)
			return false;
		v->payload = v->l4 + head;
	}
	v->payload_len = v->l4_len - (v->payload - v->l4);
	return true;
}

static bool header_is_right(const struct view *v, const struct virtio_header *h, const uint8_t *frame)
{
	uint8_t type = h->gso_type & ~GSO_ECN;
	bool right_type = type == GSO_NONE || type == (v->ip6 ? GSO_TCP6 : GSO_TCP4) || type == GSO_UDP ||
			  type == GSO_UDP_L4;
	bool udp = type == GSO_UDP || type == GSO_UDP_L4;
	if (!right_type)
		return false;
	if (type != GSO_NONE &&
	    (udp != (v->protocol == PROTO_UDP) || h->gso_size == 0 || !(h->flags & HDR_NEEDS_CSUM)))
		return false;
	if (type != GSO_NONE && v->payload_len <= h->gso_size)
		return false;
	return !(h->flags & HDR_NEEDS_CSUM) ||
	       (h->csum_start == v->l4 - frame && h->csum_offset == (v->protocol == PROTO_UDP ? 6 : 16));
}

// A sum that was asked for is the pseudo header's; one that was vouched for is not looked at.
static bool checksum_is_right(const struct view *v, const struct virtio_header *h)
{
	uint64_t pseudo = sum_pseudo(v->ip, v->ip6, v->protocol, v->l4_len);
	uint16_t field = get16(v->l4 + (v->protocol == PROTO_UDP ? 6 : 16));
	if (h->flags & HDR_NEEDS_CSUM)
		return field == sum_fold(pseudo);
	if (h->flags & HDR_DATA_VALID || (v->protocol == PROTO_UDP && !v->ip6 && field == 0))
		return true;
	return sum_fold(sum_bytes(v->l4, v->l4_len, pseudo)) == 0xffff;
}

static bool payload_is_right(const struct view *v, uint16_t from, uint64_t *sum)
{
	uint64_t word = 0, first = 0;
	memcpy(&first, v->payload, v->payload_len < 8 ? v->payload_len : 8);
	if (v->payload_len >= 8 && first >> 48 != from)
		return false;
	if (v->protocol == PROTO_TCP && (uint32_t)(first << 3) != get32(v->l4 + 4) && v->payload_len >= 8)
		return false;
	for (unsigned at = 0; at < v->payload_len; at += 8, first++) {
		unsigned bytes = v->payload_len - at < 8 ? v->payload_len - at : 8;
		word = 0;
		memcpy(&word, v->payload + at, bytes);
		*sum += word_mix(word, bytes);
		if (word != word_head(first, bytes))
			return false;
	}
	return true;
}

unsigned stream_check(const struct stream_conf *c, uint16_t from, const struct virtio_header *h,
		      const uint8_t *frame, unsigned len, struct arrivals *a)
{
	struct view v;
	a->frames++;
	a->uncounted += h->num_buffers == 0;
	a->gso += h->gso_type != GSO_NONE;
	a->needs_csum += !!(h->flags & HDR_NEEDS_CSUM);
	a->data_valid += !!(h->flags & HDR_DATA_VALID);
	if (!view_make(&v, frame, len)) {
		a->bad_payload++;
		return 0;
	}
	a->bytes += v.payload_len;
	a->bad_header += !header_is_right(&v, h, frame);
	if (c->blind)
		return v.payload_len;
	a->bad_checksum += !v.fragment && !checksum_is_right(&v, h);
	a->bad_payload += !payload_is_right(&v, from, &a->sum);
	return v.payload_len;
}
