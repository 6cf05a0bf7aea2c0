// Functions of a NIC by SR-IOV: one netlink message that says all of what a function is to do. Control and jobs threads.
#include "sriov.h"

#include <ctype.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "ctrl/api/err.h"
#include "dp/port.h"
#include "dp/stage.h"

#define MAX_VF 255

struct function {
	char ifname[IFNAMSIZ];
	uint32_t vf;
};

static bool function_from(const char *device, struct function *f)
{
	const char *slash = strchr(device, '/');
	size_t n = slash != NULL ? (size_t)(slash - device) : 0;
	char *end;

	if (n == 0 || n >= sizeof(f->ifname) || !isdigit((unsigned char)slash[1]))
		return false;
	memcpy(f->ifname, device, n);
	f->ifname[n] = '\0';
	f->vf = strtoul(slash + 1, &end, 10);
	return *end == '\0' && f->vf <= MAX_VF;
}

static bool claims(const char *device)
{
	struct function f;

	return function_from(device, &f);
}

// Without an access VLAN the function would let the guest choose its tags.
static bool honours(const struct port *p, const struct step *s)
{
	static const char *const names[] = {"frame", "source address", "mtu"};

	if (strcmp(s->name, "vlan") == 0)
		return p->vlan.mode == VLAN_ACCESS;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(s->name, names[i]) == 0)
			return true;
	return false;
}

static void put_policy(struct nl_msg *msg, uint32_t vf, const struct bypass_policy *policy)
{
	struct ifla_vf_mac mac = {.vf = vf};
	struct ifla_vf_vlan vlan = {.vf = vf, .vlan = policy->vid};
	struct ifla_vf_spoofchk check = {.vf = vf, .setting = policy->has_mac};

	memcpy(mac.mac, policy->mac, sizeof(policy->mac));
	if (policy->has_mac)
		nla_put(msg, IFLA_VF_MAC, sizeof(mac), &mac);
	nla_put(msg, IFLA_VF_VLAN, sizeof(vlan), &vlan);
	nla_put(msg, IFLA_VF_SPOOFCHK, sizeof(check), &check);
}

static struct nl_msg *message(int ifindex, uint32_t vf, const struct bypass_policy *policy)
{
	struct ifinfomsg link = {.ifi_family = AF_UNSPEC, .ifi_index = ifindex};
	struct ifla_vf_link_state state = {
	    .vf = vf, .link_state = policy != NULL ? IFLA_VF_LINK_STATE_AUTO : IFLA_VF_LINK_STATE_DISABLE};
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_SETLINK, 0);

	if (msg == NULL)
		return NULL;
	nlmsg_append(msg, &link, sizeof(link), NLMSG_ALIGNTO);
	struct nlattr *list = nla_nest_start(msg, IFLA_VFINFO_LIST),
		      *info = nla_nest_start(msg, IFLA_VF_INFO);

	if (list == NULL || info == NULL) {
		nlmsg_free(msg);
		return NULL;
	}
	if (policy != NULL)
		put_policy(msg, vf, policy);
	nla_put(msg, IFLA_VF_LINK_STATE, sizeof(state), &state);
	nla_nest_end(msg, info);
	nla_nest_end(msg, list);
	return msg;
}

static int set(const char *device, const struct bypass_policy *policy, struct err *e)
{
	struct function f;
	struct nl_sock *sock = nl_socket_alloc();
	int rc = -NLE_NOMEM, ifindex = function_from(device, &f) ? if_nametoindex(f.ifname) : 0;

	if (ifindex == 0) {
		nl_socket_free(sock);
		return err_set(e, -ENODEV, "there is no interface %s", f.ifname);
	}
	if (sock != NULL && (rc = nl_connect(sock, NETLINK_ROUTE)) == 0) {
		struct nl_msg *msg = message(ifindex, f.vf, policy);

		rc = msg != NULL ? nl_send_sync(sock, msg) : -NLE_NOMEM; // frees it
	}
	nl_socket_free(sock);
	return rc == 0 ? 0 : err_set(e, -EIO, "function %u of %s: %s", f.vf, f.ifname, nl_geterror(rc));
}

const struct bypass_driver sriov_driver = {"sriov", claims, honours, set};
