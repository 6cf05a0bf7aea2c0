// Software segmentation: one frame with a segmentation request into the frames it stands for.
//
// Headers are repeated from the private bytes that were inspected and offsets that were checked; the payload is copied
// once, straight into the segments, and only then summed. TCP (CWR in the first segment only, FIN and PSH in the last
// only) and UDP with a size of its own; or, for UFO, the IP fragments of one datagram (RFC 791, RFC 8200 4.5). Workers.
#include "offload.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_random.h>

#include "offload_priv.h"
#include "worker.h"

enum { TCP_FIN = 1, TCP_PSH = 8, TCP_CWR = 128 };
#define IP_MORE 0x2000

// The payload

// The next bytes that stand in one piece, at most `max`.
static struct iovec take(struct segments *s, uint32_t max)
{
	const struct pkt *p = s->p;
	struct iovec all;

	for (;;) {
		if (p->m != NULL)
			all = (struct iovec){rte_pktmbuf_mtod(s->m, void *), s->m->data_len};
		else if (s->piece == 0)
			all = (struct iovec){p->data, p->head_len};
		else
			all = p->tail.iov[s->piece - 1];
		if (s->off < all.iov_len)
			break;
		s->off -= all.iov_len;
		s->piece++;
		if (p->m != NULL)
			s->m = s->m->next;
	}
	uint32_t n = RTE_MIN(all.iov_len - s->off, (size_t)max);
	uint8_t *at = (uint8_t *)all.iov_base + s->off;

	s->off += n;
	return (struct iovec){at, n};
}

static bool copy(struct worker *w, struct segments *s, struct rte_mbuf *m, uint32_t n)
{
	s->left -= n;
	while (n > 0) {
		struct iovec from = take(s, n);

		if (!pkt_append(w->pool, m, from.iov_base, from.iov_len))
			return false;
		n -= from.iov_len;
	}
	return true;
}

// Headers

static bool has_fragment_header(const struct segments *s)
{
	return is_ufo(s->p) && s->p->ip_version == 6 && s->n > 1;
}

static void write_ipv4(const struct segments *s, uint8_t *ip, uint32_t frame_bytes, bool last)
{
	const struct pkt *p = s->p;
	uint16_t sum = 0, bytes = (ip[0] & 15) * 4;

	put_be16(ip + 2, frame_bytes - p->l3_off);
	if (is_ufo(p))
		put_be16(ip + 6, s->next * s->size / 8 | (last ? 0 : IP_MORE));
	else
		put_be16(ip + 4, get_be16(ip + 4) + s->next);
	put_be16(ip + 10, 0);
	sum = ~rte_raw_cksum(ip, bytes);
	memcpy(ip + 10, &sum, sizeof(sum));
}

static void write_tcp(const struct segments *s, uint8_t *tcp, bool last)
{
	uint32_t seq;

	memcpy(&seq, tcp + 4, sizeof(seq));
	seq = rte_cpu_to_be_32(rte_be_to_cpu_32(seq) + s->next * s->size);
	memcpy(tcp + 4, &seq, sizeof(seq));
	if (s->next > 0)
		tcp[13] &= ~TCP_CWR;
	if (!last)
		tcp[13] &= ~(TCP_FIN | TCP_PSH);
}

// The sender's sum of the pseudo header, with the length of the segment instead.
static void write_l4_csum(const struct segments *s, struct rte_mbuf *m, uint8_t *field)
{
	const struct pkt *p = s->p;
	uint32_t sum = get_be16(field) + (0xffff - (ip_end(p) - p->l4_off)) + (m->pkt_len - p->l4_off);

	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put_be16(field, sum);
	uint16_t out = csum_of(m, p->l4_off, m->pkt_len, p->vnet.csum_offset);

	memcpy(field, &out, sizeof(out));
}

static void write_headers(const struct segments *s, struct rte_mbuf *m, bool last)
{
	const struct pkt *p = s->p;
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *), *l4 = frame + p->l4_off;

	if (p->ip_version == 4)
		write_ipv4(s, frame + p->l3_off, m->pkt_len, last);
	else
		put_be16(frame + p->l3_off + 4, m->pkt_len - p->l3_off - 40);
	if (is_ufo(p)) {
		if (s->next == 0)
			chain_write(
			    m, s->head + (has_fragment_header(s) ? FRAGMENT_BYTES : 0) + p->vnet.csum_offset,
			    &s->csum, sizeof(s->csum));
		return;
	}
	if (p->ip_proto == IPPROTO_TCP)
		write_tcp(s, l4, last);
	else
		put_be16(l4 + 4, m->pkt_len - p->l4_off);
	write_l4_csum(s, m, l4 + p->vnet.csum_offset);
}

static bool append_fragment_header(struct worker *w, const struct segments *s, struct rte_mbuf *m, bool last)
{
	const struct pkt *p = s->p;
	uint8_t *next = rte_pktmbuf_mtod_offset(m, uint8_t *, p->l3_off + 6);
	uint8_t header[FRAGMENT_BYTES] = {*next};

	put_be16(header + 2, s->next * s->size | !last);
	memcpy(header + 4, &s->id, sizeof(s->id));
	*next = IPPROTO_FRAGMENT;
	return pkt_append(w->pool, m, header, sizeof(header));
}

// The frames

bool segments_begin(struct worker *w, struct segments *s, struct pkt *p)
{
	// The sum of a datagram stands in its first fragment, and must be that of the bytes that follow.
	if (is_ufo(p) && !pkt_own(w, p))
		return false;
	*s = (struct segments){.p = p,
			       .size = segment_size(p),
			       .head = head_bytes(p),
			       .left = ip_end(p) - head_bytes(p),
			       .m = p->m,
			       .off = head_bytes(p)};
	s->n = s->left == 0 ? 1 : (s->left + s->size - 1) / s->size;
	if (is_ufo(p)) {
		s->csum = csum_of(p->m, p->l4_off, ip_end(p), p->vnet.csum_offset);
		s->id = rte_rand();
	}
	return true;
}

static bool fill(struct worker *w, struct segments *s, struct rte_mbuf *m)
{
	bool last = s->next + 1 == s->n;

	if (!pkt_append(w->pool, m, s->p->data, s->head) ||
	    (has_fragment_header(s) && !append_fragment_header(w, s, m, last)) ||
	    !copy(w, s, m, RTE_MIN(s->size, s->left)))
		return false;
	write_headers(s, m, last);
	return true;
}

bool segments_next(struct worker *w, struct segments *s, struct pkt *out)
{
	const struct pkt *p = s->p;
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);

	if (m == NULL || !fill(w, s, m)) {
		rte_pktmbuf_free(m);
		return false;
	}
	s->next++;
	pkt_init_owned(out, m, p->src);
	out->n_users = 1;
	out->vid = p->vid;
	out->vsid = p->vsid;
	out->hash = p->hash;
	out->flags = p->flags & ~(PKT_ASKS | PKT_GSO);
	out->l3_off = p->l3_off;
	out->l4_off = p->l4_off;
	out->ip_version = p->ip_version;
	out->ip_proto = p->ip_proto;
	return true;
}
