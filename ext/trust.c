// Who may bring code into the switch process (trust.h). The loader asks before each dlopen().
//
// The way to a file is walked by descriptors, one name at a time, so that what was checked is what is opened. Then the
// file is copied into sealed memory, and only the copy is verified and handed out. Jobs thread.
#include "ext/trust.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LINKS     40 // as the kernel
#define MAX_KEY_BYTES (16 << 10)
#define SEALS         (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct walk {
	const char *object; // with what sentences begin
	bool sticky_ok;     // may pass directories like /tmp
	int fd;             // where it is, opened with O_PATH
	struct stat st;     // of fd
	unsigned n_links;
	char at[PATH_MAX];   // the name of fd, without links; "" = the root
	char rest[PATH_MAX]; // still to walk
};

struct bytes {
	const uint8_t *data;
	size_t len;
};

// Whoever owns something on the way, or may write to it, decides what is found there.
static int owner_check(const struct walk *w, const char *at, const struct stat *st, struct err *e)
{
	bool is_dir = S_ISDIR(st->st_mode), is_sticky = is_dir && (st->st_mode & S_ISVTX);

	if (st->st_uid != 0 && st->st_uid != geteuid())
		return err_set(
		    e, -EPERM,
		    "%s: %s belongs to user %u, who can change it; it must be root's (chown root) or "
		    "of the user that evswitchd runs as",
		    w->object, at, st->st_uid);
	if (S_ISLNK(st->st_mode) || (st->st_mode & (S_IWGRP | S_IWOTH)) == 0 || (is_sticky && w->sticky_ok))
		return 0;
	if (is_sticky)
		return err_set(
		    e, -EPERM,
		    "%s: all users may make files in %s (mode %04o); use a directory that only root "
		    "can write to, or start evswitchd with --allow-unsigned for development",
		    w->object, at, st->st_mode & 07777);
	return err_set(e, -EPERM, "%s: others than its owner may write to %s%s (mode %04o); chmod go-w %s",
		       w->object, is_dir ? "the directory " : "", at, st->st_mode & 07777, at);
}

// Goes to what `fd` is of, which is from now on the walk's.
static int walk_enter(struct walk *w, int fd, struct err *e)
{
	int reason = fd < 0 || fstat(fd, &w->st) != 0 ? errno : 0;

	if (w->fd >= 0)
		close(w->fd);
	w->fd = fd;
	if (reason)
		return err_set(e, -reason, "%s: cannot open %s: %s", w->object, *w->at ? w->at : "/",
			       err_name(reason));
	return owner_check(w, *w->at ? w->at : "/", &w->st, e);
}

static int walk_root(struct walk *w, struct err *e)
{
	w->at[0] = '\0';
	return walk_enter(w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), e);
}

// Puts what the link `fd` says before the rest of the way.
static int walk_link(struct walk *w, int fd, const struct stat *st, const char *name, struct err *e)
{
	char at[2 * PATH_MAX], target[PATH_MAX], rest[PATH_MAX];
	ssize_t len = readlinkat(fd, "", target, sizeof(target));
	int rc, reason = errno;

	snprintf(at, sizeof(at), "%s/%s", w->at, name);
	rc = owner_check(w, at, st, e);
	if (rc != 0)
		return rc;
	if (len < 0)
		return err_set(e, -reason, "%s: cannot read the link %s: %s", w->object, at,
			       err_name(reason));
	if (++w->n_links > MAX_LINKS)
		return err_set(e, -ELOOP, "%s: %s goes through more than %d links; name the file itself",
			       w->object, at, MAX_LINKS);
	strcpy(rest, w->rest);
	if (len == PATH_MAX || snprintf(w->rest, PATH_MAX, "%.*s/%s", (int)len, target, rest) >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "%s: the link %s makes a name of more than %d characters",
			       w->object, at, PATH_MAX - 1);
	return target[0] == '/' ? walk_root(w, e) : 0;
}

static int walk_step(struct walk *w, const char *name, struct err *e)
{
	int fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), reason = errno, rc;
	size_t len = strlen(w->at);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode)) {
		rc = walk_link(w, fd, &st, name, e);
		close(fd);
		return rc;
	}
	if (strcmp(name, "..") == 0) {
		*(strrchr(w->at, '/') ?: w->at) = '\0';
	} else if (snprintf(w->at + len, PATH_MAX - len, "/%s", name) >= (int)(PATH_MAX - len)) {
		if (fd >= 0)
			close(fd);
		return err_set(e, -ENAMETOOLONG, "%s: %s... is a name of more than %d characters", w->object,
			       w->at, PATH_MAX - 1);
	}
	errno = reason;
	return walk_enter(w, fd, e);
}

// Walks to `path` and leaves w->fd, w->st and w->at there. The caller has filled in `object` and `sticky_ok` and closes
// w->fd in any case.
static int walk_to(struct walk *w, const char *path, struct err *e)
{
	char cwd[PATH_MAX] = "";
	int rc;

	w->fd = -1;
	if (path[0] != '/' && !getcwd(cwd, sizeof(cwd)))
		return err_set(e, -errno, "%s: %s: cannot find the current directory: %s", w->object, path,
			       err_name(errno));
	if (snprintf(w->rest, PATH_MAX, "%s/%s", cwd, path) >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "%s: the path has more than %d characters", w->object,
			       PATH_MAX - 1);
	rc = walk_root(w, e);
	while (rc == 0 && w->rest[0] != '\0') {
		char name[PATH_MAX];
		size_t len = strcspn(w->rest, "/"), more = w->rest[len] == '/';

		memcpy(name, w->rest, len);
		name[len] = '\0';
		memmove(w->rest, w->rest + len + more, strlen(w->rest + len + more) + 1);
		if (len > 0 && strcmp(name, ".") != 0)
			rc = walk_step(w, name, e);
	}
	return rc;
}

static void walk_end(struct walk *w)
{
	if (w->fd >= 0)
		close(w->fd);
}

// Opens a file for reading. Nothing else is ever opened: not a FIFO, which would wait, nor a device, which would act.
static int file_open(struct walk *w, const char *path, size_t max_bytes, struct err *e)
{
	char name[32];
	int rc = walk_to(w, path, e), fd;

	if (rc == 0 && !S_ISREG(w->st.st_mode))
		rc = err_set(e, -EINVAL, "%s: %s is %s; a regular file is needed", w->object,
			     *w->at ? w->at : "/",
			     S_ISDIR(w->st.st_mode) ? "a directory" : "a device, socket or FIFO");
	if (rc == 0 && (uint64_t)w->st.st_size > max_bytes)
		rc = err_set(e, -EFBIG, "%s: %s has more than %zu KiB; is it the right file?", w->object,
			     w->at, max_bytes >> 10);
	if (rc != 0) {
		walk_end(w);
		return rc;
	}
	snprintf(name, sizeof(name), "/proc/self/fd/%d", w->fd);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = err_set(e, -errno, "%s: cannot read %s: %s", w->object, w->at, err_name(errno));
	walk_end(w);
	return fd;
}

// The first `size` bytes of a file at most; their number or -errno.
static ssize_t file_read(int fd, void *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	do {
		n = read(fd, (char *)buf + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		len += (size_t)n;
	} while (n != 0 && len < size);
	return (ssize_t)len;
}

// Copies up to `max_bytes` + 1: a file may grow while it is read.
static ssize_t file_copy(int from, int to, size_t max_bytes)
{
	size_t len = 0;
	ssize_t n;

	do {
		n = sendfile(to, from, NULL, max_bytes + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		len += (size_t)n;
	} while (n != 0 && len <= max_bytes);
	return (ssize_t)len;
}

// The file's bytes in memory that nobody can change, as a descriptor.
static int copy_open(struct walk *w, const char *path, struct err *e)
{
	int from = file_open(w, path, TRUST_MAX_BYTES, e), fd;
	char name[200]; // a memory file's has at most 249
	ssize_t len;

	if (from < 0)
		return from;
	// in /proc/PID/maps the copy has the name of the file
	snprintf(name, sizeof(name), "%s", strrchr(w->at, '/') + 1);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	len = fd < 0 ? -errno : file_copy(from, fd, TRUST_MAX_BYTES);
	close(from);
	if (len >= 0 && fcntl(fd, F_ADD_SEALS, SEALS) != 0)
		len = -errno;
	if (len > 0 && len <= TRUST_MAX_BYTES)
		return fd;
	if (fd >= 0)
		close(fd);
	if (len < 0)
		return err_set(e, (int)len, "%s: cannot copy %s to memory: %s", w->object, w->at,
			       err_name((int)len));
	return err_set(e, -EINVAL, "%s: %s %s", w->object, w->at,
		       len == 0 ? "is empty" : "grows while it is read");
}

static int signature_read(const struct walk *file, uint8_t sig[TRUST_SIG_BYTES], struct err *e)
{
	struct walk w = {.object = file->object, .sticky_ok = file->sticky_ok};
	char path[PATH_MAX + sizeof(TRUST_SUFFIX)];
	uint8_t buf[TRUST_SIG_BYTES + 1];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s" TRUST_SUFFIX, file->at);
	fd = file_open(&w, path, TRUST_MAX_BYTES, e);
	if (fd == -ENOENT)
		return err_set(
		    e, -ENOKEY,
		    "%s: %s has no signature %s; sign it with 'evs-sign KEY.pem %s', or start evswitchd "
		    "with --allow-unsigned for development",
		    w.object, file->at, path, file->at);
	if (fd < 0)
		return fd;
	len = file_read(fd, buf, sizeof(buf));
	close(fd);
	if (len != TRUST_SIG_BYTES)
		return err_set(
		    e, -EKEYREJECTED,
		    "%s: %s is not an Ed25519 signature, which has exactly %d bytes; sign the file again "
		    "with 'evs-sign KEY.pem %s'",
		    w.object, path, TRUST_SIG_BYTES, file->at);
	memcpy(sig, buf, TRUST_SIG_BYTES);
	return 0;
}

// NULL with one more finding in `e`.
static EVP_PKEY *key_read(const char *path, struct err *e)
{
	struct walk w = {.object = "key not used"};
	char text[MAX_KEY_BYTES];
	struct err why = {0};
	EVP_PKEY *key = NULL;
	ssize_t len;
	int fd = file_open(&w, path, sizeof(text), &why);
	BIO *bio;

	if (fd < 0) {
		err_add(e, fd, "%s", why.text);
		return NULL;
	}
	len = file_read(fd, text, sizeof(text));
	close(fd);
	bio = BIO_new_mem_buf(text, len < 0 ? 0 : (int)len);
	// a passphrase is given so that OpenSSL asks for none
	if (bio)
		key = PEM_read_bio_PUBKEY(bio, NULL, NULL, "");
	BIO_free(bio);
	if (key && EVP_PKEY_is_a(key, "ED25519"))
		return key;
	err_add(e, -EINVAL,
		"%s: %s is not an Ed25519 public key in PEM ('openssl pkey -in KEY.pem -pubout' prints it)",
		w.object, w.at);
	EVP_PKEY_free(key);
	return NULL;
}

static bool key_verifies(EVP_PKEY *key, const uint8_t sig[TRUST_SIG_BYTES], struct bytes file)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
		  EVP_DigestVerify(ctx, sig, TRUST_SIG_BYTES, file.data, file.len) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

static int is_key_name(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 4 && strcmp(d->d_name + len - 4, ".pem") == 0;
}

// Names of the keys in the trusted directory, in alphabetical order; their number or -errno.
static int keys_list(struct walk *w, const char *dir, struct dirent ***names, struct err *e)
{
	int n = walk_to(w, dir, e);

	if (n == 0) {
		*names = NULL;
		n = scandir(w->at, names, is_key_name, alphasort);
		if (n < 0)
			n = err_set(e, -errno, "%s: cannot read the directory of trusted keys %s: %s",
				    w->object, dir, err_name(errno));
		if (n == 0)
			free(*names);
	}
	walk_end(w);
	if (n == -ENOENT || n == 0)
		n = err_set(
		    e, -ENOKEY,
		    "%s: there is no trusted key in %s; put the public key of the extension's maker there as "
		    "NAME.pem, or start evswitchd with --allow-unsigned for development",
		    w->object, dir);
	return n;
}

// Tries the trusted keys one after the other.
static int keys_try(const struct walk *file, const char *dir, const uint8_t sig[TRUST_SIG_BYTES],
		    struct bytes bytes, char signer[TRUST_SIGNER_LEN], struct err *e)
{
	struct walk w = {.object = file->object};
	struct dirent **names;
	struct err unused = {0};
	int n = keys_list(&w, dir, &names, e);
	bool found = false;

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX + NAME_MAX + 2];
		EVP_PKEY *key = NULL;

		snprintf(path, sizeof(path), "%s/%s", w.at, names[i]->d_name);
		if (!found)
			key = key_read(path, &unused);
		if (key && key_verifies(key, sig, bytes)) {
			snprintf(signer, TRUST_SIGNER_LEN, "%.*s", (int)strlen(names[i]->d_name) - 4,
				 names[i]->d_name);
			found = true;
		}
		EVP_PKEY_free(key);
		free(names[i]);
	}
	free(names);
	if (found)
		return 0;
	err_set(e, -EKEYREJECTED,
		"%s: no key in %s verifies %s" TRUST_SUFFIX
		"; either %s was changed after it was signed, or the key of "
		"its maker is missing there as NAME.pem",
		file->object, dir, file->at, file->at);
	return unused.code ? err_add(e, -EKEYREJECTED, "%s", unused.text) : -EKEYREJECTED;
}

static int signature_check(const struct walk *file, int fd, const char *dir, char signer[TRUST_SIGNER_LEN],
			   struct err *e)
{
	uint8_t sig[TRUST_SIG_BYTES];
	struct stat st;
	void *data;
	int rc = signature_read(file, sig, e);

	if (rc != 0)
		return rc;
	if (fstat(fd, &st) != 0 ||
	    (data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
		return err_set(e, -errno, "%s: cannot map the copy of %s: %s", file->object, file->at,
			       err_name(errno));
	rc = keys_try(file, dir, sig, (struct bytes){data, (size_t)st.st_size}, signer, e);
	munmap(data, (size_t)st.st_size);
	ERR_clear_error();
	return rc;
}

int trust_check(const struct trust_rules *rules, const char *object, const char *path,
		char signer[TRUST_SIGNER_LEN], struct err *e)
{
	struct walk w = {.object = object, .sticky_ok = rules->allow_unsigned};
	int fd = copy_open(&w, path, e), rc;

	signer[0] = '\0';
	if (fd < 0)
		return fd;
	// An unsigned file may still have a signature, which is then worth to be shown.
	rc = signature_check(&w, fd, rules->dir, signer, rules->allow_unsigned ? NULL : e);
	if (rc == 0 || rules->allow_unsigned)
		return fd;
	close(fd);
	return rc;
}
