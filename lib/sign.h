/*
 * sign: Ed25519 (RFC 8032) through OpenSSL's EVP. Pure functions, thread safe.
 */
#ifndef CT_SIGN_H
#define CT_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGN_KEY_LEN 32 /* public key x, and seed d */
#define SIGN_LEN 64

bool sign_verify(const uint8_t x[SIGN_KEY_LEN], const void *msg, size_t len, const uint8_t sig[SIGN_LEN]);
bool sign_make(const uint8_t d[SIGN_KEY_LEN], const void *msg, size_t len, uint8_t sig[SIGN_LEN]);
bool sign_public(const uint8_t d[SIGN_KEY_LEN], uint8_t x[SIGN_KEY_LEN]); /* x of d */

/* "ed25519" in upper or lower case; no '-' is skipped here, other than in the names of AEADs. RFC 8037's "EdDSA" is for key files only: jwk.c knows it. */
bool sign_alg_known(const char *name, size_t len);

#endif
