// A file with its signature and a directory with its maker's key, for tests of ext/trust.h.
//
// Below /run, where only root makes files: directories like /tmp are refused. Names are below the test's directory.
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ext/trust.h"

enum { STRANGER = 4711, FILE_BYTES = 100000 };

extern char base[64], signer[TRUST_SIGNER_LEN]; // the test's directory; who signed what was checked last
extern EVP_PKEY *maker, *other;                 // the key of keys/maker.pem, and one that nobody trusts
extern struct err why;                          // of the last check

void fresh(void); // base with fw.so, fw.so.sig and keys/maker.pem
void clean(void); // fails if a descriptor is open that fresh() did not leave

const char *in(const char *name); // its path; 8 of them at a time

void put(const char *name, const void *data, size_t len);
size_t get(const char *path, uint8_t *buf, size_t size);
void put_public(const char *name, EVP_PKEY *key);
void sign(const char *name, EVP_PKEY *key); // writes NAME.sig with OpenSSL alone
void flip(const char *name, long at);       // changes one bit

int check(const char *name); // trust_check(); a name with / in front is a path
int check_with(const char *name, bool allow_unsigned);
const char *said(void); // the sentence of the last check, with D for `base`
void refused(const char *name, const char *sentence);
void accepted(const char *name, const char *by);
