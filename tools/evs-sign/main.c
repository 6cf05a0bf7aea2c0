// evs-sign: signs the file of an extension, so that evswitchd loads it.
//
// Reads the whole file, signs its bytes with an Ed25519 key and puts the signature beside it, in one step, in the form
// that ext/trust.h says. One thread. Exit status: 0 done, 1 not possible, 2 bad usage.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/api/err.h"
#include "ext/trust.h"

#define MAKE_KEY "make one with 'openssl genpkey -algorithm ed25519 -out KEY.pem'"

static const char usage[] =
    "usage: evs-sign KEY.pem FILE\n"
    "Signs the file of an extension; the signature is FILE" TRUST_SUFFIX ".\n"
    "\n"
    "  -h, --help     print this text and end\n"
    "  -V, --version  print the version and end\n"
    "\n"
    "KEY.pem is a private Ed25519 key. Make it, and the public key that hosts need to load what it signs:\n"
    "  openssl genpkey -algorithm ed25519 -out KEY.pem\n"
    "  openssl pkey -in KEY.pem -pubout -out NAME.pem      (goes to /etc/evswitch/trusted.d of each host)\n"
    "\n"
    "Exit status: 0 signed, 1 not signed (the sentence on stderr says why), 2 wrong usage.\n";

static EVP_PKEY *key_read(const char *path, struct err *e)
{
	FILE *in = fopen(path, "re");
	EVP_PKEY *key = NULL;
	struct stat st;

	if (!in || fstat(fileno(in), &st) != 0) {
		err_set(e, -errno, "%s: cannot read the key: %s", path, err_name(errno));
	} else if (!(key = PEM_read_PrivateKey(in, NULL, NULL, NULL))) {
		err_set(e, -EINVAL,
			"%s: there is no private key in PEM that can be read (wrong passphrase?); " MAKE_KEY,
			path);
	} else if (!EVP_PKEY_is_a(key, "ED25519")) {
		err_set(e, -EINVAL,
			"%s: the key is of the kind %s, and extensions are signed with Ed25519; " MAKE_KEY,
			path, EVP_PKEY_get0_type_name(key));
		EVP_PKEY_free(key);
		key = NULL;
	} else if (st.st_mode & (S_IRWXG | S_IRWXO)) {
		fprintf(stderr, "evs-sign: warning: %s: others can use the key (mode %04o); chmod 600 %s\n",
			path, st.st_mode & 07777, path);
	}
	if (in)
		fclose(in);
	return key;
}

// Fills the buffer or reads to the end; the number of bytes or -errno.
static ssize_t bytes_read(int fd, uint8_t *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size && (n = read(fd, buf + len, size - len)) != 0) {
		if (n < 0)
			return -errno;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

// All bytes of a file that the daemon would load; freed by the caller.
static uint8_t *file_read(const char *path, size_t *len, struct err *e)
{
	// without waiting for a writer, should it be a FIFO
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint8_t *data = NULL;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0 || fstat(fd, &st) != 0)
		err_set(e, -errno, "%s: cannot read it: %s", path, err_name(errno));
	else if (!S_ISREG(st.st_mode))
		err_set(e, -EINVAL, "%s: only a regular file can be signed", path);
	else if (st.st_size > TRUST_MAX_BYTES)
		err_set(e, -EFBIG, "%s: it has more than %d MiB, which evswitchd would not load", path,
			TRUST_MAX_BYTES >> 20);
	else if (st.st_size == 0)
		err_set(e, -EINVAL, "%s: it is empty", path);
	else if (!(data = malloc((size_t)st.st_size)))
		err_set(e, -ENOMEM, "%s: out of memory", path);
	else if ((n = bytes_read(fd, data, (size_t)st.st_size)) != st.st_size)
		err_set(e, -EIO, "%s: cannot read it: %s", path,
			n < 0 ? err_name((int)n) : "it was changed meanwhile");
	if (fd >= 0)
		close(fd);
	*len = (size_t)n;
	return data;
}

// The signature appears whole or not at all, and an older one stays until then.
static int signature_write(const char *path, const uint8_t sig[TRUST_SIG_BYTES], struct err *e)
{
	char temp[PATH_MAX + 16];
	int fd, rc = 0;

	snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "%s: cannot make a file beside it: %s", path, err_name(errno));
	errno = EIO; // of a write that stops half-way
	if (write(fd, sig, TRUST_SIG_BYTES) != TRUST_SIG_BYTES || fchmod(fd, 0644) != 0 || fsync(fd) != 0 ||
	    rename(temp, path) != 0) {
		rc = err_set(e, -errno, "%s: cannot write the signature: %s", path, err_name(errno));
		unlink(temp);
	}
	close(fd);
	return rc;
}

static int file_sign(EVP_PKEY *key, const char *name, struct err *e)
{
	char path[PATH_MAX + sizeof(TRUST_SUFFIX)];
	uint8_t sig[TRUST_SIG_BYTES];
	size_t sig_len = sizeof(sig), len;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t *data = file_read(name, &len, e);

	// evswitchd looks beside the file itself, wherever a link to it is
	if (!e->code && !realpath(name, path))
		err_set(e, -errno, "%s: cannot find it: %s", name, err_name(errno));
	if (!e->code && !(ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
			  EVP_DigestSign(ctx, sig, &sig_len, data, len) == 1 && sig_len == sizeof(sig)))
		err_set(e, -EIO, "%s: OpenSSL cannot sign it", name);
	if (!e->code)
		signature_write(strcat(path, TRUST_SUFFIX), sig, e);
	EVP_MD_CTX_free(ctx);
	free(data);
	return e->code;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	struct err e = {0};
	EVP_PKEY *key;
	int option;

	while ((option = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (option == 'V') {
			puts("evs-sign " EVS_VERSION);
			return 0;
		}
		return 2;
	}
	if (argc - optind != 2) {
		fputs(usage, stderr);
		return 2;
	}
	key = key_read(argv[optind], &e);
	if (key)
		file_sign(key, argv[optind + 1], &e);
	EVP_PKEY_free(key);
	if (e.code)
		fprintf(stderr, "evs-sign: %s\n", e.text);
	return e.code ? 1 : 0;
}
