// Fuzzes checksum and segmentation requests: any virtio-net header in front of any frame.
//
// Input: the header's first 10 bytes, one byte that chooses the size of the pieces in which the frame is lent (0 = it is
// owned), the frame. What is accepted is finished in software: the frames that come out have the addresses and ports
// that were inspected, carry the payload that came in, and all buffers are back afterwards.
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "ctrl/api/err.h"
#include "dp/offload.h"
#include "dp/parse.h"
#include "dp/pool.h"
#include "dp/worker.h"

#define HEADER     10
#define MAX_FRAME  20000
#define MAX_PIECES 4096

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct worker worker;

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char *eal[] = {"fuzz", "--no-huge", "--no-pci",          "--no-shconf", "--no-telemetry",
		       "-m",   "64",        "--log-level=error", "-l",          "0",
		       NULL};
	struct err e = {0};

	(void)argc, (void)argv;
	must(rte_eal_init(10, eal) >= 0);
	worker.pool = pool_create("fuzz", 1024, RTE_MBUF_DEFAULT_BUF_SIZE, &e);
	must(worker.pool != NULL);
	return 0;
}

static void lend(struct pkt *p, const uint8_t *frame, size_t len, size_t piece)
{
	static struct iovec iov[MAX_PIECES], rest[MAX_PIECES];
	uint16_t n = 0;

	for (size_t off = 0; off < len; off += piece)
		iov[n++] = (struct iovec){(void *)(frame + off), RTE_MIN(piece, len - off)};
	pkt_init_borrowed(p, iov, n, rest, 0);
}

// What was decided on: it may not have changed.
struct facts {
	uint8_t mac[12], addresses[32], ports[4];
	uint8_t proto;
};

static struct facts facts_of(const struct pkt *p)
{
	struct facts f = {.proto = p->ip_proto};

	memcpy(f.mac, p->data, sizeof(f.mac));
	if (p->ip_version == 4)
		memcpy(f.addresses, p->data + p->l3_off + 12, 8);
	else if (p->ip_version == 6)
		memcpy(f.addresses, p->data + p->l3_off + 8, 32);
	if (p->l4_off != 0 && (p->ip_proto == IPPROTO_TCP || p->ip_proto == IPPROTO_UDP))
		memcpy(f.ports, p->data + p->l4_off, 4);
	return f;
}

static void same_facts(struct pkt *out, const struct facts *want)
{
	uint32_t bytes = 0;

	must(parse(out) == DROP_NONE);
	struct facts got = facts_of(out);

	if (out->flags & PKT_FRAG_LATER) {
		memcpy(got.ports, want->ports, sizeof(got.ports));
		got.proto = want->proto;
	}
	must(memcmp(&got, want, sizeof(got)) == 0);
	for (const struct rte_mbuf *m = out->m; m != NULL; m = m->next)
		bytes += m->data_len;
	must(bytes == out->len && bytes == out->m->pkt_len);
}

static void cut(struct pkt *p, const struct facts *facts)
{
	static struct pkt out;
	struct segments s;
	uint32_t longest = pkt_longest(p), n = 0;

	must(segments_begin(&worker, &s, p));
	for (; s.next < s.n; n++) {
		must(segments_next(&worker, &s, &out));
		must(out.len <= RTE_MAX(longest, 60u));
		same_facts(&out, facts);
		pkt_free(&out);
	}
	must(n == s.n && s.left == 0);
}

static void finish(struct pkt *p)
{
	struct facts facts = facts_of(p);

	must(p->vnet.csum_start + p->vnet.csum_offset + 2u <= p->len);
	if (p->flags & PKT_GSO) {
		cut(p, &facts);
		return;
	}
	if (!(p->flags & PKT_ASKS))
		return;
	must(offload_complete(&worker, p));
	same_facts(p, &facts);
	must(offload_needs(p) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	static struct pkt p;

	if (size < HEADER + 1 || size > HEADER + 1 + MAX_FRAME)
		return 0;
	const uint8_t *frame = input + HEADER + 1;
	size_t len = size - HEADER - 1, piece = input[HEADER];

	lend(&p, frame, len, piece < 5 ? len + 1 : piece);
	memcpy(&p.vnet, input, HEADER);
	if (piece == 0)
		must(pkt_own(&worker, &p));
	if (p.head_len < RTE_MIN(p.len, (uint32_t)PKT_HEAD))
		pkt_pull(&p, RTE_MIN(p.len, (uint32_t)PKT_HEAD));
	if (parse(&p) == DROP_NONE && offload_check(&p) == DROP_NONE)
		finish(&p);
	pkt_free(&p);
	must(rte_mempool_in_use_count(worker.pool) == 0);
	return 0;
}
