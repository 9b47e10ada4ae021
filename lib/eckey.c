#include "eckey.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>
#include <string.h>

#include "base64.h"

#define RAW_MAX 128u  /* characters of a JSON string that holds 32 bytes, escapes included */
#define INFO_MAX 800u /* of the KDF: three names and a number */

enum member { M_KTY, M_CRV, M_ALG, M_KID, M_X, M_Y, M_D, MEMBERS };

static const char *const member_names[MEMBERS] = { "kty", "crv", "alg", "kid", "x", "y", "d" };

static bool is_alg(const struct json *j, int value)
{
	return json_is(j, value, "ECDH-ES") || json_is(j, value, "ECDH-ES+A128KW") || json_is(j, value, "ECDH-ES+A192KW") ||
	       json_is(j, value, "ECDH-ES+A256KW");
}

static bool put_bytes(const struct json *j, int value, uint8_t dst[ECKEY_LEN])
{
	char text[RAW_MAX];
	size_t len;

	json_raw(j, value, &len);
	if (len > sizeof text)
		return false;
	len = json_unescape(j, value, text);
	bool good = base64_decode(BASE64_URL, text, len, dst, ECKEY_LEN) == ECKEY_LEN;
	secret_wipe(text, sizeof text);
	return good;
}

static bool put_kid(const struct json *j, int value, struct eckey *k)
{
	if (json_unescape(j, value, NULL) > JWK_KID_MAX)
		return false;
	size_t raw;
	json_raw(j, value, &raw);
	char text[6 * JWK_KID_MAX];
	if (raw > sizeof text)
		return false;
	k->kid_len = json_unescape(j, value, text);
	memcpy(k->kid, text, k->kid_len);
	k->kid[k->kid_len] = '\0';
	k->has_kid = true;
	return true;
}

static bool put(struct eckey *k, enum member m, const struct json *j, int value)
{
	if (json_type(j, value) != JSON_STRING)
		return false;
	switch (m) {
	case M_KTY:
		return json_is(j, value, "EC");
	case M_CRV:
		return json_is(j, value, "P-256");
	case M_ALG:
		return is_alg(j, value);
	case M_KID:
		return put_kid(j, value, k);
	case M_X:
		return put_bytes(j, value, k->point + 1);
	case M_Y:
		return put_bytes(j, value, k->point + 1 + ECKEY_LEN);
	case M_D:
		return put_bytes(j, value, k->d->data);
	default:
		return false;
	}
}

/* Takes one member; names that we don't know are skipped. */
static int take(struct eckey *k, unsigned int *seen, const struct json *j, int key, int value, struct err *err)
{
	static const char *const shape[MEMBERS] = {
		[M_KTY] = "EC",
		[M_CRV] = "P-256",
		[M_ALG] = "ECDH-ES or one of its kin",
		[M_KID] = "a string of at most 255 bytes",
		[M_X] = "32 bytes in base64url without padding",
		[M_Y] = "32 bytes in base64url without padding",
		[M_D] = "32 bytes in base64url without padding",
	};
	unsigned int m;

	for (m = 0; m < MEMBERS; m++)
		if (json_is(j, key, member_names[m]))
			break;
	if (m == MEMBERS)
		return 0;
	if (*seen & 1u << m)
		return err_set(err, ERR_FORMAT, "EC key: \"%s\" is there twice", member_names[m]);
	*seen |= 1u << m;
	if (m == M_D) {
		k->d = secret_new(ECKEY_LEN);
		if (!k->d)
			return err_sys(err, ENOMEM, "EC key");
	}
	return put(k, (enum member)m, j, value) ? 0 : err_set(err, ERR_FORMAT, "EC key: \"%s\" is not %s", member_names[m], shape[m]);
}

/* OpenSSL's form of the key, or NULL: the point is not on the curve, or d is not its. */
static EVP_PKEY *make(const struct eckey *k)
{
	OSSL_PARAM params[4];
	uint8_t native[ECKEY_LEN] = { 0 };
	EVP_PKEY *pkey = NULL;
	size_t n = 0;

	params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){ "P-256" }, 0);
	params[n++] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)k->point, sizeof k->point);
	if (k->d) {
		BIGNUM *bn = BN_bin2bn(k->d->data, ECKEY_LEN, NULL);
		bool good = bn && BN_bn2nativepad(bn, native, ECKEY_LEN) == ECKEY_LEN;
		BN_clear_free(bn);
		if (!good)
			return NULL;
		params[n++] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, native, sizeof native);
	}
	params[n] = OSSL_PARAM_construct_end();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL), *check = NULL;
	bool good = ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
	            EVP_PKEY_fromdata(ctx, &pkey, k->d ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) == 1;
	secret_wipe(native, sizeof native);
	if (good)
		check = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	good = check && (k->d ? EVP_PKEY_check(check) : EVP_PKEY_public_check(check)) == 1;
	EVP_PKEY_CTX_free(check);
	EVP_PKEY_CTX_free(ctx);
	if (good)
		return pkey;
	EVP_PKEY_free(pkey);
	return NULL;
}

static int finish(struct eckey *k, unsigned int seen, struct err *err)
{
	static const enum member needed[] = { M_KTY, M_CRV, M_X, M_Y };

	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
		if (!(seen & 1u << needed[i]))
			return err_set(err, ERR_FORMAT, "EC key: \"%s\" is missing", member_names[needed[i]]);
	k->point[0] = 4;
	EVP_PKEY *pkey = make(k);
	if (!pkey)
		return err_set(err, ERR_FORMAT, k->d ? "EC key: not a point of P-256 and its d" : "EC key: not a point of P-256");
	EVP_PKEY_free(pkey);
	return 0;
}

int eckey_parse(struct eckey *k, const char *text, size_t len, struct err *err)
{
	unsigned int seen = 0;
	struct json_member m;
	struct json j;
	int r;

	memset(k, 0, sizeof *k);
	json_begin(&j, text, len);
	while ((r = json_next(&j, &m, err)) > 0)
		if ((r = take(k, &seen, &j, m.key, m.value, err)) < 0)
			break;
	json_release(&j);
	if (r == 0)
		r = finish(k, seen, err);
	if (r < 0)
		eckey_release(k);
	return r;
}

int eckey_parse_object(struct eckey *k, const struct json *j, int object, struct err *err)
{
	unsigned int seen = 0;
	int r = 0;

	memset(k, 0, sizeof *k);
	for (int key = json_first(j, object); key >= 0 && r == 0; key = json_sibling(j, key))
		r = take(k, &seen, j, key, json_value(j, key), err);
	if (r == 0)
		r = finish(k, seen, err);
	if (r < 0)
		eckey_release(k);
	return r;
}

int eckey_generate(struct eckey *k, struct err *err)
{
	BIGNUM *bn = NULL;
	size_t len = 0;

	memset(k, 0, sizeof *k);
	k->d = secret_new(ECKEY_LEN);
	EVP_PKEY *pkey = k->d ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256") : NULL;
	bool good = pkey && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &bn) == 1 &&
	            BN_bn2binpad(bn, k->d->data, ECKEY_LEN) == ECKEY_LEN &&
	            EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, k->point, sizeof k->point, &len) == 1 &&
	            len == sizeof k->point && k->point[0] == 4;
	BN_clear_free(bn);
	EVP_PKEY_free(pkey);
	if (good)
		return 0;
	eckey_release(k);
	return err_sys(err, EIO, "OpenSSL cannot make an EC key");
}

void eckey_release(struct eckey *k)
{
	secret_free(k->d);
	k->d = NULL;
}

struct secret *eckey_write(const struct eckey *k, bool private_too)
{
	static const char head[] = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ECDH-ES+A256KW\"";
	const uint8_t *part[3] = { k->point + 1, k->point + 1 + ECKEY_LEN, private_too && k->d ? k->d->data : NULL };
	struct buf kid = BUF_INIT;
	struct secret *out = NULL;

	if (k->has_kid)
		buf_put_json_string(&kid, k->kid, k->kid_len);
	if (!kid.failed)
		out = secret_new(sizeof head + kid.len + 200); /* 43 characters and their names, three times */
	if (out) {
		char *p = (char *)out->data;
		p = mempcpy(p, head, sizeof head - 1);
		if (k->has_kid) {
			p = mempcpy(p, ",\"kid\":", 7);
			p = mempcpy(p, kid.data, kid.len);
		}
		for (size_t i = 0; i < 3 && part[i]; i++) {
			p = mempcpy(p, (char[]){ ',', '"', "xyd"[i], '"', ':', '"' }, 6);
			base64_encode(BASE64_URL, part[i], ECKEY_LEN, p);
			p += base64_encoded_len(BASE64_URL, ECKEY_LEN);
			*p++ = '"';
		}
		p = mempcpy(p, "}\n", 2);
		out->len = (size_t)(p - (char *)out->data);
	}
	buf_release(&kid);
	return out;
}

bool eckey_thumbprint(const struct eckey *k, uint8_t out[ECKEY_THUMB_LEN], char text[ECKEY_THUMB_TEXT])
{
	char json[200], x[ECKEY_THUMB_TEXT] = "", y[ECKEY_THUMB_TEXT] = "";

	base64_encode(BASE64_URL, k->point + 1, ECKEY_LEN, x);
	base64_encode(BASE64_URL, k->point + 1 + ECKEY_LEN, ECKEY_LEN, y);
	int len = snprintf(json, sizeof json, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
	if (EVP_Digest(json, (size_t)len, out, NULL, EVP_sha256(), NULL) != 1)
		return false;
	base64_encode(BASE64_URL, out, ECKEY_THUMB_LEN, text);
	text[ECKEY_THUMB_TEXT - 1] = '\0';
	return true;
}

static struct secret *shared_point(const struct eckey *own, const struct eckey *peer)
{
	struct secret *z = secret_new(ECKEY_LEN);
	EVP_PKEY *a = make(own), *b = make(peer);
	EVP_PKEY_CTX *ctx = a && b && z ? EVP_PKEY_CTX_new_from_pkey(NULL, a, NULL) : NULL;
	size_t len = ECKEY_LEN;

	bool good = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, b) == 1 &&
	            EVP_PKEY_derive(ctx, z->data, &len) == 1 && len == ECKEY_LEN;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(a);
	EVP_PKEY_free(b);
	if (good)
		return z;
	secret_free(z);
	return NULL;
}

static uint8_t *put_number(uint8_t *p, size_t v)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		*p++ = (uint8_t)(v >> shift);
	return p;
}

/* AlgorithmID || PartyUInfo || PartyVInfo || SuppPubInfo. */
static size_t put_info(uint8_t info[INFO_MAX], const char *alg, struct str apu, struct str apv, size_t key_len)
{
	const struct str parts[] = { { alg, strlen(alg) }, apu, apv };
	uint8_t *p = info;

	for (size_t i = 0; i < 3; i++) {
		if (parts[i].len > JWK_KID_MAX)
			return 0;
		p = put_number(p, parts[i].len);
		if (parts[i].len)
			p = mempcpy(p, parts[i].p, parts[i].len);
	}
	p = put_number(p, key_len * 8);
	return (size_t)(p - info);
}

/* The Concat KDF of RFC 7518 is the one-step KDF of NIST SP 800-56A with SHA-256: OpenSSL's SSKDF (X963KDF puts the counter elsewhere). */
struct secret *eckey_agree(const struct eckey *own, const struct eckey *peer, const char *alg, struct str apu, struct str apv, size_t len)
{
	uint8_t info[INFO_MAX];
	size_t info_len = put_info(info, alg, apu, apv, len);
	struct secret *z = own->d && info_len ? shared_point(own, peer) : NULL, *out = z ? secret_new(len) : NULL;
	EVP_KDF *kdf = out ? EVP_KDF_fetch(NULL, "SSKDF", NULL) : NULL;
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool good = false;

	if (ctx) {
		const OSSL_PARAM params[] = {
			OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
			OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, z->data, z->len),
			OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, info_len),
			OSSL_PARAM_construct_end(),
		};
		good = EVP_KDF_derive(ctx, out->data, len, params) == 1;
	}
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	secret_free(z);
	if (good)
		return out;
	secret_free(out);
	return NULL;
}
