// What a session is made of, and the workers' side of it: filter, sample, copy into the lane.
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD 160 // bytes that a filter sees

static void refuse(struct evs_why *why, const char *what, const char *detail)
{
	snprintf(why->text, sizeof(why->text), "%s%s%s", what, detail != NULL ? ": " : "",
		 detail != NULL ? detail : "");
}

static void text_copy(char to[NAME_SIZE], const char *from)
{
	snprintf(to, NAME_SIZE, "%s", from);
}

static bool files_take(struct session *s, const struct evs_request *r, struct evs_why *why)
{
	struct stat st;
	int fd;

	while (s->n_files < MAX_FILES && (fd = r->file(r, "file")) >= 0)
		s->files[s->n_files++] = fd;
	s->regular = s->n_files > 0 && fstat(s->files[0], &st) == 0 && S_ISREG(st.st_mode);
	if (s->n_files > 1 && s->max_bytes == 0)
		refuse(why, "several files need a size, at which the next one is begun: give size", NULL);
	else if (s->n_files > 1 && !s->regular)
		refuse(why, "only a file on a disk can be one of several; leave out files", NULL);
	else
		return s->n_files > 0;
	return false;
}

static bool filter_compile(struct session *s, const char *text, struct evs_why *why)
{
	pcap_t *p;
	bool well;

	if (text == NULL)
		return true;
	p = pcap_open_dead(DLT_EN10MB, HEAD);
	s->filter_text = strdup(text);
	if (p == NULL || s->filter_text == NULL) {
		refuse(why, "out of memory", NULL);
		return false;
	}
	well = pcap_compile(p, &s->filter, text, 1, PCAP_NETMASK_UNKNOWN) == 0;
	if (!well)
		refuse(why, "the filter is not understood (see pcap-filter(7))", pcap_geterr(p));
	pcap_close(p);
	return well;
}

struct session *session_create(const struct evs_request *r, struct evs_why *why)
{
	struct session *s = aligned_alloc(64, (sizeof(*s) + 63) & ~(size_t)63);
	const char *drops = r->text(r, "drops");

	if (s == NULL) {
		refuse(why, "out of memory", NULL);
		return NULL;
	}
	memset(s, 0, sizeof(*s));
	text_copy(s->name, r->text(r, "name"));
	text_copy(s->port_name, r->text(r, "port"));
	s->port = r->number(r, "port");
	s->packets = strcmp(drops, "only") != 0;
	s->drops = strcmp(drops, "no") != 0;
	s->snaplen = r->number(r, "snaplen");
	s->sample = r->number(r, "sample");
	s->max_bytes = r->number(r, "size");
	s->request = r;
	for (unsigned i = 0; i < EVS_MAX_WORKERS; i++)
		if (!lane_open(&s->lanes[i])) {
			refuse(why, "out of memory", NULL);
			session_destroy(s);
			return NULL;
		}
	if (files_take(s, r, why) && filter_compile(s, r->text(r, "filter"), why))
		return s;
	session_destroy(s);
	return NULL;
}

void session_destroy(struct session *s)
{
	for (unsigned i = 0; i < EVS_MAX_WORKERS; i++)
		lane_close(&s->lanes[i]);
	while (s->n_files > 0)
		close(s->files[--s->n_files]);
	pcap_freecode(&s->filter);
	free(s->filter_text);
	free(s);
}

uint64_t session_count(const struct session *s, bool lost)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < EVS_MAX_WORKERS; i++)
		for (enum side side = SIDE_IN; side <= SIDE_OUT; side++)
			sum += lost ? s->lanes[i].n_lost[side] : s->lanes[i].n_packets[side];
	return sum;
}

// Workers

static void count(_Atomic uint64_t *n)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
}

// How a frame leaves: behind the addresses its tag may be another one than that of the bytes, or none.
struct shape {
	bool is_changed;
	uint32_t from; // byte behind the addresses and the tag of its bytes
	uint32_t n_tag;
	uint8_t tag[4];
};

static struct shape shape_of(const struct take *t)
{
	const struct evs_packet *p = t->packet;
	bool has = p->safe >= 16 && p->data[12] == 0x81 && p->data[13] == 0;
	struct shape s = {.from = has ? 16 : 12, .n_tag = p->tagged ? 4 : 0};

	if (t->side != SIDE_OUT || t->comment != NULL || p->safe < 14)
		return s;
	s.tag[0] = 0x81;
	s.tag[2] = p->tci >> 8;
	s.tag[3] = p->tci & 255;
	s.is_changed = has != p->tagged || (has && memcmp(p->data + 14, s.tag + 2, 2) != 0);
	return s;
}

// The first `n` bytes of the frame as it is on the wire. Returns how many there are.
static uint32_t frame_copy(const struct take *t, const struct shape *s, uint8_t *to, uint32_t n)
{
	const struct evs_packet *p = t->packet;

	if (!s->is_changed)
		return t->host->read(p, 0, to, n);
	if (n < 12u + s->n_tag)
		return 0;
	memcpy(to, p->data, 12);
	memcpy(to + 12, s->tag, s->n_tag);
	return 12 + s->n_tag + t->host->read(p, s->from, to + 12 + s->n_tag, n - 12 - s->n_tag);
}

static bool is_wanted(const struct session *s, const struct take *t, const struct shape *shape,
		      uint32_t length)
{
	const struct evs_packet *p = t->packet;
	uint8_t head[HEAD];

	if (s->filter.bf_insns == NULL)
		return true;
	if (!shape->is_changed)
		return bpf_filter(s->filter.bf_insns, p->data, length, p->safe) != 0;
	// of bytes that nobody can change any more
	uint32_t safe = p->safe < HEAD ? p->safe : HEAD;
	uint32_t n = frame_copy(t, shape, head, safe - shape->from + 12 + shape->n_tag);

	return bpf_filter(s->filter.bf_insns, head, length, n) != 0;
}

// The host has taken its sample, for whoever wants most; others take theirs of that.
static bool is_sampled(struct session *s, struct lane *l)
{
	uint32_t one_in = atomic_load_explicit(&s->one_in, memory_order_relaxed);

	l->skip = l->skip > 0 ? l->skip - 1 : one_in > 0 ? one_in - 1 : 0;
	return one_in <= 1 || l->skip == 0;
}

void session_take(struct session *s, const struct take *t)
{
	const struct shape shape = shape_of(t);
	const uint32_t length =
	    shape.is_changed ? t->packet->length - shape.from + 12 + shape.n_tag : t->packet->length;
	struct lane *l = &s->lanes[t->call->worker];
	uint32_t n = length < s->snaplen ? length : s->snaplen;
	size_t comment = t->comment != NULL ? strlen(t->comment) + 1 : 0;

	if ((t->comment == NULL && !is_sampled(s, l)) || !is_wanted(s, t, &shape, length))
		return;
	struct record *r = lane_room(l, n + comment);

	if (r == NULL) {
		count(&l->n_lost[t->side]);
		return;
	}
	r->captured = frame_copy(t, &shape, r->frame, n);
	r->length = length;
	r->interface = t->side;
	r->time_ns = t->time_ns;
	r->comment = comment;
	if (comment > 0)
		memcpy(r->frame + r->captured, t->comment, comment);
	count(&l->n_packets[t->side]);
	lane_push(l, r);
}
