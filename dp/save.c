// Saving and restoring a port's run-time state, for migration and upgrade. Control thread.
//
// Restored counters go into the control thread's own block, so that workers' blocks keep one writer. Nothing
// names a port or switch by number.
#include "save.h"

#include <errno.h>
#include <string.h>

#include "ctrl/api/timer.h"
#include "ctrl/api/value.h"
#include "port.h"
#include "switch.h"

#define LIST_STEP 256

static const struct {
	const char *name;
	size_t offset;
} fields[] = {
    {"rx_packets", offsetof(struct port_counters, rx_packets)},
    {"rx_bytes", offsetof(struct port_counters, rx_bytes)},
    {"tx_packets", offsetof(struct port_counters, tx_packets)},
    {"tx_bytes", offsetof(struct port_counters, tx_bytes)},
    {"made", offsetof(struct port_counters, made)},
    {"delivered", offsetof(struct port_counters, delivered)},
    {"consumed", offsetof(struct port_counters, consumed)},
    {"held_in", offsetof(struct port_counters, held_in)},
    {"held_out", offsetof(struct port_counters, held_out)},
};

static uint64_t *field_of(struct port_counters *n, size_t i)
{
	return (uint64_t *)((char *)n + fields[i].offset);
}

static struct port *port_named(const char *name, struct err *e)
{
	struct port *p = port_find(name);

	if (p == NULL)
		err_set(e, -ENOENT, "port %s: no such port", name);
	return p;
}

json_t *port_save(const char *port)
{
	struct port *p = port_named(port, NULL);
	json_t *state = json_object(), *dropped = json_object();
	struct port_counters n;

	if (p == NULL) {
		json_decref(state);
		json_decref(dropped);
		return NULL;
	}
	port_counters_sum(p, &n);
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		json_object_set_new(state, fields[i].name, json_integer(*field_of(&n, i)));
	for (int d = 1; d < N_DROPS; d++)
		if (n.dropped[d] > 0)
			json_object_set_new(dropped, drop_name(d), json_integer(n.dropped[d]));
	json_object_set_new(state, "dropped", dropped);
	return state;
}

static int drop_find(const char *name)
{
	for (int d = 1; d < N_DROPS; d++)
		if (strcmp(drop_name(d), name) == 0)
			return d;
	return 0;
}

static int dropped_from(const char *port, const json_t *state, struct port_counters *n, struct err *e)
{
	json_t *value;
	const char *name;

	json_object_foreach ((json_t *)json_object_get(state, "dropped"), name, value) {
		int d = drop_find(name);

		if (d == 0 || !json_is_integer(value))
			return err_set(e, -EINVAL,
				       "port %s: saved state has a drop reason that is unknown here: %s",
				       port, name);
		n->dropped[d] = json_integer_value(value);
	}
	return 0;
}

int port_restore(const char *port, const json_t *state, struct err *e)
{
	struct port *p = port_named(port, e);
	struct port_counters n = {0};

	if (p == NULL)
		return e->code;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		const json_t *value = json_object_get(state, fields[i].name);

		if (!json_is_integer(value))
			return err_set(e, -EINVAL, "port %s: saved state lacks the counter %s", port,
				       fields[i].name);
		*field_of(&n, i) = json_integer_value(value);
	}
	if (dropped_from(port, state, &n, e) < 0)
		return e->code;
	for (size_t i = 0; i < sizeof(n) / sizeof(uint64_t); i++)
		((uint64_t *)p->counters[MAX_WORKERS])[i] += ((uint64_t *)&n)[i];
	return 0;
}

// Static entries are configuration; only what was learned is state.
json_t *fdb_save(const char *port)
{
	struct port *p = port_named(port, NULL);
	struct fdb_entry list[LIST_STEP];
	uint32_t cursor = 0, n;
	char mac[VALUE_MAC_LEN];

	if (p == NULL || fdb_port_count(switch_at(p->switch_index)->fdb, p->index) == 0)
		return NULL;
	json_t *state = json_array();

	while ((n = fdb_list(switch_at(p->switch_index)->fdb, &cursor, list, LIST_STEP,
			     time_ns() / 1000000000)) > 0)
		for (uint32_t i = 0; i < n; i++)
			if (list[i].port == p->index && !(list[i].flags & FDB_STATIC))
				json_array_append_new(state, json_pack("{s:s, s:i}", "mac",
								       value_print_mac(list[i].mac, mac),
								       "vlan", list[i].fid));
	return state;
}

int fdb_restore(const char *port, const json_t *state, struct err *e)
{
	struct port *p = port_named(port, e);
	const json_t *entry;
	size_t i;

	if (p == NULL)
		return e->code;
	json_array_foreach ((json_t *)state, i, entry) {
		const char *text = json_string_value(json_object_get(entry, "mac"));
		json_int_t vlan = json_integer_value(json_object_get(entry, "vlan"));
		uint8_t mac[6];

		if (text == NULL || value_parse_mac(text, mac) < 0 || mac[0] & 1 || vlan < 0 || vlan > 4094)
			return err_set(e, -EINVAL, "port %s: saved address %zu is not one", port, i + 1);
		fdb_learn(switch_at(p->switch_index)->fdb, fdb_key(mac, vlan), p->index,
			  time_ns() / 1000000000);
	}
	return 0;
}
