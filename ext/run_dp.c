// Extensions in the walk and on known flows: their calls, and what their answers mean.
//
// A flow call gets the fields that its extension has declared, and nothing else: an answer cannot rest on more than the
// flow's key has. What a kind may not ask for is refused here. Worker threads, and the control thread for traces.
#include "ext.h"

#include <string.h>

#include <netinet/in.h>
#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_cycles.h>

#include "blame.h"
#include "dp/snap.h"
#include "dp/worker.h"

#define MAX_PIECES  512
#define GUARD       64 // bytes around what an extension may write to
#define GUARD_VALUE 0xa5

static uint16_t thread_of(const struct worker *w)
{
	return w != NULL ? w->index : EXT_CONTROL;
}

static bool is_gone(const struct ext *x)
{
	return unlikely(atomic_load_explicit(&x->fault, memory_order_relaxed) != EXT_FAULT_NONE);
}

static void call_begin(const struct ext *x, const struct worker *w, struct evs_call *c)
{
	uint16_t thread = thread_of(w);

	*c = (struct evs_call){.size = sizeof(*c), .worker = thread};
	if (w != NULL) {
		c->now_ns = (uint64_t)((double)w->now_tsc * 1e9 / (double)w->hz);
		c->local = x->threads[thread].local;
	}
	blame_enter(thread, x->index);
}

static void fields_ports(const struct pkt *p, struct evs_flow *f)
{
	uint16_t ports[2];

	if (p->l4_off == 0 || p->flags & (PKT_FRAG_LATER | PKT_L4_UNKNOWN | PKT_BEYOND_HEAD))
		return;
	f->has_ports = true;
	if (p->ip_proto == IPPROTO_ICMP || p->ip_proto == IPPROTO_ICMPV6) {
		f->sport = p->data[p->l4_off];
		f->dport = p->data[p->l4_off + 1];
		return;
	}
	memcpy(ports, p->data + p->l4_off, sizeof(ports));
	f->sport = rte_be_to_cpu_16(ports[0]);
	f->dport = rte_be_to_cpu_16(ports[1]);
}

static void fields_ip(const struct pkt *p, struct evs_flow *f)
{
	const uint8_t *l3 = p->data + p->l3_off;
	const size_t n = p->ip_version == 4 ? 4 : 16, at = p->ip_version == 4 ? 12 : 8;

	if (p->ip_version == 0)
		return;
	f->ip_version = p->ip_version;
	f->ip_proto = p->ip_proto;
	memcpy(f->ip_src, l3 + at, n);
	memcpy(f->ip_dst, l3 + at + n, n);
}

static void fields(const struct ext *x, const struct walk *k, const struct pkt *p, struct evs_flow *f)
{
	*f = (struct evs_flow){.size = sizeof(*f),
			       .source = k->nobody ? EVS_NO_PORT : k->in->id,
			       .trace = k->trace != NULL,
			       .ether_type = p->ether_type,
			       .vlan = p->vid,
			       .priority = p->flags & PKT_TAGGED ? p->tci >> 13 : 0};
	memcpy(f->dst, walk_dst(k, p), sizeof(f->dst));
	memcpy(f->src, walk_src(k, p), sizeof(f->src));
	if (x->is.reads & (EVS_READ_IP | EVS_READ_PORTS))
		fields_ip(p, f);
	if (x->is.reads & EVS_READ_PORTS)
		fields_ports(p, f);
}

typedef void flow_call(void *self, const struct evs_call *call, const struct evs_flow *f,
		       struct evs_answer *a);

// An extension that wants to see packets and has no flow call sees all of them.
static void ask(const struct ext *x, const struct walk *k, flow_call *fn, const struct evs_flow *f,
		struct evs_answer *a)
{
	struct ext_thread *t = &x->threads[thread_of(k->w)];
	struct evs_call c;

	*a = (struct evs_answer){.size = sizeof(*a)};
	if (fn == NULL) {
		a->verdict = EVS_PACKETS;
		return;
	}
	call_begin(x, k->w, &c);
	uint64_t from = rte_rdtsc();

	fn(x->self, &c, f, a);
	t->n.cycles += rte_rdtsc() - from;
	t->n.flows++;
	blame_leave(c.worker);
}

static void breach(const struct ext *x, const struct walk *k)
{
	x->threads[thread_of(k->w)].n.breaches++;
}

static enum drop drop_by(const struct ext *x, struct walk *k, uint32_t reason)
{
	k->plan.why = x->details[reason < x->n_reasons ? reason : 0];
	return DROP_EXTENSION;
}

static void rewrite_from(struct walk *k, const struct evs_answer *a)
{
	struct rewrite *r = &k->plan.rewrite;

	if (!k->plan.gives)
		*r = (struct rewrite){0};
	k->plan.gives = true;
	if (a->sets & EVS_SET_DST)
		memcpy(r->dst, a->dst, sizeof(r->dst));
	if (a->sets & EVS_SET_SRC)
		memcpy(r->src, a->src, sizeof(r->src));
	if (a->sets & EVS_SET_DSCP)
		r->dscp = a->dscp & 63;
	r->what |= (a->sets & EVS_SET_DST ? REWRITE_DST : 0) | (a->sets & EVS_SET_SRC ? REWRITE_SRC : 0) |
		   (a->sets & EVS_SET_DSCP ? REWRITE_DSCP : 0);
}

static bool is_group(const uint8_t mac[6])
{
	return mac[0] & 1;
}

static bool verdict_is_allowed(const struct ext *x, const struct walk *k, const struct evs_answer *a)
{
	if (a->verdict == EVS_DROP)
		return x->is.kind != EVS_CAPTURE;
	return a->verdict == EVS_PASS || (a->verdict == EVS_PACKETS && k->op != 0);
}

static bool sets_are_allowed(const struct ext *x, const struct evs_answer *a)
{
	return a->sets == 0 ||
	       (x->is.kind != EVS_CAPTURE && !(a->sets & ~(EVS_SET_DST | EVS_SET_SRC | EVS_SET_DSCP)) &&
		!(a->sets & EVS_SET_SRC && is_group(a->src)));
}

static void choose(const struct ext *x, struct walk *k, const struct evs_answer *a)
{
	uint8_t n = RTE_MIN(a->n_destinations, PLAN_DESTS);

	k->chosen.is = true;
	k->chosen.flood = a->flood;
	k->chosen.n = 0;
	for (uint8_t i = 0; i < n; i++) {
		uint16_t index = port_id_index(a->destinations[i]);
		const struct snap_port *to = index < k->snap->n_ports ? k->snap->ports[index] : NULL;
		bool is_twice = false;

		for (uint8_t j = 0; j < k->chosen.n; j++)
			is_twice |= k->chosen.ports[j] == index;
		// A port that is there no more is no breach: it may just have gone.
		if (to != NULL && to->id == a->destinations[i] && !is_twice)
			k->chosen.ports[k->chosen.n++] = index;
	}
	if (a->n_destinations > PLAN_DESTS)
		breach(x, k);
}

enum drop ext_flow_in(struct walk *k, struct pkt *p, const void *arg)
{
	const struct ext *x = arg;
	struct evs_flow f;
	struct evs_answer a;

	if (is_gone(x))
		return x->conf.fail_closed ? DROP_EXTENSION_GONE : DROP_NONE;
	fields(x, k, p, &f);
	ask(x, k, x->is.flow_in, &f, &a);
	if (!verdict_is_allowed(x, k, &a) || !sets_are_allowed(x, &a) ||
	    (a.chosen && x->is.kind != EVS_FORWARD)) {
		breach(x, k);
		return DROP_NONE;
	}
	if (a.verdict == EVS_DROP)
		return drop_by(x, k, a.reason);
	if (a.verdict == EVS_PACKETS && k->plan.gives && k->trace == NULL) {
		k->waits = true; // the fields that others before it give, given
		return DROP_NONE;
	}
	if (a.sets != 0)
		rewrite_from(k, &a);
	if (a.verdict == EVS_PACKETS) {
		k->plan.ops |= k->op;
		k->again = x->is.flags & EVS_MODIFIES && k->trace == NULL; // a trace goes on with it as it is
	}
	if (a.chosen)
		choose(x, k, &a);
	if (a.notice && x->is.flows_ended != NULL) {
		k->plan.tells = true;
		k->plan.tell |= UINT64_C(1) << x->index;
	}
	return DROP_NONE;
}

enum drop ext_passes_in(struct walk *k, struct pkt *p, const void *x)
{
	(void)k, (void)p, (void)x;
	return DROP_NONE;
}

enum drop ext_flow_out(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
		       const void *arg)
{
	const struct ext *x = arg;
	struct evs_flow f;
	struct evs_answer a;

	if (is_gone(x))
		return x->conf.fail_closed ? DROP_EXTENSION_GONE : DROP_NONE;
	fields(x, k, p, &f);
	f.destination = dst->id;
	ask(x, k, x->is.flow_out, &f, &a);
	if (!verdict_is_allowed(x, k, &a) || a.sets != 0 || a.chosen) {
		breach(x, k);
		return DROP_NONE;
	}
	if (a.verdict == EVS_DROP)
		return walk_exclude(k, x->details[a.reason < x->n_reasons ? a.reason : 0]);
	if (a.verdict == EVS_PACKETS)
		d->ops |= k->op;
	return DROP_NONE;
}

enum drop ext_gone_in(struct walk *k, struct pkt *p, const void *x)
{
	(void)k, (void)p, (void)x;
	return DROP_EXTENSION_GONE;
}

enum drop ext_gone_out(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
		       const void *x)
{
	(void)k, (void)p, (void)dst, (void)d, (void)x;
	return DROP_EXTENSION_GONE;
}

// Packet calls

struct view {
	struct evs_packet v;
	const struct pkt *p;
};

struct views {
	uint32_t n;
	uint8_t at[PKT_BURST]; // of which packet
	struct evs_packet *list[PKT_BURST];
	struct view of[PKT_BURST];
};

static void view_make(struct view *to, const struct pkt *p, uint32_t source, uint32_t destination)
{
	to->p = p;
	to->v = (struct evs_packet){
	    .size = sizeof(to->v),
	    .length = p->len,
	    .data = p->data,
	    .safe = RTE_MIN(p->head_len, p->len),
	    .source = source,
	    .destination = destination,
	    .vlan = p->vid,
	    .ether_type = p->ether_type,
	    .l3 = p->l3_off,
	    .l4 = p->l4_off,
	    .ip_version = p->ip_version,
	    .ip_proto = p->ip_proto,
	    .fragment = (p->flags & PKT_FRAG) != 0,
	};
}

// Times and counts go in steps, which distances must not follow (the finalizer of splitmix64).
static uint64_t mixed(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

// Whether this packet is one of the sample. The distances are even in the mean, so that no pattern of traffic fits them.
static bool is_sampled(struct ext_counters *n, uint32_t rate, uint64_t random)
{
	if (likely(rate <= 1))
		return true;
	if (n->sample > 1) {
		n->sample--;
		return false;
	}
	n->sample = 1 + mixed(random) % (2 * (uint64_t)rate - 1);
	return true;
}

// Whether none of these is one of the sample; then they are counted, whatever was dropped of them before.
static inline bool are_passed_over(const struct ext *x, const struct worker *w, uint16_t n)
{
	struct ext_counters *count = &x->threads[w->index].n;

	if (count->sample <= n || atomic_load_explicit(&x->sample_rate, memory_order_relaxed) <= 1)
		return false;
	count->sample -= n;
	return true;
}

static void views_make(const struct ext *x, struct worker *w, struct pkt *pkts, const uint8_t *drops,
		       uint16_t n, const struct snap_port *dst, struct views *vs)
{
	struct ext_counters *count = &x->threads[w->index].n;
	uint32_t rate = atomic_load_explicit(&x->sample_rate, memory_order_relaxed);

	vs->n = 0;
	for (uint16_t i = 0; i < n; i++) {
		if (drops[i] != DROP_NONE ||
		    !is_sampled(count, rate, w->now_tsc + (count->packets << 32) + i))
			continue;
		struct view *v = &vs->of[vs->n];

		view_make(v, &pkts[i], w->walk.nobody ? EVS_NO_PORT : w->walk.in->id,
			  dst != NULL ? dst->id : EVS_NO_PORT);
		if (dst != NULL) {
			v->v.tagged = w->out->tagged;
			v->v.tci = w->out->tci;
		}
		vs->list[vs->n] = &v->v;
		vs->at[vs->n++] = i;
	}
}

static void verdicts(const struct ext *x, struct worker *w, const struct views *vs, uint8_t *drops)
{
	struct ext_counters *count = &x->threads[w->index].n;

	for (uint32_t i = 0; i < vs->n; i++) {
		const struct evs_packet *v = &vs->of[i].v;

		if (likely(v->verdict == EVS_PASS))
			continue;
		if (v->verdict != EVS_DROP || x->is.kind == EVS_CAPTURE) {
			count->breaches++;
			continue;
		}
		drops[vs->at[i]] = DROP_EXTENSION;
		w->whys[vs->at[i]] = x->details[v->reason < x->n_reasons ? v->reason : 0];
		w->details[w->whys[vs->at[i]]]++;
	}
}

typedef void packet_call(void *self, const struct evs_call *call, struct evs_packet *const *packets,
			 uint32_t n);

static void packets_give(const struct ext *x, struct worker *w, packet_call *fn, struct views *vs)
{
	struct ext_counters *count = &x->threads[w->index].n;
	struct evs_call c;

	call_begin(x, w, &c);
	uint64_t from = rte_rdtsc();

	fn(x->self, &c, vs->list, vs->n);
	count->cycles += rte_rdtsc() - from;
	count->packets += vs->n;
	blame_leave(c.worker);
}

static void all_gone(const struct ext *x, uint8_t *drops, uint16_t n)
{
	for (uint16_t i = 0; x->conf.fail_closed && i < n; i++)
		if (drops[i] == DROP_NONE)
			drops[i] = DROP_EXTENSION_GONE;
}

// Bytes that may be written to are a copy between guards; those behind them may be a neighbour's.
struct writable {
	uint8_t bytes[PKT_BURST][GUARD + PKT_HEAD + GUARD];
};

static void writable_make(struct views *vs, struct writable *to)
{
	for (uint32_t i = 0; i < vs->n; i++) {
		struct evs_packet *v = &vs->of[i].v;

		v->safe = RTE_MIN(v->safe, PKT_HEAD);
		memset(to->bytes[i], GUARD_VALUE, sizeof(to->bytes[i]));
		memcpy(to->bytes[i] + GUARD, v->data, v->safe);
		v->data = to->bytes[i] + GUARD;
	}
}

static bool is_whole(const uint8_t *guard, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (guard[i] != GUARD_VALUE)
			return false;
	return true;
}

// What it left as it was, or made of it within its bounds.
static bool writable_take(const struct views *vs, const struct writable *from, struct pkt *pkts)
{
	bool well = true;

	for (uint32_t i = 0; i < vs->n; i++) {
		struct pkt *p = &pkts[vs->at[i]];
		const uint32_t safe = RTE_MIN(RTE_MIN(p->head_len, p->len), PKT_HEAD);
		const uint8_t *b = from->bytes[i];

		well &=
		    is_whole(b, GUARD) && is_whole(b + GUARD + safe, sizeof(from->bytes[i]) - GUARD - safe);
		memcpy(p->data, b + GUARD, safe);
	}
	return well;
}

static __attribute__((noinline)) void packets_modify(const struct ext *x, struct worker *w, struct views *vs,
						     struct pkt *pkts)
{
	struct writable bytes;

	writable_make(vs, &bytes);
	packets_give(x, w, x->is.packets_in, vs);
	if (!writable_take(vs, &bytes, pkts))
		ext_fault_mark((struct ext *)x, EXT_FAULT_OVERRUN);
}

// Apart from the look whether there is anything to do: the room for what they are shown is large.
static __attribute__((noinline)) void packets_in(const struct ext *x, struct worker *w, struct pkt *pkts,
						 uint8_t *drops, uint16_t n, const struct snap_port *dst)
{
	struct views vs;

	views_make(x, w, pkts, drops, n, dst, &vs);
	if (vs.n == 0)
		return;
	if (unlikely(x->is.flags & EVS_MODIFIES))
		packets_modify(x, w, &vs, pkts);
	else
		packets_give(x, w, x->is.packets_in, &vs);
	verdicts(x, w, &vs, drops);
}

static __attribute__((noinline)) void packets_out(const struct ext *x, struct worker *w, struct pkt *pkts,
						  uint8_t *drops, uint16_t n, const struct snap_port *dst)
{
	struct views vs;

	views_make(x, w, pkts, drops, n, dst, &vs);
	if (vs.n == 0)
		return;
	packets_give(x, w, x->is.packets_out, &vs);
	verdicts(x, w, &vs, drops);
}

void ext_packets_in(struct worker *w, struct pkt *pkts, uint8_t *drops, uint16_t n,
		    const struct snap_port *dst, void *state)
{
	const struct ext *x = state;

	if (is_gone(x))
		all_gone(x, drops, n);
	else if (!are_passed_over(x, w, n))
		packets_in(x, w, pkts, drops, n, dst);
}

void ext_packets_out(struct worker *w, struct pkt *pkts, uint8_t *drops, uint16_t n,
		     const struct snap_port *dst, void *state)
{
	const struct ext *x = state;

	if (is_gone(x))
		all_gone(x, drops, n);
	else if (!are_passed_over(x, w, n))
		packets_out(x, w, pkts, drops, n, dst);
}

uint32_t ext_packet_read(const struct evs_packet *v, uint32_t offset, void *to, uint32_t n)
{
	const struct pkt *p = ((const struct view *)v)->p;
	struct iovec iov[MAX_PIECES];
	uint16_t n_iov = pkt_iov(p, iov, MAX_PIECES);
	uint32_t done = 0;

	for (uint16_t i = 0; i < n_iov && done < n; i++) {
		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		uint32_t part = RTE_MIN(iov[i].iov_len - offset, n - done);

		memcpy((char *)to + done, (const char *)iov[i].iov_base + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

void ext_dropped(struct worker *w, const struct pkt *p, const struct drop_note *note, void *state)
{
	const struct ext *x = state;
	struct ext_counters *count = &x->threads[w->index].n;
	struct view v;
	struct evs_call c;
	const struct evs_drop d = {.size = sizeof(d),
				   .stage = drop_stage(note->reason),
				   .reason = drop_name(note->reason),
				   .text =
				       note->why != 0 ? drop_detail_text(note->why) : drop_text(note->reason),
				   .extension = note->why != 0 ? drop_detail_owner(note->why) : ""};

	if (is_gone(x))
		return;
	view_make(&v, p, w->snap->ports[p->src]->id, note->dst != NULL ? note->dst->id : EVS_NO_PORT);
	call_begin(x, w, &c);
	uint64_t from = rte_rdtsc();

	x->is.dropped(x->self, &c, &v.v, &d);
	count->cycles += rte_rdtsc() - from;
	count->packets++;
	blame_leave(c.worker);
}
