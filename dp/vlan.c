// VLAN modes, the control side: the configured kind "vlan" (one row per port that has a mode) and the steps that a
// port's mode needs. Control thread.
#include "vlan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/err.h"
#include "ctrl/api/value.h"
#include "port.h"
#include "snap.h"
#include "switch.h"
#include "vlan_kind.h"

// Without a native VLAN untagged frames do not pass. Prune always wins, over the native VLAN too.
static void trunk_from(const json_t *conf, struct vlan_conf *c)
{
	const char *allowed = json_string_value(json_object_get(conf, "allowed"));
	const char *prune = json_string_value(json_object_get(conf, "prune"));
	struct value_vlans yes = {0}, no = {0};

	const json_t *native = json_object_get(conf, "native");

	c->vid = json_integer_value(native);
	if (allowed != NULL)
		value_parse_vlans(allowed, &yes);
	if (prune != NULL)
		value_parse_vlans(prune, &no);
	for (uint16_t v = 0; v < 4096; v++)
		if (((native != NULL && v == c->vid) || value_vlans_has(&yes, v)) && !value_vlans_has(&no, v))
			c->allowed[v / 64] |= 1ull << (v % 64);
}

void vlan_conf_from(const json_t *conf, struct vlan_conf *c)
{
	const char *mode = json_string_value(json_object_get(conf, "mode"));

	memset(c, 0, sizeof(*c));
	if (mode == NULL || strcmp(mode, "untagged") == 0)
		return;
	if (strcmp(mode, "access") == 0) {
		c->mode = VLAN_ACCESS;
		c->vid = json_integer_value(json_object_get(conf, "vlan"));
		return;
	}
	c->mode = VLAN_TRUNK;
	trunk_from(conf, c);
}

static void check_key(const char *name, const json_t *conf, const char *mode, const char *key,
		      const char *belongs, struct err *e)
{
	if (json_object_get(conf, key) != NULL && strcmp(mode, belongs) != 0)
		err_add(e, -EINVAL, "vlan %s: %s goes with mode %s", name, key, belongs);
}

int vlan_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e)
{
	const char *mode = json_string_value(json_object_get(conf, "mode"));
	const char *type = json_string_value(json_object_get(conf_get(target, "port", name), "type"));

	check_key(name, conf, mode, "vlan", "access", e);
	check_key(name, conf, mode, "allowed", "trunk", e);
	check_key(name, conf, mode, "prune", "trunk", e);
	check_key(name, conf, mode, "native", "trunk", e);
	if (strcmp(mode, "access") == 0 && json_object_get(conf, "vlan") == NULL)
		err_add(e, -EINVAL, "vlan %s: mode access needs a vlan", name);
	if (strcmp(mode, "trunk") == 0 && json_object_get(conf, "allowed") == NULL)
		err_add(e, -EINVAL, "vlan %s: mode trunk needs the allowed VLANs, such as allowed 10-20,30",
			name);
	if (type != NULL && strcmp(type, "uplink") == 0)
		err_add(e, -EINVAL, "vlan %s: an uplink carries every VLAN; set the mode on the other ports",
			name);
	return e->code;
}

struct vlan_edit {
	struct port *p;
	struct vlan_conf conf;
	bool forget; // something may have been learned with it
};

static void edit_undo(void *arg)
{
	struct vlan_edit *was = arg;

	was->p->vlan = was->conf;
	was->p->dirty = true;
	free(was);
}

// Addresses learned in the VLAN that was left would only misdirect. Workers have the new mode by now.
static void edit_close(void *arg)
{
	struct vlan_edit *was = arg;

	if (was->forget)
		port_forget_learned(was->p);
	free(was);
}

int vlan_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e)
{
	struct port *p = port_find(name);

	(void)old;
	if (p == NULL)
		return 0; // the port goes too
	struct vlan_edit *was = malloc(sizeof(*was));

	if (was == NULL)
		return err_set(e, -ENOMEM, "vlan %s: out of memory", name);
	*was = (struct vlan_edit){
	    p, p->vlan, p->part != NULL || fdb_port_count(switch_at(p->switch_index)->fdb, p->index) > 0};
	change_undo(ch, edit_undo, was);
	change_close(ch, edit_close, was);
	vlan_conf_from(now, &p->vlan);
	p->dirty = true;
	return 0;
}

static int vlan_build(const struct port *p, struct snap_port *sp, struct err *e)
{
	bool trunk = p->conf.type == PORT_UPLINK || p->vlan.mode == VLAN_TRUNK;

	(void)e;
	sp->vid = p->vlan.vid;
	if (trunk && p->conf.type != PORT_UPLINK) {
		// Room for the map stands behind the port (snap.c).
		uint64_t *allowed = (uint64_t *)(sp + 1);

		memcpy(allowed, p->vlan.allowed, sizeof(p->vlan.allowed));
		sp->vlan_allowed = allowed;
	}
	snap_step_in(sp, STAGE_CLASSIFY, STEP_READS_L2, "vlan",
		     trunk ? vlan_classify_trunk : vlan_classify_access, NULL);
	snap_step_in(sp, STAGE_POLICY_IN, STEP_READS_L2, "vlan", trunk ? vlan_in_trunk : vlan_in_access,
		     NULL);
	snap_step_out(sp, STAGE_POLICY_OUT, STEP_READS_L2, "vlan", trunk ? vlan_out_trunk : vlan_out_access,
		      NULL);
	return 0;
}

const struct snap_feature vlan_feature = {"vlan", vlan_build};
