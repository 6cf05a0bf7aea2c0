// A signed extension and a directory with its maker's key (trust_rig.h).
#include "trust_rig.h"

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char base[64], signer[TRUST_SIGNER_LEN];
EVP_PKEY *maker, *other;
struct err why;
static unsigned n_open;

const char *in(const char *name)
{
	static char names[8][128];
	static unsigned next;
	char *path = names[next++ % 8];

	snprintf(path, sizeof(names[0]), "%s/%s", base, name);
	return path;
}

static unsigned count_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

void put(const char *name, const void *data, size_t len)
{
	FILE *f = fopen(in(name), "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(in(name), 0644), 0);
}

size_t get(const char *path, uint8_t *buf, size_t size)
{
	FILE *f = fopen(path, "r");

	ck_assert_ptr_nonnull(f);
	size_t len = fread(buf, 1, size, f);
	fclose(f);
	return len;
}

void put_public(const char *name, EVP_PKEY *key)
{
	FILE *f = fopen(in(name), "w");

	ck_assert_int_eq(PEM_write_PUBKEY(f, key), 1);
	fclose(f);
	ck_assert_int_eq(chmod(in(name), 0644), 0);
}

void sign(const char *name, EVP_PKEY *key)
{
	static uint8_t data[8 << 20];
	uint8_t sig[TRUST_SIG_BYTES];
	size_t len = get(in(name), data, sizeof(data)), sig_len = sizeof(sig);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	char path[100];

	ck_assert_int_eq(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key), 1);
	ck_assert_int_eq(EVP_DigestSign(ctx, sig, &sig_len, data, len), 1);
	EVP_MD_CTX_free(ctx);
	snprintf(path, sizeof(path), "%s.sig", name);
	put(path, sig, sizeof(sig));
}

void flip(const char *name, long at)
{
	FILE *f = fopen(in(name), "r+");

	fseek(f, at, SEEK_SET);
	int c = fgetc(f);
	fseek(f, at, SEEK_SET);
	fputc(c ^ 1, f);
	fclose(f);
}

int check_with(const char *name, bool allow_unsigned)
{
	struct trust_rules rules = {in("keys"), allow_unsigned};

	why = (struct err){0};
	return trust_check(&rules, "ext fw", *name == '/' ? name : in(name), signer, &why);
}

int check(const char *name)
{
	return check_with(name, false);
}

const char *said(void)
{
	static char text[sizeof(why.text)];
	const char *from = why.text, *hit;

	text[0] = '\0';
	while ((hit = strstr(from, base))) {
		strncat(text, from, (size_t)(hit - from));
		strcat(text, "D");
		from = hit + strlen(base);
	}
	return strcat(text, from);
}

void refused(const char *name, const char *sentence)
{
	ck_assert_int_lt(check(name), 0);
	ck_assert_str_eq(said(), sentence);
	ck_assert_int_ne(why.code, 0);
	ck_assert_str_eq(signer, "");
}

void accepted(const char *name, const char *by)
{
	int fd = check(name);

	ck_assert_msg(fd >= 0, "%s", why.text);
	ck_assert_str_eq(signer, by);
	close(fd);
}

void fresh(void)
{
	static uint8_t data[FILE_BYTES];

	strcpy(base, "/run/evs-trust-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(base));
	ck_assert_int_eq(chmod(base, 0755), 0);
	umask(022);
	ck_assert_int_eq(mkdir(in("keys"), 0755), 0);
	maker = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	other = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	put_public("keys/maker.pem", maker);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	put("fw.so", data, sizeof(data));
	sign("fw.so", maker);
	n_open = count_open();
}

static int entry_delete(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

void clean(void)
{
	unsigned n = count_open();

	EVP_PKEY_free(maker);
	EVP_PKEY_free(other);
	nftw(base, entry_delete, 8, FTW_DEPTH | FTW_PHYS);
	ck_assert_uint_eq(n, n_open);
}
