// Whether the file of an extension may be loaded, and the bytes to load if it may.
//
// What is checked is a private copy that nobody can change any more, and that copy is what the caller gets: a file that
// is exchanged afterwards changes nothing. The original must be a regular file of at most TRUST_MAX_BYTES. It and every
// directory and link on the way to it must belong to root or to the daemon's user and be writable by no one else.
//
// The signature of FILE is FILE.sig, beside the file itself and not beside a link to it: the 64 bytes of an Ed25519
// signature (RFC 8032, section 5.1.6) over all bytes of the file, as evs-sign writes them and "openssl pkeyutl -sign
// -rawin" does. It counts if one of the keys NAME.pem (PEM, SubjectPublicKeyInfo) in the trusted directory verifies it;
// that directory and the keys must be as safe from others as the file. A key that cannot be used is named when no other
// one verifies the signature.
//
// Jobs thread: reads whole files.
#pragma once

#include <stdbool.h>

#include "ctrl/api/err.h"

#define TRUST_SUFFIX     ".sig"
#define TRUST_SIG_BYTES  64
#define TRUST_MAX_BYTES  (64 << 20)
#define TRUST_SIGNER_LEN 256

struct trust_rules {
	const char *dir; // of trusted keys
	// For development: a file needs no signature, and may stand below a directory where all may make files of their
	// own, as /tmp is.
	bool allow_unsigned;
};

// Returns a descriptor of a sealed memory file with the checked bytes, close-on-exec, for
// dlopen("/proc/self/fd/N"). Keep it open until dlclose(): the C library knows libraries by the name they were opened
// with, and would answer with the old one if another were opened under the same number. `signer` gets the name of the
// key (NAME of NAME.pem), "" if none verifies the file. Else -errno with a sentence that begins with `object`,
// as "ext fw".
int trust_check(const struct trust_rules *rules, const char *object, const char *path,
		char signer[TRUST_SIGNER_LEN], struct err *e);
