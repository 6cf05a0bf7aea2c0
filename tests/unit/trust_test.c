// Signatures of extensions, the keys that verify them, and the copy that is loaded.
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/trust_rig.h"

START_TEST(a_signed_file_is_given)
{
	static uint8_t original[FILE_BYTES + 1], given[FILE_BYTES + 1];
	char path[32];
	int fd = check("fw.so");

	ck_assert_msg(fd >= 0, "%s", why.text);
	ck_assert_str_eq(signer, "maker");
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ck_assert_uint_eq(get(path, given, sizeof(given)), FILE_BYTES);
	get(in("fw.so"), original, sizeof(original));
	ck_assert_mem_eq(given, original, FILE_BYTES);
	close(fd);
}
END_TEST

START_TEST(the_key_that_fits_is_found)
{
	put_public("keys/a.pem", other);
	accepted("fw.so", "maker");
	sign("fw.so", other);
	accepted("fw.so", "a");
}
END_TEST

START_TEST(a_key_of_nobody)
{
	sign("fw.so", other);
	refused(
	    "fw.so",
	    "ext fw: no key in D/keys verifies D/fw.so.sig; either D/fw.so was changed after it was signed, "
	    "or the key of its maker is missing there as NAME.pem");
}
END_TEST

START_TEST(every_changed_byte_counts)
{
	static const long at[] = {0, 1, FILE_BYTES / 2, FILE_BYTES - 1};

	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		flip("fw.so", at[i]);
		ck_assert_int_eq(check("fw.so"), -EKEYREJECTED);
		flip("fw.so", at[i]);
	}
	for (long i = 0; i < TRUST_SIG_BYTES; i++) {
		flip("fw.so.sig", i);
		ck_assert_int_eq(check("fw.so"), -EKEYREJECTED);
		flip("fw.so.sig", i);
	}
	accepted("fw.so", "maker");
	ck_assert_int_eq(truncate(in("fw.so"), FILE_BYTES - 1), 0);
	ck_assert_int_eq(check("fw.so"), -EKEYREJECTED);
	ck_assert_int_eq(truncate(in("fw.so"), FILE_BYTES + 1), 0);
	ck_assert_int_eq(check("fw.so"), -EKEYREJECTED);
}
END_TEST

START_TEST(a_signature_has_64_bytes)
{
	static const off_t sizes[] = {0, 1, 63, 65, 128, 1 << 20};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		sign("fw.so", maker);
		ck_assert_int_eq(truncate(in("fw.so.sig"), sizes[i]), 0);
		refused(
		    "fw.so",
		    "ext fw: D/fw.so.sig is not an Ed25519 signature, which has exactly 64 bytes; sign the "
		    "file again with 'evs-sign KEY.pem D/fw.so'");
	}
}
END_TEST

START_TEST(no_signature)
{
	unlink(in("fw.so.sig"));
	refused(
	    "fw.so",
	    "ext fw: D/fw.so has no signature D/fw.so.sig; sign it with 'evs-sign KEY.pem D/fw.so', or start "
	    "evswitchd with --allow-unsigned for development");
}
END_TEST

START_TEST(no_keys)
{
	static const char sentence[] = "ext fw: there is no trusted key in D/keys; put the public key of the "
				       "extension's maker there as NAME.pem, "
				       "or start evswitchd with --allow-unsigned for development";

	rename(in("keys/maker.pem"), in("keys/maker.pub"));
	put_public("keys/.pem", maker);
	put_public("keys/.hidden.pem", maker);
	refused("fw.so", sentence);
	rename(in("keys"), in("elsewhere"));
	refused("fw.so", sentence);
	put("keys", "x", 1);
	refused("fw.so", "ext fw: cannot read the directory of trusted keys D/keys: not a directory");
}
END_TEST

START_TEST(what_is_no_key_is_named)
{
	EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	FILE *f = fopen(in("keys/private.pem"), "w");

	PEM_write_PrivateKey(f, maker, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	put("keys/garbage.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 56);
	put("keys/empty.pem", "", 0);
	put_public("keys/rsa.pem", rsa);
	EVP_PKEY_free(rsa);
	accepted("fw.so", "maker");

	unlink(in("keys/maker.pem"));
	unlink(in("keys/empty.pem"));
	refused("fw.so", "ext fw: no key in D/keys verifies D/fw.so.sig; either D/fw.so was changed after it "
			 "was signed, or the key "
			 "of its maker is missing there as NAME.pem"
			 "; key not used: D/keys/garbage.pem is not an Ed25519 public key in PEM ('openssl "
			 "pkey -in KEY.pem -pubout' "
			 "prints it)"
			 "; key not used: D/keys/private.pem is not an Ed25519 public key in PEM ('openssl "
			 "pkey -in KEY.pem -pubout' "
			 "prints it)"
			 "; key not used: D/keys/rsa.pem is not an Ed25519 public key in PEM ('openssl pkey "
			 "-in KEY.pem -pubout' "
			 "prints it)");
}
END_TEST

// A passphrase would be asked for on a terminal, or on a standard input that stays silent as here.
START_TEST(no_passphrase_is_asked_for)
{
	FILE *f = fopen(in("keys/a.pem"), "w");
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC), silent[2];

	PEM_write_PKCS8PrivateKey(f, maker, EVP_aes_256_cbc(), "secret", 6, NULL, NULL);
	fclose(f);
	if (tty >= 0) {
		ck_assert_int_eq(ioctl(tty, TIOCNOTTY), 0);
		close(tty);
	}
	ck_assert_int_eq(pipe(silent), 0);
	ck_assert_int_eq(dup2(silent[0], STDIN_FILENO), STDIN_FILENO);
	accepted("fw.so", "maker");
	close(silent[0]);
	close(silent[1]);
}
END_TEST

START_TEST(many_things_that_are_no_keys)
{
	char name[64];

	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "keys/%d.pem", i);
		put(name, "x", 1);
	}
	accepted("fw.so", "maker");
	unlink(in("keys/maker.pem"));
	ck_assert_int_eq(check("fw.so"), -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(said(), "key not used: D/keys/0.pem"));
}
END_TEST

START_TEST(unsigned_files_if_allowed)
{
	int fd = check_with("fw.so", true);

	ck_assert_int_ge(fd, 0);
	ck_assert_str_eq(signer, "maker");
	close(fd);
	flip("fw.so", 5);
	fd = check_with("fw.so", true);
	ck_assert_int_ge(fd, 0);
	ck_assert_str_eq(signer, "");
	ck_assert_int_eq(why.code, 0);
	close(fd);
	unlink(in("fw.so.sig"));
	fd = check_with("fw.so", true);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(chmod(in("fw.so"), 0664), 0);
	ck_assert_int_eq(check_with("fw.so", true), -EPERM);
}
END_TEST

START_TEST(what_was_checked_can_not_be_changed)
{
	uint8_t byte, first;
	int fd = check("fw.so");

	ck_assert_int_ge(fd, 0);
	get(in("fw.so"), &first, 1);
	flip("fw.so", 0);
	put("new.so", "new", 3);
	ck_assert_int_eq(rename(in("new.so"), in("fw.so")), 0);
	ck_assert_int_eq(pread(fd, &byte, 1, 0), 1);
	ck_assert_uint_eq(byte, first);
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate(fd, 1), -1);
	ck_assert_int_eq(ftruncate(fd, FILE_BYTES + 1), -1);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	ck_assert_ptr_eq(mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	close(fd);
}
END_TEST

static void *load(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	ck_assert_msg(lib != NULL, "%s", dlerror());
	return lib;
}

// A library that every machine has, once more: its cos() is not the one that this program uses.
START_TEST(what_was_checked_can_be_loaded)
{
	static uint8_t data[8 << 20];
	double (*volatile here)(double) = cos;
	Dl_info info;

	ck_assert_int_ne(dladdr((void *)here, &info), 0);
	size_t len = get(info.dli_fname, data, sizeof(data));
	put("lib.so", data, len);
	sign("lib.so", maker);
	int a = check("lib.so"), b = check("lib.so");
	ck_assert_msg(a >= 0 && b >= 0, "%s", why.text);
	put("lib.so", "exchanged", 9);
	void *one = load(a), *two = load(b);
	double (*in_one)(double) = (double (*)(double))dlsym(one, "cos"),
	       (*in_two)(double) = (double (*)(double))dlsym(two, "cos");
	ck_assert(in_one && in_two && in_one != here && in_two != here && in_one != in_two);
	ck_assert_double_eq(in_one(0.5), here(0.5));
	dlclose(one);
	dlclose(two);
	close(a);
	close(b);
}
END_TEST

int main(void)
{
	if (geteuid() != 0) {
		puts("SKIP: trust_test: only root can make files of others");
		return EXIT_SUCCESS;
	}
	Suite *suite = suite_create("trust");
	TCase *t = tcase_create("trust");

	tcase_add_checked_fixture(t, fresh, clean);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_signed_file_is_given);
	tcase_add_test(t, the_key_that_fits_is_found);
	tcase_add_test(t, a_key_of_nobody);
	tcase_add_test(t, every_changed_byte_counts);
	tcase_add_test(t, a_signature_has_64_bytes);
	tcase_add_test(t, no_signature);
	tcase_add_test(t, no_keys);
	tcase_add_test(t, what_is_no_key_is_named);
	tcase_add_test(t, no_passphrase_is_asked_for);
	tcase_add_test(t, many_things_that_are_no_keys);
	tcase_add_test(t, unsigned_files_if_allowed);
	tcase_add_test(t, what_was_checked_can_not_be_changed);
	tcase_add_test(t, what_was_checked_can_be_loaded);
	suite_add_tcase(suite, t);
	SRunner *r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	int n = srunner_ntests_failed(r);
	srunner_free(r);
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}
