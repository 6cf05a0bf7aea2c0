// What another user may do with a file: beside what the kernel says when asked as that user.
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "hv/rights.h"

enum { USER = 4711, STRANGER = 4712, GROUP = 4721, SECOND_GROUP = 4722, OTHER_GROUP = 4723 };

static const struct rights_user user = {
    .name = "guests", .uid = USER, .groups = {GROUP, SECOND_GROUP}, .n_groups = 2};
static char dir[64], path[80];

static void fresh(void)
{
	strcpy(dir, "/tmp/evs-rights-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chmod(dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/file", dir);
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void clean(void)
{
	unlink(path);
	rmdir(dir);
}

static void become_user(void)
{
	ck_assert_int_eq(setgroups((size_t)user.n_groups, user.groups), 0);
	ck_assert_int_eq(setegid(GROUP), 0);
	ck_assert_int_eq(seteuid(USER), 0);
}

static void become_root(void)
{
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setegid(0), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
}

// Every wish, by the kernel and by us.
static void compare(void)
{
	bool allowed[8];
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	become_user();
	for (int want = 1; want < 8; want++)
		allowed[want] = faccessat(AT_FDCWD, path, want, AT_EACCESS) == 0;
	become_root();
	for (int want = 1; want < 8; want++)
		ck_assert_msg(rights_allow(&user, path, &st, want) == allowed[want],
			      "owner %u, group %u, mode %o, wish %d: the kernel says %d", st.st_uid,
			      st.st_gid, st.st_mode & 0777, want, allowed[want]);
}

START_TEST(every_mode_is_judged_as_by_the_kernel)
{
	static const uid_t owners[] = {0, USER, STRANGER};
	static const gid_t groups[] = {GROUP, SECOND_GROUP, OTHER_GROUP};

	for (int i = 0; i < 9; i++) {
		ck_assert_int_eq(chown(path, owners[i / 3], groups[i % 3]), 0);
		for (mode_t mode = 0; mode < 01000; mode++) {
			ck_assert_int_eq(chmod(path, mode), 0);
			compare();
		}
	}
}
END_TEST

struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[6];
} __attribute__((packed));

// An access list with one named user and one named group, each with the rights of `bits`.
static bool acl_set(unsigned bits, uid_t uid, gid_t gid)
{
	uint16_t other = bits & 7, named = bits >> 3 & 7, group = bits >> 6 & 7, mask = bits >> 9 & 7;
	struct acl acl = {2,
			  {{1, 6, UINT32_MAX},
			   {2, named, uid},
			   {4, other, UINT32_MAX},
			   {8, group, gid},
			   {16, mask, UINT32_MAX},
			   {32, other, UINT32_MAX}}};

	return setxattr(path, "system.posix_acl_access", &acl, sizeof(acl), 0) == 0;
}

START_TEST(every_access_list_is_judged_as_by_the_kernel)
{
	static const gid_t owners_groups[] = {GROUP, OTHER_GROUP};

	for (int g = 0; g < 2; g++) {
		ck_assert_int_eq(chown(path, 0, owners_groups[g]), 0);
		for (unsigned bits = 0; bits < 4096; bits += 3) {
			uid_t uid = bits % 2 == 0 ? USER : STRANGER;
			gid_t gid = bits % 5 < 2 ? SECOND_GROUP : OTHER_GROUP;

			if (!acl_set(bits, uid, gid)) {
				ck_assert_int_eq(errno, EOPNOTSUPP); // a file system without them
				return;
			}
			compare();
		}
	}
}
END_TEST

START_TEST(a_closed_directory_is_named)
{
	char deep[128], at[PATH_MAX];

	snprintf(deep, sizeof(deep), "%s/a", dir);
	ck_assert_int_eq(mkdir(deep, 0755), 0);
	snprintf(deep, sizeof(deep), "%s/a/b", dir);
	ck_assert_int_eq(mkdir(deep, 0700), 0);
	snprintf(deep, sizeof(deep), "%s/a/b/sock", dir);
	ck_assert_int_eq(rights_reach(&user, deep, at), -EACCES);
	deep[strlen(deep) - strlen("/sock")] = '\0';
	ck_assert_str_eq(at, deep);
	ck_assert_int_eq(chmod(deep, 0701), 0);
	strcat(deep, "/sock");
	ck_assert_int_eq(rights_reach(&user, deep, at), 0);
	snprintf(deep, sizeof(deep), "%s/none/sock", dir);
	ck_assert_int_eq(rights_reach(&user, deep, at), -ENOENT);
	ck_assert_str_eq(at + strlen(dir), "/none");
	snprintf(deep, sizeof(deep), "%s/a/b", dir);
	rmdir(deep);
	snprintf(deep, sizeof(deep), "%s/a", dir);
	rmdir(deep);
}
END_TEST

START_TEST(a_link_into_a_closed_directory_is_followed)
{
	char closed[128], inner[160], link[128], at[PATH_MAX];

	snprintf(closed, sizeof(closed), "%s/closed", dir);
	snprintf(inner, sizeof(inner), "%s/inner", closed);
	snprintf(link, sizeof(link), "%s/link", dir);
	ck_assert_int_eq(mkdir(closed, 0700), 0);
	ck_assert_int_eq(mkdir(inner, 0755), 0);
	ck_assert_int_eq(symlink(inner, link), 0);
	strcat(link, "/sock");
	ck_assert_int_eq(rights_reach(&user, link, at), -EACCES);
	ck_assert_str_eq(at, closed);
	link[strlen(link) - strlen("/sock")] = '\0';
	unlink(link);
	rmdir(inner);
	rmdir(closed);
}
END_TEST

START_TEST(users_are_found_by_name)
{
	struct rights_user u;
	struct err e = {0};

	ck_assert_int_eq(rights_user_find("root", &u, &e), 0);
	ck_assert_uint_eq(u.uid, 0);
	ck_assert_int_gt(u.n_groups, 0);
	ck_assert_int_eq(rights_user_find("no-such-user-here", &u, &e), -ENOENT);
	ck_assert_str_eq(e.text, "user no-such-user-here: no such user");
}
END_TEST

int main(void)
{
	if (geteuid() != 0) {
		puts("SKIP: rights_test: only root can make files of others");
		return EXIT_SUCCESS;
	}
	Suite *suite = suite_create("rights");
	TCase *t = tcase_create("rights");

	tcase_add_checked_fixture(t, fresh, clean);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, every_mode_is_judged_as_by_the_kernel);
	tcase_add_test(t, every_access_list_is_judged_as_by_the_kernel);
	tcase_add_test(t, a_closed_directory_is_named);
	tcase_add_test(t, a_link_into_a_closed_directory_is_followed);
	tcase_add_test(t, users_are_found_by_name);
	suite_add_tcase(suite, t);
	SRunner *r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	int n = srunner_ntests_failed(r);
	srunner_free(r);
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}
