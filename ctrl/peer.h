// Who is at the other end of a unix socket, and what they may do. Control thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ctrl/api/err.h"

enum peer_role { PEER_STRANGER, PEER_READER, PEER_WRITER };

#define PEER_NO_GROUP ((gid_t)-1) // there is no such group on this host

struct peer {
	uid_t uid;
	pid_t pid;
	gid_t gid;
	const gid_t *groups; // supplementary; valid until the next peer_identify()
	size_t n_groups;
};

int peer_identify(int fd, struct peer *p, struct err *e);

// Pure. Root, `own_uid` and members of `write_gid` write, members of `read_gid` read.
enum peer_role peer_role(const struct peer *p, uid_t own_uid, gid_t write_gid, gid_t read_gid);
