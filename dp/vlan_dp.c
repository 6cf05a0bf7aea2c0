// VLAN modes, the workers' side: which VLAN a frame belongs to, whether the port may, and how it leaves.
//
// Priority-tagged frames (VLAN 0 in the tag) count as untagged. A second tag is opaque; but a frame never
// leaves with its second tag in front, or a guest could choose the VLAN of the next switch (double tagging).
#include "vlan.h"

#include <rte_branch_prediction.h>

#include "walk.h"

#define VID(tci) ((tci)&0xfff)

static bool is_tagged(const struct pkt *p)
{
	return p->flags & PKT_TAGGED && VID(p->tci) != 0;
}

enum drop vlan_classify_access(struct walk *k, struct pkt *p, const void *arg)
{
	(void)arg;
	p->vid = k->in->vid;
	return DROP_NONE;
}

enum drop vlan_classify_trunk(struct walk *k, struct pkt *p, const void *arg)
{
	(void)arg;
	p->vid = is_tagged(p) ? VID(p->tci) : k->in->vid;
	return DROP_NONE;
}

enum drop vlan_in_access(struct walk *k, struct pkt *p, const void *arg)
{
	(void)k;
	(void)arg;
	if (likely(!(p->flags & (PKT_TAGGED | PKT_STAG | PKT_INNER_TAG))))
		return DROP_NONE;
	// A bare priority tag is no VLAN; a tag behind it is one.
	return p->flags & (PKT_STAG | PKT_INNER_TAG) || is_tagged(p) ? DROP_VLAN_TAGGED : DROP_NONE;
}

enum drop vlan_in_trunk(struct walk *k, struct pkt *p, const void *arg)
{
	(void)arg;
	if (unlikely(p->flags & PKT_STAG))
		return DROP_VLAN_TPID;
	// VLAN 4095 is reserved (802.1Q, table 9-2).
	return likely(snap_port_has_vlan(k->in, p->vid) && p->vid != 0xfff) ? DROP_NONE
									    : DROP_VLAN_NOT_ALLOWED;
}

static enum drop leave_untagged(const struct pkt *p)
{
	return likely(!(p->flags & PKT_INNER_TAG)) ? DROP_NONE : DROP_VLAN_INNER_TAG;
}

enum drop vlan_out_access(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
			  const void *arg)
{
	(void)k;
	(void)arg;
	d->tagged = false;
	if (unlikely(p->vid != dst->vid))
		return DROP_VLAN_NOT_ALLOWED;
	return leave_untagged(p);
}

enum drop vlan_out_trunk(struct walk *k, const struct pkt *p, const struct snap_port *dst, struct dest *d,
			 const void *arg)
{
	(void)k;
	(void)arg;
	if (unlikely(!snap_port_has_vlan(dst, p->vid)))
		return DROP_VLAN_NOT_ALLOWED;
	d->tagged = p->vid != dst->vid;
	if (!d->tagged)
		return leave_untagged(p);
	// The priority that the frame came with stays, also when its tag has been taken off for another member meanwhile.
	d->tci = p->vid | (p->tci & 0xf000);
	return DROP_NONE;
}
