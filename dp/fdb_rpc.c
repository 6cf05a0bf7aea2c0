// Control methods of forwarding databases, and the configured kind "fdb": static entries.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/module.h"
#include "ctrl/api/timer.h"
#include "ctrl/api/value.h"
#include "save.h"
#include "switch.h"

#define ROWS_PER_STEP 128

#define SWITCH(flags)                                     \
	{                                                 \
		"switch", PARAM_NAME, flags, "the switch" \
	}
#define MAC(flags)                                     \
	{                                              \
		"mac", PARAM_MAC, flags, "the address" \
	}
#define VLAN                                                                                             \
	{                                                                                                \
		"vlan", PARAM_INT, 0, "its VLAN, 0 = untagged frames", .def = "0", .min = 0, .max = 4094 \
	}
#define PORT(flags)                                                 \
	{                                                           \
		"port", PARAM_NAME, flags, "the port that it is on" \
	}

static const struct param add_params[] = {
    SWITCH(PARAM_REQUIRED), MAC(PARAM_REQUIRED), VLAN, PORT(PARAM_REQUIRED), {0}};
static const struct param del_params[] = {SWITCH(PARAM_REQUIRED), MAC(PARAM_REQUIRED), VLAN, {0}};
static const struct param filter_params[] = {
    SWITCH(0), PORT(0), {"vlan", PARAM_INT, 0, "only this VLAN", .min = 0, .max = 4094}, {0}};
static const struct column show_columns[] = {
    {"switch", "the switch", NULL},
    {"vlan", "VLAN, 0 = untagged frames; any = of a trunk's own address", NULL},
    {"mac", "the address", NULL},
    {"port", "the port that it is on", NULL},
    {"kind", "learned or static", NULL},
    {"age", "seconds since it was last seen as a source", "s"},
    {0}};
static const struct column flush_columns[] = {{"entries", "entries removed", NULL}, {0}};
static const struct conf_ref refs[] = {{CONF_OWNER, "port", "port"}, {CONF_OWNER, "switch", "switch"}, {0}};

struct fdb_filter {
	uint16_t sw;
	bool one_switch;
	uint16_t port; // FDB_NO_PORT = all
	int fid;       // -1 = all
	uint32_t cursor;
};

static int filter_from(struct request *rq, struct fdb_filter *f, struct err *e)
{
	const char *sw = rq_str(rq, "switch"), *port = rq_str(rq, "port");

	*f = (struct fdb_filter){.port = FDB_NO_PORT, .fid = -1};
	if (sw != NULL) {
		struct vswitch *vs = switch_find(sw);

		if (vs == NULL)
			return err_set(e, -ENOENT, "switch %s: no such switch", sw);
		f->one_switch = true;
		f->sw = vs->index;
	}
	if (port != NULL) {
		struct port *p = port_find(port);

		if (p == NULL)
			return err_set(e, -ENOENT, "port %s: no such port", port);
		f->port = p->index;
	}
	if (rq_has(rq, "vlan"))
		f->fid = rq_int(rq, "vlan");
	return 0;
}

static void entry_row(struct request *rq, const struct vswitch *vs, const struct fdb_entry *n)
{
	struct port *p = port_at(n->port);
	char mac[VALUE_MAC_LEN];

	if (p == NULL)
		return;
	json_t *vlan = n->fid == FDB_ANY_FID ? json_string("any") : json_integer(n->fid);

	rq_row(rq, json_pack("{s:s, s:o, s:s, s:s, s:s, s:i}", "switch", vs->name, "vlan", vlan, "mac",
			     value_print_mac(n->mac, mac), "port", p->conf.name, "kind",
			     n->flags & FDB_STATIC ? "static" : "learned", "age", n->age_s));
}

static bool matches(const struct fdb_filter *f, const struct fdb_entry *n)
{
	return (f->port == FDB_NO_PORT || f->port == n->port) && (f->fid < 0 || f->fid == n->fid);
}

static int show_step(struct request *rq, void *state, struct err *e)
{
	struct fdb_filter *f = state;
	struct fdb_entry list[ROWS_PER_STEP];
	struct vswitch *vs = switch_at(f->sw);
	uint32_t n = 0;

	(void)e;
	if (vs != NULL && !vs->leaving)
		n = fdb_list(vs->fdb, &f->cursor, list, ROWS_PER_STEP, time_ns() / 1000000000);
	for (uint32_t i = 0; i < n; i++)
		if (matches(f, &list[i]))
			entry_row(rq, vs, &list[i]);
	if (n > 0)
		return 1;
	f->cursor = 0;
	return !f->one_switch && ++f->sw < switches_n();
}

static int fdb_show(struct request *rq, struct err *e)
{
	struct fdb_filter *f = malloc(sizeof(*f));

	if (f == NULL)
		return err_set(e, -ENOMEM, "fdb: out of memory");
	if (filter_from(rq, f, e) < 0) {
		free(f);
		return e->code;
	}
	return rq_more(rq, show_step, f, free);
}

// Learned entries only: static ones are configuration.
static int fdb_flush_call(struct request *rq, struct err *e)
{
	struct fdb_filter f;
	uint32_t n = 0;

	if (filter_from(rq, &f, e) < 0)
		return e->code;
	for (uint16_t i = 0; i < switches_n(); i++)
		if (switch_at(i) != NULL && (!f.one_switch || f.sw == i))
			n += fdb_flush(switch_at(i)->fdb, f.port, f.fid, false);
	rq_row(rq, json_pack("{s:i}", "entries", (int)n));
	return 0;
}

// Static entries

static void row_name(char name[160], const char *sw, int64_t vlan, const char *mac)
{
	snprintf(name, 160, "%s/%lld/%s", sw, (long long)vlan, mac);
}

static int fdb_add(struct request *rq, struct err *e)
{
	char name[160];

	row_name(name, rq_str(rq, "switch"), rq_int(rq, "vlan"), rq_str(rq, "mac"));
	return conf_add(rq, "fdb", name, rq_params(rq, NULL), e);
}

static int fdb_del_call(struct request *rq, struct err *e)
{
	char name[160];

	row_name(name, rq_str(rq, "switch"), rq_int(rq, "vlan"), rq_str(rq, "mac"));
	if (conf_get(NULL, "fdb", name) == NULL)
		return err_set(e, -ENOENT,
			       "fdb %s: no such static entry; learned ones are removed by 'fdb flush'", name);
	return conf_del(rq, "fdb", name, e);
}

static const char *conf_str(const json_t *conf, const char *key)
{
	return json_string_value(json_object_get(conf, key));
}

struct owner_search {
	const char *name;
	const json_t *conf;
	struct err *e;
};

static bool check_owner(const char *port, const json_t *port_conf, void *arg)
{
	struct owner_search *s = arg;
	const char *mac = conf_str(port_conf, "mac");

	if (mac != NULL && strcmp(mac, conf_str(s->conf, "mac")) == 0 &&
	    strcmp(conf_str(port_conf, "switch"), conf_str(s->conf, "switch")) == 0)
		err_add(s->e, -EEXIST, "fdb %s: it is the own address of port %s, which is static already",
			s->name, port);
	return true;
}

static int fdb_validate(const struct conf_view *v, const char *name, const json_t *conf, struct err *e)
{
	const json_t *port = conf_get(v, "port", conf_str(conf, "port"));
	struct owner_search owner = {name, conf, e};
	char want[160];

	conf_each(v, "port", check_owner, &owner);
	if (port != NULL && strcmp(conf_str(port, "switch"), conf_str(conf, "switch")) != 0)
		err_add(e, -EINVAL, "fdb %s: port %s is on switch %s", name, conf_str(conf, "port"),
			conf_str(port, "switch"));
	if (strtol(conf_str(conf, "mac"), NULL, 16) & 1)
		err_add(e, -EINVAL, "fdb %s: a group address has no single port", name);
	row_name(want, conf_str(conf, "switch"), json_integer_value(json_object_get(conf, "vlan")),
		 conf_str(conf, "mac"));
	if (strcmp(want, name) != 0)
		err_add(e, -EINVAL, "fdb %s: the entry's name must be %s", name, want);
	return e->code;
}

struct fdb_edit {
	struct vswitch *vs;
	uint64_t key;
	uint16_t was; // FDB_NO_PORT = there was none
};

static void edit_undo(void *arg)
{
	struct fdb_edit *edit = arg;

	fdb_del(edit->vs->fdb, edit->key);
	if (edit->was != FDB_NO_PORT)
		fdb_add_static(edit->vs->fdb, edit->key, edit->was);
	free(edit);
}

static uint64_t key_of(const json_t *conf)
{
	uint8_t mac[6];

	value_parse_mac(conf_str(conf, "mac"), mac);
	return fdb_key(mac, json_integer_value(json_object_get(conf, "vlan")));
}

// A static entry comes and goes here; taking it back is the undo, so nothing waits for the snapshot, and the next
// change of the batch finds the table as it will be.
static int fdb_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e)
{
	const json_t *conf = now != NULL ? now : old;
	struct vswitch *vs = switch_find(conf_str(conf, "switch"));
	struct fdb_edit *edit = malloc(sizeof(*edit));

	if (edit == NULL)
		return err_set(e, -ENOMEM, "fdb %s: out of memory", name);
	*edit = (struct fdb_edit){vs, key_of(conf), FDB_NO_PORT};
	change_undo(ch, edit_undo, edit);
	change_close(ch, free, edit);
	if (old != NULL) {
		edit->was = fdb_lookup(vs->fdb, edit->key);
		fdb_del(vs->fdb, edit->key);
	}
	if (now == NULL)
		return 0;
	int ret = fdb_add_static(vs->fdb, edit->key, port_find(conf_str(now, "port"))->index);

	return ret == 0 ? 0
			: err_set(e, ret,
				  ret == -ENOSPC
				      ? "fdb %s: the table is full of static entries"
				      : "fdb %s: there is a static entry for another port; remove that first",
				  name);
}

static const struct method methods[] = {
    {"fdb.add", "make a static entry", add_params, NULL, METHOD_WRITE, fdb_add},
    {"fdb.del", "remove a static entry", del_params, NULL, METHOD_WRITE, fdb_del_call},
    {"fdb.flush", "forget learned entries", filter_params, flush_columns, METHOD_WRITE, fdb_flush_call},
    {"fdb.show", "list the addresses that a switch knows", filter_params, show_columns, METHOD_READ,
     fdb_show},
    {0}};
static const struct conf_kind kinds[] = {
    {"fdb", "a static forwarding entry", add_params, refs, NULL, fdb_validate, fdb_open}, {0}};

const struct module fdb_module = {.name = "fdb",
				  .methods = methods,
				  .kinds = kinds,
				  .save = fdb_save,
				  .check = fdb_check,
				  .restore = fdb_restore};
