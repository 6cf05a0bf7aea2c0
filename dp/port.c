// Ports: the configured kind, what drivers report, and the sums of counters. Control thread.
#include "port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/err.h"
#include "ctrl/api/event.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "ctrl/api/value.h"
#include "port_hold.h"
#include "port_kind.h"
#include "port_life.h"
#include "port_steps.h"
#include "port_watch.h"
#include "snap.h"
#include "switch.h"

#define MAX_DRIVERS 8

static const struct port_driver *drivers[MAX_DRIVERS];

void port_driver_register(const struct port_driver *d)
{
	for (int i = 0; i < MAX_DRIVERS; i++) {
		if (drivers[i] == NULL || drivers[i] == d) {
			drivers[i] = d;
			return;
		}
	}
	abort();
}

const struct port_driver *port_driver_for(const struct port_conf *c)
{
	for (int i = 0; i < MAX_DRIVERS && drivers[i] != NULL; i++)
		if (drivers[i]->claims(c))
			return drivers[i];
	return NULL;
}

// What drivers report

static const char *const state_names[] = {"opening", "waiting", "up", "failed"};

const char *port_state_name(enum port_state state)
{
	return state_names[state];
}

// `why` is made printable first: an interface's name may hold any byte.
static void state_set(struct port *p, enum port_state state, char *why)
{
	value_make_printable(why);
	if (p->state == state && strcmp(p->why, why) == 0)
		return;
	p->state = state;
	p->state_since_ns = time_ns();
	snprintf(p->why, sizeof(p->why), "%s", why);
	log_info("port %s: %s%s%s", p->conf.name, state_names[state], why[0] ? ": " : "", why);
	port_hold_sync(p);
}

void port_state_set(struct port *p, enum port_state state, const char *why, ...)
{
	char text[sizeof(p->why)] = "";
	va_list ap;

	if (why != NULL) {
		va_start(ap, why);
		vsnprintf(text, sizeof(text), why, ap);
		va_end(ap);
	}
	state_set(p, state, text);
}

struct report {
	uint16_t index;
	enum port_state state;
	char name[PORT_NAME_SIZE];
	char why[256];
};

static void report_heard(void *arg)
{
	struct report *r = arg;
	struct port *p = port_at(r->index);

	if (p != NULL && strcmp(p->conf.name, r->name) == 0 && !p->leaving)
		state_set(p, r->state, r->why);
	free(r);
}

void port_state_post(const struct port *p, enum port_state state, const char *why, ...)
{
	struct report *r = calloc(1, sizeof(*r));
	va_list ap;

	if (r == NULL)
		return;
	r->index = p->index;
	r->state = state;
	snprintf(r->name, sizeof(r->name), "%s", p->conf.name);
	if (why != NULL) {
		va_start(ap, why);
		vsnprintf(r->why, sizeof(r->why), why, ap);
		va_end(ap);
	}
	control_post("port state", report_heard, r);
}

void port_counters_sum(const struct port *p, struct port_counters *out)
{
	uint64_t *sum = (uint64_t *)out;

	memset(out, 0, sizeof(*out));
	for (uint16_t w = 0; w <= MAX_WORKERS; w++) {
		const uint64_t *part = (const uint64_t *)p->counters[w];

		for (size_t i = 0; part != NULL && i < sizeof(*out) / sizeof(uint64_t); i++)
			sum[i] += __atomic_load_n(&part[i], __ATOMIC_RELAXED);
	}
}

void port_gift_free(struct port_gift *g)
{
	for (unsigned i = 0; i < g->n_fds; i++)
		if (g->fds[i] >= 0)
			close(g->fds[i]);
	json_decref(g->what);
	*g = (struct port_gift){0};
}

void port_forget_learned(struct port *p)
{
	fdb_flush(switch_at(p->switch_index)->fdb, p->index, -1, false);
}

// Steps that every port has

static int port_steps_build(const struct port *p, struct snap_port *sp, struct err *e)
{
	(void)e;
	snap_step_in(sp, STAGE_CLASSIFY, STEP_READS_L2, "frame", port_classify, NULL);
	if (p->conf.type == PORT_UPLINK)
		sp->flags |= SNAP_UPLINK;
	if (p->conf.type == PORT_GUEST && p->conf.n_queues > 1)
		sp->flags |= SNAP_STEERS;
	if (p->conf.has_mac && p->conf.type != PORT_UPLINK) {
		sp->flags |= SNAP_OWN_MAC;
		memcpy(sp->mac, p->conf.mac, sizeof(sp->mac));
		snap_step_in(sp, STAGE_POLICY_IN, STEP_READS_L2, "source address", port_in_own_mac, NULL);
	}
	snap_step_out(sp, STAGE_POLICY_OUT, STEP_READS_L2, "mtu", port_out_mtu, NULL);
	return 0;
}

const struct snap_feature port_feature = {"port", port_steps_build};

// Configuration

static void copy_str(char *to, size_t size, const json_t *conf, const char *key)
{
	const char *s = json_string_value(json_object_get(conf, key));

	snprintf(to, size, "%s", s != NULL ? s : "");
}

void port_conf_from(const char *name, const json_t *conf, struct port_conf *c)
{
	const char *type = json_string_value(json_object_get(conf, "type"));
	const char *mac = json_string_value(json_object_get(conf, "mac"));
	const char *mode = json_string_value(json_object_get(conf, "mode"));
	const char *datapath = json_string_value(json_object_get(conf, "datapath"));

	memset(c, 0, sizeof(*c));
	snprintf(c->name, sizeof(c->name), "%s", name);
	copy_str(c->switch_name, sizeof(c->switch_name), conf, "switch");
	copy_str(c->socket, sizeof(c->socket), conf, "socket");
	copy_str(c->device, sizeof(c->device), conf, "device");
	copy_str(c->ifname, sizeof(c->ifname), conf, "ifname");
	copy_str(c->vm, sizeof(c->vm), conf, "vm");
	copy_str(c->bypass, sizeof(c->bypass), conf, "bypass");
	c->type = strcmp(type, "guest") == 0    ? PORT_GUEST
		  : strcmp(type, "uplink") == 0 ? PORT_UPLINK
						: PORT_HOST;
	c->server = mode != NULL && strcmp(mode, "server") == 0;
	c->library = datapath != NULL && strcmp(datapath, "library") == 0;
	c->n_queues = json_integer_value(json_object_get(conf, "queues"));
	c->mtu = json_integer_value(json_object_get(conf, "mtu"));
	c->await_s = json_integer_value(json_object_get(conf, "await-state"));
	c->has_mac = mac != NULL && value_parse_mac(mac, c->mac) == 0;
}

static void check_keys(const struct port_conf *c, const json_t *conf, struct err *e)
{
	const char *path = json_string_value(json_object_get(conf, "socket"));
	const char *ifn = json_string_value(json_object_get(conf, "ifname"));
	bool device = c->device[0] != '\0', socket = c->socket[0] != '\0', ifname = c->ifname[0] != '\0';

	if (c->type == PORT_GUEST && device == socket)
		err_add(e, -EINVAL, "port %s: a guest port needs either a socket or a device", c->name);
	if (c->type == PORT_UPLINK && (!device || socket))
		err_add(e, -EINVAL, "port %s: an uplink needs a device, and takes no socket", c->name);
	if (c->type == PORT_HOST && (!ifname || device || socket))
		err_add(e, -EINVAL,
			"port %s: a host port needs an ifname, and takes neither socket nor device", c->name);
	if (c->type != PORT_HOST && ifname)
		err_add(e, -EINVAL, "port %s: only a host port has an ifname", c->name);
	if (path != NULL && strlen(path) >= sizeof(c->socket))
		err_add(e, -ENAMETOOLONG,
			"port %s: socket has more than %zu characters, the limit of unix sockets", c->name,
			sizeof(c->socket) - 1);
	if (ifn != NULL && strlen(ifn) >= sizeof(c->ifname))
		err_add(e, -ENAMETOOLONG,
			"port %s: ifname has more than %zu characters, the limit of interfaces", c->name,
			sizeof(c->ifname) - 1);
	if (!socket && json_object_get(conf, "mode") != NULL)
		err_add(e, -EINVAL, "port %s: mode goes with a socket", c->name);
	if (!socket && json_object_get(conf, "datapath") != NULL)
		err_add(e, -EINVAL, "port %s: datapath goes with a socket", c->name);
	if (c->has_mac && (c->type == PORT_UPLINK || c->mac[0] & 1 || memcmp(c->mac, "\0\0\0\0\0", 6) == 0))
		err_add(e, -EINVAL,
			"port %s: mac is the address of one vNIC: not a group address, not on an uplink",
			c->name);
}

static void check_switch(const struct conf_view *v, const struct port_conf *c, struct err *e)
{
	const json_t *sw = conf_get(v, "switch", c->switch_name);
	const char *kind = sw != NULL ? json_string_value(json_object_get(sw, "kind")) : NULL;

	if (kind == NULL)
		return; // the engine says so
	if (c->type == PORT_UPLINK && strcmp(kind, "external") != 0)
		err_add(e, -EINVAL, "port %s: switch %s is %s and has no uplinks; use an external switch",
			c->name, c->switch_name, kind);
	if (c->type == PORT_HOST && strcmp(kind, "private") == 0)
		err_add(e, -EINVAL, "port %s: switch %s is private and has guests only", c->name,
			c->switch_name);
}

struct static_search {
	const struct port_conf *c;
	const json_t *conf;
	struct err *e;
};

static bool same_str(const json_t *a, const json_t *b, const char *key)
{
	const char *x = json_string_value(json_object_get(a, key)),
		   *y = json_string_value(json_object_get(b, key));

	return x != NULL && y != NULL && strcmp(x, y) == 0;
}

static bool check_static(const char *name, const json_t *entry, void *arg)
{
	struct static_search *t = arg;

	if (same_str(t->conf, entry, "mac") && same_str(t->conf, entry, "switch"))
		err_add(t->e, -EEXIST, "port %s: mac has the static entry %s; remove it with 'fdb del' first",
			t->c->name, name);
	return true;
}

// What stays as it is for a port's life.
static void check_fixed(const struct port_conf *c, struct err *e)
{
	const json_t *now = conf_get(NULL, "port", c->name);

	if (now != NULL && json_integer_value(json_object_get(now, "queues")) != c->n_queues)
		err_add(e, -EBUSY, "port %s: its number of queues is fixed; delete the port and add it again",
			c->name);
}

int port_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e)
{
	struct port_conf c;
	struct static_search t = {.c = &c, .conf = conf, .e = e};

	port_conf_from(name, conf, &c);
	check_keys(&c, conf, e);
	check_switch(target, &c, e);
	bypass_validate(&c, e);
	check_fixed(&c, e);
	if (c.has_mac)
		conf_each(target, "fdb", check_static, &t);
	if (e->code != 0)
		return e->code;
	const struct port_driver *d = port_driver_for(&c);

	if (d == NULL)
		return err_set(e, -ENOTSUP, "port %s: no driver for such a port", name);
	return d->validate != NULL ? d->validate(&c, e) : 0;
}

// Changes

static void added_undo(void *port)
{
	struct port *p = port;

	port_table_del(p);
	port_life_end(p);
}

static int port_add_open(struct change *ch, const char *name, const json_t *now, struct err *e)
{
	struct port_conf c;

	port_conf_from(name, now, &c);
	struct port *p = port_create(&c, e);

	if (p == NULL)
		return e->code;
	port_table_add(p);
	change_undo(ch, added_undo, p);
	if (port_watch_adding(ch, p, e) < 0)
		return e->code;
	change_job(ch, change_is_restore(ch) ? port_life_try : port_life_open, p);
	change_publish(ch, port_life_published, p);
	return 0;
}

static void del_undo(void *port)
{
	port_table_add(port);
	port_life_resume(port);
}

static void del_published(void *port)
{
	struct port *p = port;

	atomic_store(&p->live.up, false);
	port_life_stop(p);
}

static void del_close(void *port)
{
	struct port *p = port;

	port_watch_removed(p, p->switch_index);
	fdb_flush(switch_at(p->switch_index)->fdb, p->index, -1, true);
	bypass_end(p);
	port_life_end(p);
}

static int port_del_open(struct change *ch, const char *name)
{
	struct port *p = port_find(name);

	port_table_del(p);
	port_life_hold(p);
	change_undo(ch, del_undo, p);
	change_publish(ch, del_published, p);
	change_close(ch, del_close, p);
	return 0;
}

struct port_edit { // what an undo needs
	struct port *p;
	struct port_conf conf;
	const struct port_driver *driver;
	uint16_t switch_index;
	bool open;
};

static void edit_undo(void *arg)
{
	struct port_edit *was = arg;
	struct port *p = was->p;

	p->conf = was->conf;
	p->driver = was->driver;
	p->switch_index = was->switch_index;
	p->open = was->open;
	p->dirty = true;
	port_life_resume(p);
	free(was);
}

static bool needs_reopen(const struct port *p, const struct port_conf *a, const struct port_conf *b)
{
	if (a->type != b->type || a->server != b->server || a->library != b->library ||
	    a->has_mac != b->has_mac || memcmp(a->mac, b->mac, sizeof(a->mac)) != 0 ||
	    strcmp(a->switch_name, b->switch_name) != 0 || strcmp(a->socket, b->socket) != 0 ||
	    strcmp(a->device, b->device) != 0 || strcmp(a->ifname, b->ifname) != 0)
		return true;
	return a->mtu != b->mtu && p->driver->mtu_changed == NULL;
}

static void reopen_published(void *arg)
{
	struct port_edit *was = arg;
	struct port *p = was->p;

	atomic_store(&p->live.up, false);
	if (was->switch_index != p->switch_index && p->own_key != 0) {
		fdb_del(switch_at(was->switch_index)->fdb, p->own_key);
		p->own_key = 0;
	}
	port_life_stop(p);
}

// Only now are the addresses forgotten that were learned on the old switch: workers learn until they have left.
static void reopen_close(void *arg)
{
	struct port_edit *was = arg;
	struct vswitch *vs = switch_at(was->switch_index); // NULL: it was deleted with the same change

	if (vs != NULL)
		fdb_flush(vs->fdb, was->p->index, -1, false);
	if (was->switch_index != was->p->switch_index)
		port_watch_removed(was->p, was->switch_index);
	else
		port_watch_updated(was->p);
	port_hold_sync(was->p);
	port_life_reopen(was->p);
	free(was);
}

static void edit_close(void *arg)
{
	struct port_edit *was = arg;

	port_watch_updated(was->p);
	port_hold_sync(was->p);
	port_life_resume(was->p);
	free(was);
}

static int port_set_open(struct change *ch, const char *name, const json_t *now, struct err *e)
{
	struct port *p = port_find(name);
	struct port_conf c;

	port_conf_from(name, now, &c);
	struct port_edit *was = malloc(sizeof(*was));

	if (was == NULL)
		return err_set(e, -ENOMEM, "port %s: out of memory", name);
	*was = (struct port_edit){p, p->conf, p->driver, p->switch_index, p->open};
	port_life_hold(p);
	change_undo(ch, edit_undo, was);
	p->conf = c;
	p->driver = port_driver_for(&c);
	p->switch_index = switch_find(c.switch_name)->index;
	p->dirty = true;
	if (p->switch_index != was->switch_index && port_watch_adding(ch, p, e) < 0)
		return e->code;
	if (needs_reopen(p, &was->conf, &c) || p->driver != was->driver) {
		p->open = false;
		change_publish(ch, reopen_published, was);
		change_close(ch, reopen_close, was);
	} else {
		change_close(ch, edit_close, was);
	}
	return 0;
}

int port_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e)
{
	if (old == NULL)
		return port_add_open(ch, name, now, e);
	return now == NULL ? port_del_open(ch, name) : port_set_open(ch, name, now, e);
}
