// Packets: making, owning, copying and retagging. Worker that received the packet.
#include "pkt.h"

#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mempool.h>
#include <rte_prefetch.h>

#include "worker.h"

#define TAG_BYTES 4

static_assert(PKT_HEADROOM >= TAG_BYTES, "a tag is pushed into the headroom");

void pkt_init_owned(struct pkt *p, struct rte_mbuf *m, uint16_t src)
{
	pkt_clear(p);
	p->src = src;
	p->m = m;
	p->data = rte_pktmbuf_mtod(m, uint8_t *);
	p->len = rte_pktmbuf_pkt_len(m);
	p->head_len = rte_pktmbuf_data_len(m);
	rte_prefetch0(p->data);
}

void pkt_init_borrowed(struct pkt *p, const struct iovec *iov, uint16_t n, struct iovec *rest, uint16_t src)
{
	uint16_t n_rest = 0;

	pkt_clear(p);
	p->src = src;
	p->m = NULL;
	p->data = p->head + PKT_HEADROOM;
	p->head_len = 0;
	p->len = 0;
	for (uint16_t i = 0; i < n; i++) {
		size_t take = RTE_MIN(iov[i].iov_len, (size_t)PKT_HEAD - p->head_len);

		memcpy(p->data + p->head_len, iov[i].iov_base, take);
		p->head_len += take;
		p->len += iov[i].iov_len;
		if (take < iov[i].iov_len)
			rest[n_rest++] =
			    (struct iovec){(uint8_t *)iov[i].iov_base + take, iov[i].iov_len - take};
	}
	p->tail.iov = rest;
	p->n_tail = n_rest;
}

bool pkt_append(struct rte_mempool *pool, struct rte_mbuf *first, const void *bytes, size_t n)
{
	struct rte_mbuf *last = rte_pktmbuf_lastseg(first);
	const uint8_t *from = bytes;

	while (n > 0) {
		uint16_t room = RTE_MIN(rte_pktmbuf_tailroom(last), n);

		if (room == 0) {
			struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

			if (m == NULL)
				return false;
			last->next = m;
			last = m;
			first->nb_segs++;
			continue;
		}
		memcpy(rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len), from, room);
		last->data_len += room;
		first->pkt_len += room;
		from += room;
		n -= room;
	}
	return true;
}

static struct rte_mbuf *borrowed_copy(struct worker *w, const struct pkt *p)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
	bool ok = m != NULL && pkt_append(w->pool, m, p->data, p->head_len);

	for (uint16_t i = 0; ok && i < p->n_tail; i++)
		ok = pkt_append(w->pool, m, p->tail.iov[i].iov_base, p->tail.iov[i].iov_len);
	if (!ok) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	return m;
}

bool pkt_own(struct worker *w, struct pkt *p)
{
	if (p->m != NULL)
		return true;
	struct rte_mbuf *m = borrowed_copy(w, p);

	if (m == NULL)
		return false;
	w->owns = true;
	p->m = m;
	p->data = rte_pktmbuf_mtod(m, uint8_t *);
	p->head_len = m->data_len;
	p->n_tail = 0;
	return true;
}

struct rte_mbuf *pkt_copy(struct worker *w, const struct pkt *p)
{
	if (p->m == NULL)
		return borrowed_copy(w, p);
	return rte_pktmbuf_copy(p->m, w->pool, 0, UINT32_MAX);
}

static bool pull_owned(struct pkt *p, uint16_t n)
{
	struct rte_mbuf *m = p->m;

	if (rte_pktmbuf_tailroom(m) < n - m->data_len)
		return false;
	while (m->data_len < n) {
		struct rte_mbuf *next = m->next;
		uint16_t take = RTE_MIN(next->data_len, n - m->data_len);

		memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len), rte_pktmbuf_mtod(next, uint8_t *),
		       take);
		m->data_len += take;
		next->data_len -= take;
		next->data_off += take;
		if (next->data_len == 0) {
			m->next = next->next;
			m->nb_segs--;
			rte_pktmbuf_free_seg(next);
		}
	}
	p->head_len = m->data_len;
	return true;
}

// Borrowed: takes the first bytes of the tail into the private head, where they are what is delivered.
static bool pull_borrowed(struct pkt *p, uint16_t n)
{
	struct iovec *iov = p->tail.iov;

	if (n > p->head + sizeof(p->head) - p->data)
		return false;
	while (p->head_len < n) {
		size_t take = RTE_MIN(iov->iov_len, (size_t)n - p->head_len);

		memcpy(p->data + p->head_len, iov->iov_base, take);
		p->head_len += take;
		iov->iov_base = (uint8_t *)iov->iov_base + take;
		iov->iov_len -= take;
		if (iov->iov_len == 0) {
			iov++;
			p->n_tail--;
		}
	}
	p->tail.iov = iov;
	return true;
}

bool pkt_pull(struct pkt *p, uint16_t n)
{
	if (n <= p->head_len)
		return true;
	if (n > p->len)
		return false;
	return p->m != NULL ? pull_owned(p, n) : pull_borrowed(p, n);
}

static void shift_offsets(struct pkt *p, int by)
{
	if (p->l3_off != 0)
		p->l3_off += by;
	if (p->l4_off != 0)
		p->l4_off += by;
	if (p->flags & PKT_ASKS)
		p->vnet.csum_start += by;
	if (p->flags & PKT_GSO)
		p->vnet.hdr_len += by;
	p->data -= by;
	p->len += by;
	p->head_len += by;
	if (p->m != NULL) {
		p->m->data_off -= by;
		p->m->data_len += by;
		p->m->pkt_len += by;
	}
}

void pkt_set_tag(struct pkt *p, bool tagged, uint16_t tci)
{
	bool has = p->flags & PKT_TAGGED;

	if (!tagged) {
		if (has) {
			memmove(p->data + TAG_BYTES, p->data, 2 * RTE_ETHER_ADDR_LEN);
			shift_offsets(p, -TAG_BYTES);
			p->flags &= ~PKT_TAGGED;
		}
		return;
	}
	if (!has) {
		memmove(p->data - TAG_BYTES, p->data, 2 * RTE_ETHER_ADDR_LEN);
		shift_offsets(p, TAG_BYTES);
		p->flags |= PKT_TAGGED;
	} else if (p->tci == tci) {
		return;
	}
	uint16_t tag[2] = {rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN), rte_cpu_to_be_16(tci)};

	memcpy(p->data + 2 * RTE_ETHER_ADDR_LEN, tag, sizeof(tag));
	p->tci = tci;
}

static void dscp_write_ipv4(uint8_t *l3, uint8_t dscp)
{
	uint16_t was, now, sum;

	memcpy(&was, l3, sizeof(was));
	l3[1] = dscp << 2 | (l3[1] & 3);
	memcpy(&now, l3, sizeof(now));
	memcpy(&sum, l3 + 10, sizeof(sum));
	uint32_t s = (uint16_t)~sum + (uint16_t)~was + now;

	s = (s & 0xffff) + (s >> 16);
	sum = ~(s + (s >> 16));
	memcpy(l3 + 10, &sum, sizeof(sum));
}

void pkt_rewrite(struct pkt *p, const struct rewrite *r)
{
	uint8_t *l3 = p->data + p->l3_off;

	if (r->what & REWRITE_DST)
		memcpy(p->data, r->dst, sizeof(r->dst));
	if (r->what & REWRITE_SRC)
		memcpy(p->data + RTE_ETHER_ADDR_LEN, r->src, sizeof(r->src));
	if (!(r->what & REWRITE_DSCP) || p->l3_off == 0)
		return;
	if (p->ip_version == 4) {
		dscp_write_ipv4(l3, r->dscp);
	} else if (p->ip_version == 6) {
		l3[0] = (l3[0] & 0xf0) | r->dscp >> 2;
		l3[1] = (l3[1] & 0x3f) | r->dscp << 6;
	}
}

uint16_t pkt_iov(const struct pkt *p, struct iovec *iov, uint16_t max)
{
	uint16_t n = 0;

	if (p->m == NULL) {
		if (1 + p->n_tail > max)
			return 0;
		iov[n++] = (struct iovec){p->data, p->head_len};
		for (uint16_t i = 0; i < p->n_tail; i++)
			iov[n++] = p->tail.iov[i];
		return n;
	}
	if (p->m->nb_segs > max)
		return 0;
	for (struct rte_mbuf *m = p->m; m != NULL; m = m->next)
		iov[n++] = (struct iovec){rte_pktmbuf_mtod(m, void *), m->data_len};
	return n;
}

void pkt_free(struct pkt *p)
{
	rte_pktmbuf_free(p->m);
	p->m = NULL;
}
