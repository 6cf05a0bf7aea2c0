// Peer credentials of a unix socket: taken by the kernel when the client connected. Control thread.
#include "peer.h"

#include <errno.h>
#include <sys/socket.h>

#define MAX_GROUPS 65536 // the kernel's own limit

int peer_identify(int fd, struct peer *p, struct err *e)
{
	static gid_t groups[MAX_GROUPS];
	struct ucred cred;
	socklen_t cred_len = sizeof(cred), groups_len = sizeof(groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &groups_len) != 0)
		return err_set(e, -errno, "cannot tell who connects: %s", err_name(errno));
	*p = (struct peer){.uid = cred.uid,
			   .pid = cred.pid,
			   .gid = cred.gid,
			   .groups = groups,
			   .n_groups = groups_len / sizeof(gid_t)};
	return 0;
}

static bool is_member(const struct peer *p, gid_t gid)
{
	if (gid == PEER_NO_GROUP)
		return false;
	if (p->gid == gid)
		return true;
	for (size_t i = 0; i < p->n_groups; i++)
		if (p->groups[i] == gid)
			return true;
	return false;
}

enum peer_role peer_role(const struct peer *p, uid_t own_uid, gid_t write_gid, gid_t read_gid)
{
	if (p->uid == 0 || p->uid == own_uid || is_member(p, write_gid))
		return PEER_WRITER;
	return is_member(p, read_gid) ? PEER_READER : PEER_STRANGER;
}
