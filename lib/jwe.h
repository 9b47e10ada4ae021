/*
 * jwe: JSON Web Encryption (RFC 7516): secrets under a passphrase (PBES2) or for the holder of an EC key (ECDH-ES).
 *
 * Written: PBES2-HS512+A256KW or ECDH-ES+A256KW (P-256), content in A256GCM, all of the header protected. Read, besides: PBES2-HS256+A128KW and
 * PBES2-HS384+A192KW, ECDH-ES+A128KW and +A192KW, content in A128GCM, A128CBC-HS256, A256CBC-HS512; compact, flattened, or general with one
 * recipient; header parameters in whichever of the three headers, but for "enc", which must be protected.
 *
 * Refused (ERR_FORMAT): "crit", "zip", a header parameter that is there twice, p2c out of bounds, base64 with padding. Nothing of a message that
 * did not authenticate is given out. Thread safe; not signal safe.
 */
#ifndef CT_JWE_H
#define CT_JWE_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "eckey.h"
#include "err.h"
#include "secret.h"

#define JWE_TEXT_MAX 1048576u /* bytes of a message */
#define JWE_P2C 32768u        /* rounds of PBKDF2 that are written: libjose refuses more */
#define JWE_P2C_MIN 1000u     /* that are read; RFC 7518 wants no fewer */
#define JWE_P2C_MAX 1000000u  /* a second of work, some more on a slow machine */

enum jwe_way { JWE_PASSPHRASE, JWE_EC };
enum jwe_form { JWE_COMPACT, JWE_JSON };

/* Whether the text means to be a JWE (white space around it is allowed), sound or not. No JWK does. */
bool jwe_is(const char *text, size_t len);

/* What opens it. -1: malformed, or nothing that we understand. */
int jwe_way(const char *text, size_t len, enum jwe_way *way, struct err *err);

/*
 * The plaintext; the caller frees. passphrase and key: the one that the message does not need may be NULL. NULL: ERR_FORMAT (malformed, or changed),
 * ERR_REJECTED (another passphrase or key; or changed), ERR_NOKEY (what it needs is NULL), ENOMEM.
 */
struct secret *jwe_open(const char *text, size_t len, const struct secret *passphrase, const struct eckey *key, struct err *err);

/*
 * Appends a message to out, and to JWE_JSON a newline. cty: what the plaintext is ("jwk-set+json"), or NULL. key: its public half suffices; its kid goes
 * into the header.
 */
int jwe_seal_passphrase(struct buf *out, enum jwe_form form, const void *plain, size_t len, const char *cty, const struct secret *passphrase,
                        struct err *err);
int jwe_seal_ec(struct buf *out, enum jwe_form form, const void *plain, size_t len, const char *cty, const struct eckey *key, struct err *err);

#endif
