// The way to the file of an extension: whose are the files, directories and links, and what is opened at all.
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/trust_rig.h"

// Whoever is not root must be able to change neither the file nor what is found under its name.
START_TEST(files_of_others)
{
	ck_assert_int_eq(chown(in("fw.so"), STRANGER, 0), 0);
	refused("fw.so", "ext fw: D/fw.so belongs to user 4711, who can change it; it must be root's (chown "
			 "root) or of the "
			 "user that evswitchd runs as");
	ck_assert_int_eq(chown(in("fw.so"), 0, STRANGER), 0);
	accepted("fw.so", "maker");
	for (mode_t mode = 0; mode < 0200; mode++) {
		ck_assert_int_eq(chmod(in("fw.so"), 0600 | mode), 0);
		int fd = check("fw.so");
		ck_assert_int_eq(fd < 0, (mode & 022) != 0);
		if (fd >= 0)
			close(fd);
	}
	ck_assert_int_eq(chmod(in("fw.so"), 0664), 0);
	refused("fw.so",
		"ext fw: others than its owner may write to D/fw.so (mode 0664); chmod go-w D/fw.so");
}
END_TEST

START_TEST(directories_of_others)
{
	mkdir(in("a"), 0755);
	mkdir(in("a/b"), 0755);
	rename(in("fw.so"), in("a/b/fw.so"));
	rename(in("fw.so.sig"), in("a/b/fw.so.sig"));
	accepted("a/b/fw.so", "maker");
	ck_assert_int_eq(chmod(in("a"), 0775), 0);
	refused("a/b/fw.so",
		"ext fw: others than its owner may write to the directory D/a (mode 0775); chmod go-w D/a");
	ck_assert_int_eq(chmod(in("a"), 0755), 0);
	ck_assert_int_eq(chown(in("a"), STRANGER, 0), 0);
	refused(
	    "a/b/fw.so",
	    "ext fw: D/a belongs to user 4711, who can change it; it must be root's (chown root) or of the "
	    "user that evswitchd runs as");
}
END_TEST

START_TEST(keys_of_others)
{
	static const char *const at[] = {"keys/maker.pem", "keys"};

	for (int i = 0; i < 2; i++) {
		mode_t mode = i == 0 ? 0644 : 0755;
		ck_assert_int_eq(chmod(in(at[i]), mode | 020), 0);
		ck_assert_int_lt(check("fw.so"), 0);
		ck_assert_ptr_nonnull(strstr(said(), "others than its owner may write to "));
		ck_assert_int_eq(chmod(in(at[i]), mode), 0);
		ck_assert_int_eq(chown(in(at[i]), STRANGER, 0), 0);
		ck_assert_int_lt(check("fw.so"), 0);
		ck_assert_ptr_nonnull(strstr(said(), " belongs to user 4711"));
		ck_assert_int_eq(chown(in(at[i]), 0, 0), 0);
		accepted("fw.so", "maker");
	}
}
END_TEST

START_TEST(a_directory_like_tmp)
{
	int fd;

	ck_assert_int_eq(chmod(base, 01777), 0);
	refused("fw.so", "ext fw: all users may make files in D (mode 1777); use a directory that only root "
			 "can write to, or "
			 "start evswitchd with --allow-unsigned for development");
	fd = check_with("fw.so", true);
	ck_assert_int_ge(fd, 0);
	ck_assert_str_eq(signer, ""); // keys are not taken from there
	close(fd);
	// somebody else's link, in a directory where all may make links
	ck_assert_int_eq(symlink("fw.so", in("link.so")), 0);
	fd = check_with("link.so", true);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(lchown(in("link.so"), STRANGER, 0), 0);
	ck_assert_int_eq(check_with("link.so", true), -EPERM);
}
END_TEST

START_TEST(links_lead_to_a_file_with_its_signature)
{
	char target[128];

	mkdir(in("a"), 0755);
	ck_assert_int_eq(symlink("../fw.so", in("a/relative.so")), 0);
	snprintf(target, sizeof(target), "%s", in("a/./..//a/relative.so"));
	ck_assert_int_eq(symlink(target, in("absolute.so")), 0);
	ck_assert_int_eq(symlink("a/", in("to_dir")), 0);
	accepted("absolute.so", "maker");
	accepted("to_dir/../a/relative.so", "maker");
	// the signature is that of the file, and so is the name in the sentence
	rename(in("fw.so.sig"), in("a/relative.so.sig"));
	refused(
	    "to_dir/../a/relative.so",
	    "ext fw: D/fw.so has no signature D/fw.so.sig; sign it with 'evs-sign KEY.pem D/fw.so', or start "
	    "evswitchd with --allow-unsigned for development");
	rename(in("a/relative.so.sig"), in("fw.so.sig"));
	// what is checked is the way that is really gone
	mkdir(in("open"), 0755);
	ck_assert_int_eq(symlink("../fw.so", in("open/fw.so")), 0);
	ck_assert_int_eq(symlink("open/fw.so", in("by_open.so")), 0);
	accepted("by_open.so", "maker");
	ck_assert_int_eq(chmod(in("open"), 0757), 0);
	refused(
	    "by_open.so",
	    "ext fw: others than its owner may write to the directory D/open (mode 0757); chmod go-w D/open");
	ck_assert_int_eq(symlink("round.so", in("round.so")), 0);
	refused("round.so", "ext fw: D/round.so goes through more than 40 links; name the file itself");
	ck_assert_int_eq(symlink("none.so", in("broken.so")), 0);
	refused("broken.so", "ext fw: cannot open D/none.so: no such file or directory");
}
END_TEST

START_TEST(a_key_may_be_a_link)
{
	mkdir(in("vendor"), 0755);
	rename(in("keys/maker.pem"), in("vendor/key.pem"));
	ck_assert_int_eq(symlink("../vendor/key.pem", in("keys/linked.pem")), 0);
	accepted("fw.so", "linked");
	ck_assert_int_eq(chmod(in("vendor"), 0775), 0);
	ck_assert_int_eq(check("fw.so"), -EKEYREJECTED);
}
END_TEST

START_TEST(relative_names_begin_at_the_current_directory)
{
	struct trust_rules rules = {"keys", false};
	int fd;

	ck_assert_int_eq(chdir(base), 0);
	fd = trust_check(&rules, "ext fw", "./fw.so", signer, &why);
	ck_assert_msg(fd >= 0, "%s", why.text);
	close(fd);
	ck_assert_int_eq(chmod(base, 0775), 0);
	ck_assert_int_eq(trust_check(&rules, "ext fw", "fw.so", signer, &why), -EPERM);
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(only_regular_files)
{
	ck_assert_int_eq(mkfifo(in("fifo.so"), 0644), 0);
	refused("fifo.so", "ext fw: D/fifo.so is a device, socket or FIFO; a regular file is needed");
	refused("keys", "ext fw: D/keys is a directory; a regular file is needed");
	refused("/", "ext fw: / is a directory; a regular file is needed");
	put("empty.so", "", 0);
	refused("empty.so", "ext fw: D/empty.so is empty");
	refused("none.so", "ext fw: cannot open D/none.so: no such file or directory");
	refused("fw.so/x", "ext fw: cannot open D/fw.so/x: not a directory");
	unlink(in("fw.so.sig"));
	ck_assert_int_eq(mkfifo(in("fw.so.sig"), 0644), 0);
	refused("fw.so", "ext fw: D/fw.so.sig is a device, socket or FIFO; a regular file is needed");
	ck_assert_int_eq(mkfifo(in("keys/fifo.pem"), 0644), 0);
	unlink(in("fw.so.sig"));
	sign("fw.so", maker);
	accepted("fw.so", "maker");
}
END_TEST

START_TEST(sizes)
{
	char longest[PATH_MAX + 2] = "/";

	put("huge.so", "x", 1);
	ck_assert_int_eq(truncate(in("huge.so"), TRUST_MAX_BYTES), 0);
	int fd = check_with("huge.so", true);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(truncate(in("huge.so"), TRUST_MAX_BYTES + 1), 0);
	refused("huge.so", "ext fw: D/huge.so has more than 65536 KiB; is it the right file?");
	memset(longest, '/', sizeof(longest) - 1);
	refused(longest, "ext fw: the path has more than 4095 characters");
	put("keys/huge.pem", "x", 1);
	ck_assert_int_eq(truncate(in("keys/huge.pem"), 1 << 20), 0);
	accepted("fw.so", "maker");
}
END_TEST

START_TEST(a_long_name)
{
	char name[260];

	memset(name, 'x', 251);
	name[251] = '\0';
	char from[100], to[400];
	snprintf(from, sizeof(from), "%s/fw.so", base);
	snprintf(to, sizeof(to), "%s/%s", base, name);
	ck_assert_int_eq(rename(from, to), 0);
	snprintf(from, sizeof(from), "%s/fw.so.sig", base);
	snprintf(to, sizeof(to), "%s/%s.sig", base, name);
	ck_assert_int_eq(rename(from, to), 0);
	to[strlen(to) - 4] = '\0';
	accepted(to, "maker");
}
END_TEST

int main(void)
{
	if (geteuid() != 0) {
		puts("SKIP: trust_way_test: only root can make files of others");
		return EXIT_SUCCESS;
	}
	Suite *suite = suite_create("trust_way");
	TCase *t = tcase_create("trust_way");

	tcase_add_checked_fixture(t, fresh, clean);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, files_of_others);
	tcase_add_test(t, directories_of_others);
	tcase_add_test(t, keys_of_others);
	tcase_add_test(t, a_directory_like_tmp);
	tcase_add_test(t, links_lead_to_a_file_with_its_signature);
	tcase_add_test(t, a_key_may_be_a_link);
	tcase_add_test(t, relative_names_begin_at_the_current_directory);
	tcase_add_test(t, only_regular_files);
	tcase_add_test(t, sizes);
	tcase_add_test(t, a_long_name);
	suite_add_tcase(suite, t);
	SRunner *r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	int n = srunner_ntests_failed(r);
	srunner_free(r);
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}
