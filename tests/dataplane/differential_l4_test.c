// I1 with steps that read addresses and ports, on some ports only: keys of all shapes, and "look again".
//
// The table of features of this program takes the place of the daemon's.
#include "differential.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "dp/port.h"
#include "dp/port_steps.h"
#include "dp/snap.h"
#include "dp/vlan.h"
#include "dp/walk.h"

static uint16_t port_at_l4(const struct pkt *p, int which)
{
	const uint8_t *l4 = p->data + p->l4_off + 2 * which;

	if (p->l4_off == 0 || (p->ip_proto != IPPROTO_TCP && p->ip_proto != IPPROTO_UDP))
		return 0;
	return l4[0] << 8 | l4[1];
}

// What it drops depends on the last byte of an address.
static enum drop no_address_3(struct walk *k, struct pkt *p, const void *arg)
{
	(void)k;
	(void)arg;
	if (p->ip_version == 4 && p->data[p->l3_off + 15] == 3)
		return DROP_MAC_SPOOFING;
	return p->ip_version == 6 && p->data[p->l3_off + 11] == 3 ? DROP_MAC_SPOOFING : DROP_NONE;
}

static enum drop no_source_port(struct walk *k, struct pkt *p, const void *arg)
{
	(void)k;
	(void)arg;
	return port_at_l4(p, 0) == 1002 ? DROP_MAC_SPOOFING : DROP_NONE;
}

static enum drop no_destination_port(struct walk *k, const struct pkt *p, const struct snap_port *dst,
				     struct dest *d, const void *arg)
{
	(void)k;
	(void)dst;
	(void)d;
	(void)arg;
	return port_at_l4(p, 1) == 2001 ? DROP_MAC_SPOOFING : DROP_NONE;
}

static int build(const struct port *p, struct snap_port *sp, struct err *e)
{
	(void)e;
	if (strcmp(p->conf.name, "a") == 0)
		snap_step_in(sp, STAGE_FILTER_IN, STEP_READS_L3, "no address 3", no_address_3, NULL);
	if (strcmp(p->conf.name, "b") == 0)
		snap_step_in(sp, STAGE_FILTER_IN, STEP_READS_L4, "no source port", no_source_port, NULL);
	if (strcmp(p->conf.name, "c") == 0 || strcmp(p->conf.name, "u") == 0)
		snap_step_out(sp, STAGE_FILTER_OUT, STEP_READS_L4, "no destination port", no_destination_port,
			      NULL);
	return 0;
}

static const struct snap_feature reads_feature = {"reads", build};

const struct snap_feature *const snap_features[] = {&port_feature, &vlan_feature, &reads_feature, NULL};

int main(void)
{
	return differential_run("differential_l4", NULL);
}
