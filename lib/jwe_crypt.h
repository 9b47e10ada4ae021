/*
 * jwe_crypt: the algorithms behind jwe.h (RFC 7518), through OpenSSL's EVP: keys from passphrases, AES key wrap, content encryption.
 *
 * Lengths in bytes. Thread safe; not signal safe.
 */
#ifndef CT_JWE_CRYPT_H
#define CT_JWE_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret.h"

#define JWE_IV_MAX 16u
#define JWE_TAG_MAX 32u
#define JWE_CEK_MAX 64u
#define JWE_WRAP_EXTRA 8u

struct jwe_enc {
	const char *name;
	size_t key_len, iv_len, tag_len;
	const char *cipher, *mac; /* OpenSSL's names; mac: NULL for GCM */
};

/* The content encryption of that name, or NULL. Static. */
const struct jwe_enc *jwe_enc_find(const char *name);

/* PBKDF2-HMAC. NULL: OpenSSL refuses, or no memory. */
struct secret *jwe_stretch(const struct secret *passphrase, const char *digest, const uint8_t *salt, size_t salt_len, unsigned int rounds,
                           size_t len);

/* AES key wrap (RFC 3394) under a key of 16, 24 or 32 bytes; what wraps is JWE_WRAP_EXTRA longer. false: OpenSSL refuses. */
bool jwe_wrap(const struct secret *kek, const struct secret *key, uint8_t *wrapped);

/* NULL: not wrapped under this key. */
struct secret *jwe_unwrap(const struct secret *kek, const uint8_t *wrapped, size_t len);

/* GCM alone: CBC is only read. out has room for len bytes and may be in. */
bool jwe_encrypt(const struct jwe_enc *enc, const struct secret *cek, const uint8_t *iv, const void *aad, size_t aad_len, const void *in,
                 size_t len, uint8_t *out, uint8_t *tag);

/* The plaintext, or NULL: the tag is wrong, or OpenSSL has no memory. */
struct secret *jwe_decrypt(const struct jwe_enc *enc, const struct secret *cek, const uint8_t *iv, const void *aad, size_t aad_len,
                           const void *in, size_t len, const uint8_t *tag);

#endif
