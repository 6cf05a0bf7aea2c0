// Snapshots: building the next from live objects, publishing it, and freeing what it replaced.
//
// A part is rebuilt when its object is dirty; everything else is shared with the snapshot before. What a build made
// stands in `made` until it is published or discarded; what publishing replaced stands in `retired` until all
// workers have passed (polled, never waited for). Control thread.
#include "snap.h"

#include <assert.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_rcu_qsbr.h>

#include "ctrl/api/err.h"
#include "ctrl/api/log.h"
#include "port_steps.h"
#include "switch.h"
#include "worker.h"

#define VLANS 4096

struct part { // stands in front of everything that a snapshot points to
	alignas(64) struct part *next;
};

static struct {
	_Atomic(struct snap *) now;
	struct snap *next; // built, not published
	struct part *made;
	struct part *retired;
	uint64_t token; // grace period of the last publish
	struct rte_rcu_qsbr *rcu;
} state;

static void list_free(struct part **list)
{
	while (*list != NULL) {
		struct part *p = *list;

		*list = p->next;
		free(p);
	}
}

// Zeroed memory of the build under way.
static void *make(size_t bytes)
{
	struct part *p = aligned_alloc(64, (sizeof(*p) + bytes + 63) & ~(size_t)63);

	if (p == NULL)
		return NULL;
	p->next = state.made;
	state.made = p;
	return memset(p + 1, 0, bytes);
}

static void retire(const void *made)
{
	if (made == NULL)
		return;
	struct part *p = (struct part *)made - 1;

	p->next = state.retired;
	state.retired = p;
}

static struct step *step_insert(struct step *steps, uint8_t *n, enum stage s)
{
	assert(*n < MAX_STEPS);
	uint8_t at = (*n)++;

	for (; at > 0 && steps[at - 1].stage > s; at--)
		steps[at] = steps[at - 1];
	return &steps[at];
}

struct step *snap_step_in(struct snap_port *sp, enum stage s, uint8_t reads, const char *name, step_in_fn fn,
			  const void *arg)
{
	struct step *step = step_insert(sp->in, &sp->n_in, s);

	*step = (struct step){.in = fn, .arg = arg, .name = name, .stage = s};
	sp->reads_in |= reads;
	return step;
}

struct step *snap_step_out(struct snap_port *sp, enum stage s, uint8_t reads, const char *name,
			   step_out_fn fn, const void *arg)
{
	struct step *step = step_insert(sp->out, &sp->n_out, s);

	*step = (struct step){.out = fn, .arg = arg, .name = name, .stage = s};
	sp->reads_out |= reads;
	return step;
}

#define STEPS_KEPT 8
#define OPS_KEPT   4

bool snap_has_room(const struct snap_port *sp, unsigned n_steps, unsigned n_ops)
{
	return sp->n_in + n_steps <= MAX_STEPS - STEPS_KEPT &&
	       sp->n_out + n_steps <= MAX_STEPS - STEPS_KEPT && sp->n_ops + n_ops <= MAX_OPS - OPS_KEPT;
}

uint16_t snap_op(struct snap_port *sp, op_fn run, void *op_state)
{
	assert(sp->n_ops < MAX_OPS);
	sp->ops[sp->n_ops] = (struct op){run, op_state};
	return 1 << sp->n_ops++;
}

void snap_watch(struct snap_port *sp, watch_fn fn, void *watch_state)
{
	if (sp->n_watches < MAX_WATCHES)
		sp->watches[sp->n_watches++] = (struct watch){fn, watch_state};
}

static bool is_shown(const struct port *p)
{
	return p != NULL && !p->leaving && !port_is_held(p);
}

// While the driver is not open, queues know nothing that it could use, whatever `live` says.
static const struct port_driver *shown_driver(const struct port *p)
{
	return p->open ? p->driver : &port_closed;
}

static const struct snap_port *port_build(struct port *p, uint32_t epoch, struct err *e)
{
	struct snap_port *sp = make(sizeof(*sp) + sizeof(p->vlan.allowed));

	if (sp == NULL) {
		err_set(e, -ENOMEM, "port %s: out of memory", p->conf.name);
		return NULL;
	}
	sp->index = p->index;
	sp->id = p->id;
	sp->sw = p->switch_index;
	sp->n_txqs = p->conf.n_queues;
	sp->version = epoch;
	sp->max_payload = p->conf.mtu;
	sp->driver = shown_driver(p);
	sp->live = &p->live;
	sp->txqs = p->txqs;
	sp->counters = p->counters;
	snprintf(sp->name, sizeof(sp->name), "%s", p->conf.name);
	for (const struct snap_feature *const *f = snap_features; *f != NULL; f++)
		if ((*f)->build(p, sp, e) < 0)
			return NULL;
	return sp;
}

static int ports_build(struct snap *s, struct err *e)
{
	const struct snap_port **ports = make(MAX_PORTS * sizeof(struct snap_port *));

	if (ports == NULL)
		return err_set(e, -ENOMEM, "snapshot: out of memory");
	s->ports = ports;
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (!is_shown(p))
			continue;
		bool is_same = !p->built && p->part != NULL && p->part->driver == shown_driver(p);

		ports[i] = is_same ? p->part : port_build(p, s->epoch, e);
		if (ports[i] == NULL)
			return e->code;
		s->n_ports = i + 1;
	}
	return 0;
}

static bool takes_every_vlan(const struct port *p)
{
	return p->conf.type == PORT_UPLINK || p->vlan.mode == VLAN_TRUNK;
}

// The switch with its flood lists: one allocation, lists behind the switch.
struct switch_part {
	struct snap_switch sw;
	const struct snap_flood *by_vid[VLANS];
	uint16_t members[];
};

static void flood_fill(struct switch_part *part, const uint16_t *n_vid, uint16_t n_every, uint16_t sw)
{
	uint16_t *at = part->members;
	struct snap_flood *every = (struct snap_flood *)at, *lists[VLANS] = {0};

	at += sizeof(*every) / sizeof(*at) + n_every;
	for (uint16_t v = 0; v < VLANS; v++) {
		if (n_vid[v] == 0)
			continue;
		at += (uintptr_t)at / sizeof(*at) % 2; // lists begin with a 32-bit count
		part->by_vid[v] = lists[v] = (struct snap_flood *)at;
		at += sizeof(*every) / sizeof(*at) + n_vid[v];
	}
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (!is_shown(p) || p->switch_index != sw)
			continue;
		struct snap_flood *list = takes_every_vlan(p) ? every : lists[p->vlan.vid];

		list->ports[list->n++] = i;
	}
	part->sw.every_vlan = every;
	part->sw.by_vid = part->by_vid;
}

static const struct snap_switch *switch_build(struct vswitch *vs, const struct snap *s, struct err *e)
{
	uint16_t n_vid[VLANS] = {0}, n_every = 0;
	size_t n = 2 * sizeof(struct snap_flood);

	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (!is_shown(p) || p->switch_index != vs->index)
			continue;
		n += sizeof(struct snap_flood) + 2 * sizeof(uint16_t);
		if (takes_every_vlan(p))
			n_every++;
		else
			n_vid[p->vlan.vid]++;
	}
	struct switch_part *part = make(sizeof(*part) + n);

	if (part == NULL) {
		err_set(e, -ENOMEM, "switch %s: out of memory", vs->name);
		return NULL;
	}
	part->sw.index = vs->index;
	part->sw.version = s->epoch;
	for (uint16_t i = 0; i < s->n_ports; i++)
		if (s->ports[i] != NULL && s->ports[i]->sw == vs->index)
			part->sw.reads_out |= s->ports[i]->reads_out;
	part->sw.fdb = vs->fdb;
	snprintf(part->sw.name, sizeof(part->sw.name), "%s", vs->name);
	flood_fill(part, n_vid, n_every, vs->index);
	return &part->sw;
}

static int switches_build(struct snap *s, struct err *e)
{
	const struct snap_switch **list = make(MAX_SWITCHES * sizeof(struct snap_switch *));
	bool dirty[MAX_SWITCHES] = {0};

	if (list == NULL)
		return err_set(e, -ENOMEM, "snapshot: out of memory");
	s->switches = list;
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (p == NULL || (!p->built && !p->leaving))
			continue;
		dirty[p->switch_index] = true;
		if (p->part != NULL) // it may be shown on another one, whose lists name it
			dirty[p->part->sw] = true;
	}
	for (uint16_t i = 0; i < MAX_SWITCHES; i++) {
		struct vswitch *vs = switch_at(i);

		if (vs == NULL || vs->leaving)
			continue;
		list[i] = dirty[i] || vs->part == NULL ? switch_build(vs, s, e) : vs->part;
		if (list[i] == NULL)
			return -ENOMEM;
		s->n_switches = i + 1;
	}
	return 0;
}

static bool held;

void snap_hold(bool hold)
{
	held = hold;
}

// Ports whose driver is open are polled, each queue by the worker at its place; in the order of port and queue.
static int rxqs_build(struct snap *s, struct err *e)
{
	uint32_t n[MAX_WORKERS] = {0};
	struct snap_rxqs *list[MAX_WORKERS];

	for (int fill = 0; fill < 2; fill++) {
		for (uint16_t i = 0; i < s->n_ports; i++) {
			struct port *p = s->ports[i] != NULL ? port_at(i) : NULL;

			for (uint16_t q = 0; p != NULL && p->open && !held && q < p->conf.n_queues; q++) {
				uint16_t w = p->rxqs[q].worker;

				if (fill)
					list[w]->q[list[w]->n++] = &p->rxqs[q];
				else
					n[w]++;
			}
		}
		for (uint16_t w = 0; !fill && w < MAX_WORKERS; w++) {
			list[w] = make(sizeof(*list[w]) + n[w] * sizeof(struct rxq *));
			if (list[w] == NULL)
				return err_set(e, -ENOMEM, "snapshot: out of memory");
			s->rxqs[w] = list[w];
		}
	}
	return 0;
}

// What becomes dirty while a snapshot waits for the disk is for the next one.
static void dirty_take(void)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (p != NULL) {
			p->built = p->dirty;
			p->dirty = false;
		}
	}
}

static void dirty_give_back(void)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (p != NULL) {
			p->dirty |= p->built;
			p->built = false;
		}
	}
}

int snap_build(struct err *e)
{
	struct snap *now = atomic_load(&state.now);
	struct snap *s = make(sizeof(*s));

	if (s == NULL)
		return err_set(e, -ENOMEM, "snapshot: out of memory");
	s->epoch = now != NULL ? now->epoch + 1 : 1;
	dirty_take();
	if (ports_build(s, e) < 0 || switches_build(s, e) < 0 || rxqs_build(s, e) < 0) {
		snap_discard();
		return e->code;
	}
	state.next = s;
	return 0;
}

void snap_discard(void)
{
	state.next = NULL;
	list_free(&state.made);
	dirty_give_back();
}

// A port with an address of its own has a static entry, in its VLAN or, for a trunk, in any.
static uint64_t own_key_of(const struct port *p)
{
	uint16_t fid = takes_every_vlan(p) ? FDB_ANY_FID : p->vlan.vid;

	return is_shown(p) && p->conf.has_mac ? fdb_key(p->conf.mac, fid) : 0;
}

static void own_mac_del(struct port *p)
{
	if (p->own_key == 0 || p->own_key == own_key_of(p))
		return;
	fdb_del(switch_at(p->switch_index)->fdb, p->own_key);
	p->own_key = 0;
}

static void own_mac_add(struct port *p)
{
	uint64_t key = own_key_of(p);

	if (key == p->own_key)
		return; // also a port that is still closing, whose switch may be gone
	struct fdb *fdb = switch_at(p->switch_index)->fdb;

	p->own_key = key;
	if (fdb_add_static(fdb, key, p->index) < 0)
		log_warn("port %s: no room for its address in the forwarding database of %s", p->conf.name,
			 p->conf.switch_name);
	// It may have been learned elsewhere, such as on the uplink before the guest came here.
	if (takes_every_vlan(p))
		fdb_forget(fdb, p->conf.mac);
}

// All old ones go first: ports may have exchanged their addresses, or left one to a successor.
static void own_macs_sync(void)
{
	for (int add = 0; add < 2; add++) {
		for (uint16_t i = 0; i < MAX_PORTS; i++) {
			struct port *p = port_at(i);

			if (p != NULL && (p->built || p->leaving))
				(add ? own_mac_add : own_mac_del)(p);
		}
	}
}

static void ports_published(const struct snap *s)
{
	own_macs_sync();
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (p == NULL)
			continue;
		if (p->part != s->ports[i]) {
			retire(p->part);
			p->part = (struct snap_port *)s->ports[i];
			p->built = true;
		}
		if (p->built)
			bypass_follow(p);
		p->built = false;
	}
	for (uint16_t i = 0; i < MAX_SWITCHES; i++) {
		struct vswitch *vs = switch_at(i);

		if (vs == NULL || vs->part == s->switches[i])
			continue;
		retire(vs->part);
		vs->part = (struct snap_switch *)s->switches[i];
	}
}

void snap_publish(void)
{
	struct snap *s = state.next, *old = atomic_load(&state.now);

	state.next = NULL;
	state.made = NULL;
	atomic_store_explicit(&state.now, s, memory_order_release);
	ports_published(s);
	if (old != NULL) {
		retire(old->ports);
		retire(old->switches);
		for (uint16_t w = 0; w < MAX_WORKERS; w++)
			retire(old->rxqs[w]);
		retire(old);
	}
	state.token = rte_rcu_qsbr_start(state.rcu);
	workers_wake(); // they hold up no grace period, but may have new queues
}

bool snap_grace_over(void)
{
	if (rte_rcu_qsbr_check(state.rcu, state.token, false) != 1)
		return false;
	list_free(&state.retired);
	return true;
}

const struct snap *snap_now(void)
{
	return atomic_load_explicit(&state.now, memory_order_acquire);
}

struct rte_rcu_qsbr *snap_rcu(void)
{
	return state.rcu;
}

int snap_init(struct err *e)
{
	size_t bytes = rte_rcu_qsbr_get_memsize(MAX_WORKERS);

	state.rcu = aligned_alloc(RTE_CACHE_LINE_SIZE, (bytes + 63) & ~(size_t)63);
	if (state.rcu == NULL || rte_rcu_qsbr_init(state.rcu, MAX_WORKERS) != 0)
		return err_set(e, -ENOMEM, "snapshot: out of memory");
	if (snap_build(e) < 0)
		return e->code;
	snap_publish();
	return 0;
}

void snap_fini(void)
{
	struct snap *s = atomic_exchange(&state.now, NULL);

	for (uint16_t i = 0; s != NULL && i < MAX_PORTS; i++)
		retire(s->ports[i]);
	for (uint16_t i = 0; s != NULL && i < MAX_SWITCHES; i++)
		retire(s->switches[i]);
	for (uint16_t w = 0; s != NULL && w < MAX_WORKERS; w++)
		retire(s->rxqs[w]);
	if (s != NULL) {
		retire(s->ports);
		retire(s->switches);
		retire(s);
	}
	list_free(&state.retired);
	list_free(&state.made);
	free(state.rcu);
	state.rcu = NULL;
}
