// Another user's rights to files (rights.h). The rule is that of POSIX.1e, acl(5): owner, named users, groups, others;
// the first class that names the user decides, and the mask limits all but the owner and others. Jobs thread.
#include "rights.h"

#include <endian.h>
#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

// linux/posix_acl_xattr.h, which not every set of headers has
#define ACL_ATTRIBUTE "system.posix_acl_access"
#define ACL_VERSION   2
#define MAX_ENTRIES   64

enum acl_tag {
	ACL_OWNER = 1,
	ACL_USER = 2,
	ACL_OWNERS_GROUP = 4,
	ACL_GROUP = 8,
	ACL_MASK = 16,
	ACL_OTHER = 32
};

struct acl_entry { // as the kernel lays it out, little endian
	uint16_t tag, perm;
	uint32_t id;
};

struct acl {
	uint32_t version;
	struct acl_entry entries[MAX_ENTRIES];
};

int rights_user_find(const char *name, struct rights_user *u, struct err *e)
{
	char buf[4096];
	struct passwd pw, *found = NULL;

	if (getpwnam_r(name, &pw, buf, sizeof(buf), &found) != 0 || found == NULL)
		return err_set(e, -ENOENT, "user %s: no such user", name);
	snprintf(u->name, sizeof(u->name), "%s", name);
	u->uid = pw.pw_uid;
	u->n_groups = RIGHTS_MAX_GROUPS;
	if (getgrouplist(name, pw.pw_gid, u->groups, &u->n_groups) < 0)
		u->n_groups = RIGHTS_MAX_GROUPS;
	return 0;
}

static bool is_member(const struct rights_user *u, gid_t gid)
{
	for (int i = 0; i < u->n_groups; i++)
		if (u->groups[i] == gid)
			return true;
	return false;
}

// The list that a mode is short for.
static size_t acl_of_mode(const struct stat *st, struct acl *acl)
{
	acl->entries[0] = (struct acl_entry){ACL_OWNER, st->st_mode >> 6 & 7, 0};
	acl->entries[1] = (struct acl_entry){ACL_OWNERS_GROUP, st->st_mode >> 3 & 7, 0};
	acl->entries[2] = (struct acl_entry){ACL_MASK, 7, 0};
	acl->entries[3] = (struct acl_entry){ACL_OTHER, st->st_mode & 7, 0};
	return 4;
}

static size_t acl_read(const char *path, const struct stat *st, struct acl *acl)
{
	ssize_t len = getxattr(path, ACL_ATTRIBUTE, acl, sizeof(*acl));
	size_t n;

	// The kernel does not look at a list whose mask, which is the mode's group bits, is empty.
	if ((st->st_mode & S_IRWXG) == 0 || len < (ssize_t)sizeof(acl->version) ||
	    le32toh(acl->version) != ACL_VERSION)
		return acl_of_mode(st, acl);
	n = ((size_t)len - sizeof(acl->version)) / sizeof(acl->entries[0]);
	for (size_t i = 0; i < n; i++) {
		struct acl_entry *a = &acl->entries[i];
		*a = (struct acl_entry){le16toh(a->tag), le16toh(a->perm), le32toh(a->id)};
	}
	return n;
}

static int perm_of(const struct acl *acl, size_t n, enum acl_tag tag, int otherwise)
{
	for (size_t i = 0; i < n; i++)
		if (acl->entries[i].tag == tag)
			return acl->entries[i].perm;
	return otherwise;
}

bool rights_allow(const struct rights_user *u, const char *path, const struct stat *st, int want)
{
	struct acl acl;
	size_t n = acl_read(path, st, &acl);
	int mask = perm_of(&acl, n, ACL_MASK, 7);
	bool in_group = false;

	if (u->uid == 0)
		return true;
	if (u->uid == st->st_uid)
		return (perm_of(&acl, n, ACL_OWNER, 0) & want) == want;
	for (size_t i = 0; i < n; i++)
		if (acl.entries[i].tag == ACL_USER && acl.entries[i].id == u->uid)
			return (acl.entries[i].perm & mask & want) == want;
	for (size_t i = 0; i < n; i++) {
		const struct acl_entry *a = &acl.entries[i];

		if (!(a->tag == ACL_OWNERS_GROUP && is_member(u, st->st_gid)) &&
		    !(a->tag == ACL_GROUP && is_member(u, a->id)))
			continue;
		if ((a->perm & mask & want) == want)
			return true;
		in_group = true;
	}
	return !in_group && (perm_of(&acl, n, ACL_OTHER, 0) & want) == want;
}

// Every directory that the path spells.
static int dirs_check(const struct rights_user *u, const char *path, char at[PATH_MAX])
{
	struct stat st;

	for (const char *slash = path; slash != NULL; slash = strchr(slash + 1, '/')) {
		snprintf(at, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
		if (stat(at, &st) != 0)
			return -errno;
		if (!S_ISDIR(st.st_mode))
			return -ENOTDIR;
		if (!rights_allow(u, at, &st, X_OK))
			return -EACCES;
	}
	return 0;
}

int rights_reach(const struct rights_user *u, const char *path, char at[PATH_MAX])
{
	char copy[PATH_MAX], real[PATH_MAX + sizeof("/x")];
	int rc = dirs_check(u, path, at);

	snprintf(copy, sizeof(copy), "%s", path);
	if (rc != 0 || realpath(dirname(copy), real) == NULL)
		return rc;
	strcat(real, "/x"); // what is in it does not matter
	return dirs_check(u, real, at);
}

const char *rights_owner_print(const struct stat *st, char buf[RIGHTS_OWNER_LEN])
{
	char names[2][1024], uid[16], gid[16];
	struct passwd pw, *user = NULL;
	struct group gr, *group = NULL;

	snprintf(uid, sizeof(uid), "%u", st->st_uid);
	snprintf(gid, sizeof(gid), "%u", st->st_gid);
	getpwuid_r(st->st_uid, &pw, names[0], sizeof(names[0]), &user);
	getgrgid_r(st->st_gid, &gr, names[1], sizeof(names[1]), &group);
	snprintf(buf, RIGHTS_OWNER_LEN, "%s:%s (%04o)", user ? user->pw_name : uid,
		 group ? group->gr_name : gid, st->st_mode & 07777);
	return buf;
}
