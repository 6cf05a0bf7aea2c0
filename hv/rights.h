// What another user may do with a file, from its mode, its access list and that user's groups.
//
// Becoming that user would say so, too, and is a right that evswitchd does not have. What a security module (AppArmor,
// SELinux) forbids beyond that is not seen. Jobs thread: the user's name may be looked up over the network.
#pragma once

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "ctrl/api/err.h"

#define RIGHTS_MAX_GROUPS 256
#define RIGHTS_OWNER_LEN  160

struct rights_user {
	char name[64];
	uid_t uid;
	gid_t groups[RIGHTS_MAX_GROUPS]; // with the user's own
	int n_groups;
};

// -ENOENT with a sentence when there is no such user.
int rights_user_find(const char *name, struct rights_user *u, struct err *e);

// Whether the user may `want` (R_OK | W_OK | X_OK) of the file itself, which `st` is of.
bool rights_allow(const struct rights_user *u, const char *path, const struct stat *st, int want);

// Whether the user gets through to the absolute path: every directory above it can be searched, along links, too. Else
// `at` is the first that cannot, or that is not there, with 0, -EACCES or the reason.
int rights_reach(const struct rights_user *u, const char *path, char at[4096]);

// "libvirt-qemu:kvm (0600)"
const char *rights_owner_print(const struct stat *st, char buf[RIGHTS_OWNER_LEN]);
