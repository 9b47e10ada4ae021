/*
 * eckey: P-256 keys as JWKs (RFC 7518, 6.2) and what two of them agree on, for JWE (jwe.h). They never encrypt or sign models.
 *
 * Every key here has a point that is on the curve, and d, where it is there, belongs to it. Thread safe; not signal safe.
 */
#ifndef CT_ECKEY_H
#define CT_ECKEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "header.h"
#include "json.h"
#include "jwk.h"
#include "secret.h"

#define ECKEY_LEN 32u       /* bytes of d, of each coordinate and of what is agreed on */
#define ECKEY_POINT_LEN 65u /* 04 || x || y */

struct eckey {
	bool has_kid;
	char kid[JWK_KID_MAX + 1];
	size_t kid_len;
	uint8_t point[ECKEY_POINT_LEN];
	struct secret *d; /* NULL: the public half */
};

/*
 * One JWK: kty "EC", crv "P-256", x, y, d?, kid?; "alg", if it is there, must be ECDH-ES or one of its kin. The caller wipes text. On failure
 * (ERR_FORMAT, ENOMEM) *k holds nothing.
 */
int eckey_parse(struct eckey *k, const char *text, size_t len, struct err *err);

/* The same for an object inside of a message. */
int eckey_parse_object(struct eckey *k, const struct json *j, int object, struct err *err);

/* A new key without a kid. */
int eckey_generate(struct eckey *k, struct err *err);
void eckey_release(struct eckey *k);

/* The key, or its public half, as a JWK. NULL: no memory. The caller frees. */
struct secret *eckey_write(const struct eckey *k, bool private_too);

/*
 * The key's thumbprint (RFC 7638): SHA-256 over its public half; and in base64url with a NUL behind it, as licences name keys. false: OpenSSL refuses.
 */
#define ECKEY_THUMB_LEN 32u
#define ECKEY_THUMB_TEXT 44u
bool eckey_thumbprint(const struct eckey *k, uint8_t out[ECKEY_THUMB_LEN], char text[ECKEY_THUMB_TEXT]);

/*
 * ECDH-ES (RFC 7518, 4.6): the len <= 64 bytes of key for the algorithm `alg` on which own (which has d) and peer agree. NULL: OpenSSL refuses, or no
 * memory.
 */
struct secret *eckey_agree(const struct eckey *own, const struct eckey *peer, const char *alg, struct str apu, struct str apv, size_t len);

#endif
