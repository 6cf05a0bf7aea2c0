// Saving and restoring the addresses that were learned on a port. Static entries are configuration.
//
// Saving goes through the table in steps. Restoring is work for the jobs thread: learning takes no lock and any thread may
// do it, and until the change is published the port is not shown, or is there and learns by itself. Control thread;
// load_work() jobs thread.
#include "save.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/timer.h"
#include "ctrl/api/value.h"
#include "port.h"
#include "switch.h"
#include "worker.h"
#include "vlan_kind.h"

#define STEP        256 // entries looked at, and so addresses of a record
#define ADDRESS_LEN sizeof("02:00:00:00:00:01 4094 65535,")

// By a worker's clock, which stamps what is learned and by which it ages (switch.c); without one nothing is learned.
static uint32_t now_s(void)
{
	const struct worker *w = worker_first();

	return w != NULL ? __atomic_load_n(&w->now_s, __ATOMIC_RELAXED) : (uint32_t)(time_ns() / 1000000000);
}

// "02:00:00:00:00:01 VLAN AGE,": as one text, since so many JSON values take more time than all else.
static char *address_print(const struct fdb_entry *n, char *to)
{
	value_print_mac(n->mac, to);
	return to + strlen(to) +
	       sprintf(to + strlen(to), " %u %u,", n->fid, RTE_MIN(n->age_s, (uint32_t)FDB_AGE_MAX_S));
}

json_t *fdb_save(const char *port, uint64_t *at)
{
	const struct port *p = port_find(port);
	const struct fdb *fdb = p != NULL ? switch_at(p->switch_index)->fdb : NULL;
	struct fdb_entry list[STEP];
	uint32_t cursor = *at, n;

	*at = 0;
	if (fdb == NULL || fdb_port_count(fdb, p->index) == 0)
		return NULL;
	char text[STEP * ADDRESS_LEN], *end = text;

	n = fdb_list(fdb, &cursor, list, STEP, now_s());
	for (uint32_t i = 0; i < n; i++)
		if (list[i].port == p->index && !(list[i].flags & FDB_STATIC))
			end = address_print(&list[i], end);
	*at = n > 0 ? cursor : 0;
	return end > text ? json_stringn_nocheck(text, end - text - 1) : NULL;
}

struct address {
	uint8_t mac[6];
	uint16_t vid, age_s;
};

// What addresses a port can have: of the VLANs that it carries.
struct reach {
	bool every_vlan;
	struct vlan_conf vlan;
};

static bool carries(const struct reach *r, uint16_t vid)
{
	if (r->every_vlan)
		return true;
	return r->vlan.mode == VLAN_TRUNK ? r->vlan.allowed[vid / 64] >> (vid % 64) & 1 : vid == r->vlan.vid;
}

static bool number_from(const char *text, uint16_t max, uint16_t *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*out = n;
	return isdigit((unsigned char)*text) && *end == '\0' && n <= max;
}

// The next address of a record; *at is behind it then.
static int address_from(const char *port, const struct reach *r, const char **at, struct address *a,
			struct err *e)
{
	size_t n = strcspn(*at, ","), len = RTE_MIN(n, ADDRESS_LEN);
	char text[ADDRESS_LEN + 1], *vlan = text, *age;

	memcpy(text, *at, len);
	text[len] = '\0';
	*at += n + ((*at)[n] != '\0');
	strsep(&vlan, " ");
	age = vlan;
	strsep(&age, " ");
	if (n >= ADDRESS_LEN || value_parse_mac(text, a->mac) < 0 || a->mac[0] & 1 ||
	    memcmp(a->mac, "\0\0\0\0\0", 6) == 0 || age == NULL)
		return err_add(e, -EINVAL, "port %s: its state has a learned address that is none: %s", port,
			       text);
	if (!number_from(vlan, 4094, &a->vid))
		return err_add(e, -EINVAL, "port %s: the VLAN of its learned address %s must be 0 to 4094",
			       port, text);
	if (!number_from(age, FDB_AGE_MAX_S, &a->age_s))
		return err_add(e, -EINVAL, "port %s: the age of its learned address %s must be 0 to %u s",
			       port, text, FDB_AGE_MAX_S);
	if (!carries(r, a->vid))
		return err_add(e, -EINVAL,
			       "port %s: its learned address %s is of VLAN %u, which it does not carry", port,
			       text, a->vid);
	return 0;
}

// Whether somebody else has it by configuration. The port may not be there yet.
static void check_static(const char *port, const struct vswitch *vs, const struct address *a, struct err *e)
{
	uint16_t at = fdb_static_port(vs->fdb, a->mac, a->vid);
	const struct port *owner = at != FDB_NO_PORT ? port_at(at) : NULL;
	char mac[VALUE_MAC_LEN];

	if (owner != NULL && strcmp(owner->conf.name, port) != 0)
		err_add(e, -EEXIST, "port %s: its learned address %s, VLAN %u, is that of port %s here", port,
			value_print_mac(a->mac, mac), a->vid, owner->conf.name);
}

static struct reach reach_of(const char *port, const json_t *conf, const json_t *rows)
{
	const char *type = json_string_value(json_object_get(conf, "type"));
	struct reach r = {.every_vlan = type != NULL && strcmp(type, "uplink") == 0};

	vlan_conf_from(rows != NULL ? json_object_get(json_object_get(rows, "vlan"), port)
				    : conf_get(NULL, "vlan", port),
		       &r.vlan);
	return r;
}

int fdb_check(const char *port, const json_t *conf, const json_t *rows, const json_t *records, size_t which,
	      struct err *e)
{
	const struct reach reach = reach_of(port, conf, rows);
	const char *sw = json_string_value(json_object_get(conf, "switch"));
	const struct vswitch *vs = sw != NULL ? switch_find(sw) : NULL;
	const char *at = json_string_value(json_array_get(records, which));
	struct address a;

	if (at == NULL)
		return err_add(e, -EINVAL, "port %s: its state has no list of learned addresses", port);
	if (strlen(at) >= STEP * ADDRESS_LEN)
		return err_add(e, -EINVAL, "port %s: its state has more than %u addresses in one record",
			       port, STEP);
	while (*at != '\0')
		if (address_from(port, &reach, &at, &a, e) == 0 && vs != NULL)
			check_static(port, vs, &a, e);
	return e->code;
}

struct load {
	char port[PORT_NAME_SIZE];
	struct fdb *fdb;
	uint16_t index;
	struct reach reach;
	json_t *records;
	uint32_t now_s;
	uint64_t *keys; // that are there because of us
	size_t n_keys;
};

static int address_load(struct load *l, const char **at, struct err *e)
{
	struct address a;

	if (address_from(l->port, &l->reach, at, &a, e) < 0)
		return e->code;
	uint64_t key = fdb_key(a.mac, a.vid);
	uint32_t seen_s = l->now_s - a.age_s;

	if (fdb_lookup(l->fdb, key) == l->index)
		return 0; // it has been heard here since
	enum fdb_result r = fdb_learn(l->fdb, key, l->index, seen_s);

	if (r == FDB_REFUSED_MOVES) { // this one is no loop
		fdb_del(l->fdb, key);
		r = fdb_learn(l->fdb, key, l->index, seen_s);
	}
	if (r == FDB_FULL)
		return err_set(e, -ENOSPC,
			       "port %s: there is no room for its learned addresses on its switch", l->port);
	if (r == FDB_LEARNED || r == FDB_MOVED)
		l->keys[l->n_keys++] = key;
	return 0;
}

static int load_work(void *arg, struct err *e)
{
	struct load *l = arg;
	const json_t *record;
	size_t i;

	json_array_foreach (l->records, i, record)
		for (const char *at = json_string_value(record); *at != '\0';)
			if (address_load(l, &at, e) < 0)
				return e->code;
	return 0;
}

static void load_free(void *arg)
{
	struct load *l = arg;

	json_decref(l->records);
	free(l->keys);
	free(l);
}

static void load_undo(void *arg)
{
	struct load *l = arg;

	for (size_t i = 0; i < l->n_keys; i++)
		if (fdb_lookup(l->fdb, l->keys[i]) == l->index)
			fdb_del(l->fdb, l->keys[i]);
	load_free(l);
}

// At most.
static size_t n_addresses(const json_t *records)
{
	const json_t *record;
	size_t i, n = 0;

	json_array_foreach (records, i, record)
		n += json_string_length(record) / sizeof("02:00:00:00:00:01 0 0") + 1;
	return n;
}

int fdb_restore(struct change *ch, const char *port, const json_t *records, struct err *e)
{
	const struct port *p = port_find(port);
	struct load *l = calloc(1, sizeof(*l));

	if (l != NULL)
		l->keys = malloc((n_addresses(records) + 1) * sizeof(*l->keys));
	if (l == NULL || l->keys == NULL) {
		free(l);
		return err_set(e, -ENOMEM, "port %s: out of memory", port);
	}
	strcpy(l->port, p->conf.name);
	l->fdb = switch_at(p->switch_index)->fdb;
	l->index = p->index;
	l->reach = (struct reach){p->conf.type == PORT_UPLINK, p->vlan};
	l->records = json_incref((json_t *)records);
	l->now_s = now_s();
	change_undo(ch, load_undo, l);
	change_job(ch, load_work, l);
	change_close(ch, load_free, l);
	return 0;
}
