/*
 * jws: JSON Web Signatures (RFC 7515) by Ed25519 (alg EdDSA, RFC 8037), in the compact form: licences and lists of revoked ones.
 *
 * The public key stands in the header (jwk). Whether that is one to be believed is the caller's to say, by its fingerprint. Refused (ERR_FORMAT): every
 * other algorithm, "crit", "b64", a header parameter that is there twice, base64 with padding, a wrong signature. Thread safe; not signal safe.
 */
#ifndef CT_JWS_H
#define CT_JWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "jwk.h"
#include "sign.h"

#define JWS_TEXT_MAX 1048576u /* bytes of a message */
#define JWS_TYP_MAX 32u
#define JWS_FINGERPRINT_LEN 32u /* bytes: SHA-256 of a public key's 32 bytes, as ct list shows it */

struct jws {
	char typ[JWS_TYP_MAX + 1];
	uint8_t x[SIGN_KEY_LEN]; /* who signed */
	char *payload;           /* malloc'ed */
	size_t len;
};

/* Whether the text means to be a JWS in the compact form (white space around it is allowed), sound or not. No JWE, JWK or model does. */
bool jws_is(const char *text, size_t len);

/* The message, its signature checked by the key in it. The caller releases. On failure (ERR_FORMAT, ENOMEM) *s holds nothing. */
int jws_read(struct jws *s, const char *text, size_t len, struct err *err);
void jws_release(struct jws *s);

/* Appends a message and a newline. signer has d; its kid goes into the header. */
int jws_make(struct buf *out, const char *typ, const void *payload, size_t len, const struct jwk *signer, struct err *err);

/* false: OpenSSL refuses. */
bool jws_fingerprint(const uint8_t x[SIGN_KEY_LEN], uint8_t out[JWS_FINGERPRINT_LEN]);

#endif
