/*
 * jwe_head: the header parameters of a JWE, from whichever of its three headers they come.
 *
 * A zeroed struct takes any number of headers, then jwe_head_check() says whether they make sense. Thread safe; not signal safe.
 */
#ifndef CT_JWE_HEAD_H
#define CT_JWE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eckey.h"
#include "err.h"
#include "json.h"
#include "jwe_crypt.h"

#define JWE_PARAMS_MAX 32u
#define JWE_NAME_MAX 64u /* bytes of a parameter's name */
#define JWE_P2S_MIN 8u   /* RFC 7518, 4.8.1.1 */
#define JWE_P2S_MAX 255u
#define JWE_PARTY_MAX 255u /* bytes of apu and apv */

struct jwe_alg {
	const char *name;
	size_t kek_len;
	const char *digest; /* of PBKDF2; NULL: ECDH-ES */
};

/* The key management algorithm of that name, or NULL. Static. */
const struct jwe_alg *jwe_alg_find(const char *name);

struct jwe_head {
	char names[JWE_PARAMS_MAX][JWE_NAME_MAX + 1];
	size_t count;
	const struct jwe_alg *alg;
	const struct jwe_enc *enc;
	bool enc_protected;
	unsigned int p2c;
	uint8_t p2s[JWE_P2S_MAX + 1];
	size_t p2s_len;
	char apu[JWE_PARTY_MAX + 1], apv[JWE_PARTY_MAX + 1]; /* bytes, not text */
	size_t apu_len, apv_len;
	bool has_epk;
	struct eckey epk;
};

/* The protected header, as the message has it: base64url. */
int jwe_head_protected(struct jwe_head *h, const char *encoded, size_t len, struct err *err);

/* Another header: a value inside of the message. */
int jwe_head_object(struct jwe_head *h, const struct json *j, int tok, struct err *err);

int jwe_head_check(const struct jwe_head *h, struct err *err);
void jwe_head_release(struct jwe_head *h);

#endif
