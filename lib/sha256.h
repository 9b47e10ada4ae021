/*
 * sha256: the digests of docs/FORMAT.md, "__digests__" (FIPS 180-4), through OpenSSL's EVP.
 *
 * A struct sha256 is a reusable context: one thread at a time.
 */
#ifndef CT_SHA256_H
#define CT_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN 32u

struct sha256; /* opaque */

struct sha256 *sha256_new(void);      /* NULL: OpenSSL refuses or no memory */
void sha256_free(struct sha256 *s);   /* NULL is allowed */

/* Another context, as aead_clone() (aead.h): looks nothing up, signal safe where OpenSSL's allocator is. s must never be used itself. */
struct sha256 *sha256_clone(const struct sha256 *s);

/* A message in pieces. false: OpenSSL fails. */
bool sha256_begin(struct sha256 *s);
bool sha256_update(struct sha256 *s, const void *data, size_t len);
bool sha256_finish(struct sha256 *s, uint8_t out[SHA256_LEN]);

/* A message at once. */
bool sha256_of(struct sha256 *s, const void *data, size_t len, uint8_t out[SHA256_LEN]);

#endif
