// Fuzzes the parser: any bytes, all of them private or only the first ones.
//
// Input: two bytes that choose how many bytes are private in a second parse, then the frame. They stand in a
// buffer of exactly their size. A parse with fewer private bytes must agree with the parse of the whole frame, or
// carry the mark that it cannot know.

#include "dp/parse_dp.c"

#include <stdint.h>
#include <stdlib.h>

#include "dp/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static enum drop parse_private(struct pkt *p, const uint8_t *frame, uint32_t len, uint32_t head_len,
			       uint32_t *hash)
{
	uint8_t *exact = malloc(head_len ? head_len : 1);
	must(exact != NULL);
	if (head_len)
		memcpy(exact, frame, head_len);
	memset(p, 0xff, sizeof(*p));
	p->data = exact;
	p->len = len;
	p->head_len = (uint16_t)head_len;
	enum drop reason = parse(p);
	struct pkt any = *p;
	must(parse_any(&any) == reason && (reason != DROP_NONE || memcmp(&any, p, sizeof(any)) == 0));
	*hash = reason == DROP_NONE ? parse_hash(p, 1) : 1;
	// The mark for control protocols misses none.
	must(reason != DROP_NONE || head_len < 14 || control_is(p) == control_matches(p));
	free(exact);
	return reason;
}

// What later stages rely on: the headers that are named are whole and private.
static void check_facts(const struct pkt *p, const uint8_t *frame, enum drop reason)
{
	must(reason < N_DROPS);
	if (reason != DROP_NONE)
		return;
	must(p->l3_off == 0 || p->l3_off == 14 || p->l3_off == 18);
	must(p->l3_off + (p->ip_version == 4 ? 20u : p->ip_version == 6 ? 40u : 0u) <= p->len);
	must(p->ip_version == 0 || p->ip_version == 4 || p->ip_version == 6);
	must(p->l4_off == 0 || (p->ip_version && p->l4_off > p->l3_off && p->l4_off <= p->head_len));
	if (p->l4_off && p->ip_proto == IPPROTO_UDP)
		must(p->l4_off + 8 <= p->head_len);
	if (p->l4_off && p->ip_proto == IPPROTO_TCP)
		must(p->l4_off + (frame[p->l4_off + 12] >> 4) * 4 <= p->head_len);
	must(!(p->flags & PKT_FRAG_LATER) || (p->flags & PKT_FRAG && p->l4_off == 0));
	must(!(p->flags & (PKT_INNER_TAG | PKT_STAG)) || p->flags & PKT_TAGGED);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct pkt whole, part;
	uint32_t whole_hash, part_hash;

	if (size < 2 || size > 2 + 10000)
		return 0;
	uint32_t len = (uint32_t)size - 2, head_len = (input[0] | input[1] << 8u) % (len + 1);
	enum drop whole_reason = parse_private(&whole, input + 2, len, len, &whole_hash);
	check_facts(&whole, input + 2, whole_reason);
	must(!(whole.flags & PKT_BEYOND_HEAD) && whole_hash != 0);

	enum drop part_reason = parse_private(&part, input + 2, len, head_len, &part_hash);
	check_facts(&part, input + 2, part_reason);
	must(part_hash != 0);
	// What is known from fewer bytes is true; only with the mark may something be unknown.
	must(part_reason == DROP_NONE || part_reason == whole_reason || part.flags & PKT_BEYOND_HEAD);
	if (part.flags & PKT_BEYOND_HEAD)
		return 0;
	must(part_reason == whole_reason && part.flags == whole.flags && part.tci == whole.tci);
	must(part_reason != DROP_NONE || (part.l3_off == whole.l3_off && part.l4_off == whole.l4_off &&
					  part.ip_proto == whole.ip_proto && part_hash == whole_hash));
	return 0;
}
