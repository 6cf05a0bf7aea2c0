// I1 with extensions: random chains that answer at random, by what they have declared, and that come, go and change at the same
// packet numbers in both runs.
//
// An answer follows from the fields that the flow call was given and from the extension's seed, and so does each packet's
// verdict from its bytes: the same in both runs, however often it is asked for.
#include "differential.h"
#include "ext_rig.h"

#include <stdio.h>
#include <string.h>

#include "dp/port.h"
#include "dp/snap.h"

#define N_EXTS 6

static struct slot {
	struct hooks h;
	const char *file; // NULL = not loaded
	uint32_t seed;
	int rank;
	bool enabled;
	uint64_t drops[2]; // by former instances
} slots[N_EXTS];

static const char *const names[N_EXTS] = {"e0", "e1", "e2", "e3", "e4", "e5"};
static const char *const ports[] = {"a", "b", "c", "d", "u", "v"};

static uint64_t hash(uint64_t h, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
	return h ^ h >> 29;
}

static struct slot *slot_of(struct hooks *h)
{
	return (struct slot *)h;
}

static bool is_file(const struct hooks *h, const char *word)
{
	return strncmp(slot_of((struct hooks *)h)->file, word, strlen(word)) == 0;
}

// Port numbers differ between the runs: by their names.
static uint64_t port_by_name(uint32_t id)
{
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		if (port_find(ports[i]) != NULL && id_of(ports[i]) == id)
			return i + 1;
	return 0;
}

static uint64_t flow_hash(struct hooks *h, const struct evs_flow *f)
{
	struct evs_flow same = *f;

	same.source = port_by_name(f->source);
	same.destination = port_by_name(f->destination);
	uint64_t x = hash(slot_of(h)->seed, &same.source, sizeof(same.source));

	x = hash(x, &same.destination, sizeof(same.destination));
	x = hash(x, f->dst, sizeof(f->dst));
	x = hash(x, f->src, sizeof(f->src));
	x = hash(x, &f->ether_type, sizeof(f->ether_type));
	x = hash(x, &f->vlan, sizeof(f->vlan));
	x = hash(x, &f->priority, sizeof(f->priority));
	x = hash(x, &f->ip_version, sizeof(f->ip_version));
	x = hash(x, &f->ip_proto, sizeof(f->ip_proto));
	x = hash(x, f->ip_src, sizeof(f->ip_src));
	x = hash(x, f->ip_dst, sizeof(f->ip_dst));
	x = hash(x, &f->sport, sizeof(f->sport));
	return hash(x, &f->dport, sizeof(f->dport));
}

static void sets(uint64_t x, struct evs_answer *a)
{
	a->sets = x & 7;
	a->dscp = x >> 8 & 63;
	memcpy(a->dst, (uint8_t[]){2, 0, 0, 0, 0, x >> 16 & 7}, 6);
	memcpy(a->src, (uint8_t[]){2, 0, 0, 0, 0, x >> 20 & 7}, 6);
}

static void choose(uint64_t x, struct evs_answer *a)
{
	a->chosen = x & 1;
	a->flood = (x >> 1 & 7) == 0;
	a->n_destinations = x >> 4 & 3;
	for (uint8_t i = 0; i < a->n_destinations; i++) {
		const char *to = ports[(x >> (8 + 4 * i) & 15) % 6];

		a->destinations[i] = port_find(to) != NULL ? id_of(to) : EVS_NO_PORT;
	}
}

static void flow_in(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	uint64_t x = flow_hash(h, f);
	const uint32_t what = x % 8;

	x >>= 3;
	if (is_file(h, "capture")) {
		a->verdict = what < 3 ? EVS_PACKETS : what == 3 ? EVS_DROP : EVS_PASS;
		return;
	}
	if (what == 0) {
		a->verdict = EVS_DROP;
		a->reason = x & 1;
	} else if (what < 3) {
		a->verdict = EVS_PACKETS;
	}
	if (what > 5)
		sets(x, a);
	if (is_file(h, "forward") && what != 0)
		choose(x >> 24, a);
}

static void flow_out(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	uint64_t x = flow_hash(h, f);

	a->verdict = x % 8 == 0 ? EVS_DROP : x % 8 < 3 ? EVS_PACKETS : EVS_PASS;
	a->reason = x >> 3 & 1;
}

static void packets(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	(void)c;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t x = hash(slot_of(h)->seed, p[i]->data, p[i]->safe < 40 ? p[i]->safe : 40);

		p[i]->verdict = x % 8 == 0 && !is_file(h, "capture") ? EVS_DROP : EVS_PASS;
		p[i]->reason = x >> 3 & 1;
	}
}

static void packets_in(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p, uint32_t n)
{
	packets(h, c, p, n);
	for (uint32_t i = 0; i < n && is_file(h, "modifier"); i++) {
		uint8_t *b = p[i]->data;
		uint64_t x = hash(slot_of(h)->seed + 1, b, p[i]->safe < 40 ? p[i]->safe : 40);

		if (x % 3 == 0)
			b[5] = x >> 8 & 7; // some other destination
		if (x % 5 == 0 && p[i]->safe > 16)
			b[12 + (x >> 16 & 3)] = x >> 24; // or nearly anything
	}
}

// Changes

static void slot_show(int i)
{
	struct slot *s = &slots[i];
	char more[80];

	snprintf(more, sizeof(more), "'rank': %d, 'enabled': %s", s->rank, s->enabled ? "true" : "false");
	s->h.flow_in = flow_in;
	s->h.flow_out = flow_out;
	s->h.packets_in = packets_in;
	s->h.packets_out = packets;
	plug(names[i], s->file, &s->h, more);
}

static bool has_forward(void)
{
	for (int i = 0; i < N_EXTS; i++)
		if (slots[i].file != NULL && slots[i].file[0] == 'f' && slots[i].file[1] == 'o')
			return true;
	return false;
}

static void slot_load(int i)
{
	static const char *const files[] = {"capture",   "filter",  "filter_l2", "filter_l3",
					    "filter_l4", "watcher", "modifier",  "forward"};
	const char *file = files[differential_dice(8)];

	slots[i].file = strcmp(file, "forward") == 0 && has_forward() ? "filter" : file;
	slots[i].seed = differential_dice(1 << 30);
	slots[i].rank = (int)differential_dice(4);
	slots[i].enabled = differential_dice(4) > 0;
	slot_show(i);
}

static void drops_keep(int i)
{
	for (int r = 0; r < 2; r++)
		if (ext_find(names[i])->details[r] != 0)
			slots[i].drops[r] += drop_detail_count(ext_find(names[i])->details[r]);
}

static void slot_change(int i)
{
	struct slot *s = &slots[i];

	switch (differential_dice(5)) {
	case 0:
		drops_keep(i);
		unplug(names[i]);
		s->file = NULL;
		break;
	case 1:
		s->rank = (int)differential_dice(4);
		slot_show(i);
		break;
	case 2:
		s->enabled = !s->enabled;
		slot_show(i);
		break;
	case 3:
		if (strncmp(s->file, "filter", 6) != 0 || strchr(s->file, '_') != NULL)
			break;
		drops_keep(i);
		s->file = strcmp(s->file, "filter") == 0 ? "filter2" : "filter";
		slot_show(i);
		break;
	default:
		s->seed = differential_dice(1 << 30);
		s->h.host->revoke(s->h.instance, EVS_NO_PORT);
		until_published();
	}
}

static void change(void)
{
	int i = (int)differential_dice(N_EXTS);

	if (slots[i].file == NULL)
		slot_load(i);
	else
		slot_change(i);
}

static void begin(void)
{
	memset(slots, 0, sizeof(slots));
}

static void say(void)
{
	for (int i = 0; i < N_EXTS; i++) {
		for (int r = 0; r < 2 && slots[i].file != NULL; r++) {
			uint16_t detail = ext_find(names[i])->details[r];

			differential_say(
			    slots[i].drops[r] + (detail != 0 ? drop_detail_count(detail) : 0),
			    r == 0 ? "drops for the first reason" : "drops for the second reason", names[i]);
		}
	}
}

int main(void)
{
	static const struct differential_more more = {begin, change, say, ext_rig_drain};

	ext_rig_trust();
	return differential_run("differential_ext", &more);
}
