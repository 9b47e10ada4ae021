#include "jwe_crypt.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>

static const struct jwe_enc encs[] = {
	{ "A256GCM", 32, 12, 16, "AES-256-GCM", NULL },
	{ "A128GCM", 16, 12, 16, "AES-128-GCM", NULL },
	{ "A128CBC-HS256", 32, 16, 16, "AES-128-CBC", "SHA256" },
	{ "A256CBC-HS512", 64, 16, 32, "AES-256-CBC", "SHA512" },
};

const struct jwe_enc *jwe_enc_find(const char *name)
{
	for (size_t i = 0; i < sizeof encs / sizeof *encs; i++)
		if (strcmp(encs[i].name, name) == 0)
			return &encs[i];
	return NULL;
}

struct secret *jwe_stretch(const struct secret *passphrase, const char *digest, const uint8_t *salt, size_t salt_len, unsigned int rounds,
                           size_t len)
{
	struct secret *out = secret_new(len);
	EVP_MD *md = EVP_MD_fetch(NULL, digest, NULL);

	bool good = out && md && passphrase->len <= INT_MAX && salt_len <= INT_MAX && rounds <= INT_MAX &&
	            PKCS5_PBKDF2_HMAC((const char *)passphrase->data, (int)passphrase->len, salt, (int)salt_len, (int)rounds, md, (int)len,
	                              out->data) == 1;
	EVP_MD_free(md);
	if (good)
		return out;
	secret_free(out);
	return NULL;
}

static bool key_wrap(const struct secret *kek, bool wrap, const uint8_t *in, size_t len, uint8_t *out, size_t out_len)
{
	const char *name = kek->len == 16 ? "AES-128-WRAP" : kek->len == 24 ? "AES-192-WRAP" : "AES-256-WRAP";
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int done = 0, rest = 0;

	if (ctx)
		EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	bool good = cipher && ctx && (size_t)EVP_CIPHER_get_key_length(cipher) == kek->len &&
	            EVP_CipherInit_ex2(ctx, cipher, kek->data, NULL, wrap, NULL) == 1 && EVP_CipherUpdate(ctx, out, &done, in, (int)len) == 1 &&
	            (size_t)done == out_len && EVP_CipherFinal_ex(ctx, out + done, &rest) == 1 && rest == 0;
	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(cipher);
	return good;
}

bool jwe_wrap(const struct secret *kek, const struct secret *key, uint8_t *wrapped)
{
	return key_wrap(kek, true, key->data, key->len, wrapped, key->len + JWE_WRAP_EXTRA);
}

struct secret *jwe_unwrap(const struct secret *kek, const uint8_t *wrapped, size_t len)
{
	/* OpenSSL may use the whole length as scratch space. */
	struct secret *key = len > JWE_WRAP_EXTRA && len <= JWE_CEK_MAX + JWE_WRAP_EXTRA ? secret_new(len) : NULL;

	if (key && key_wrap(kek, false, wrapped, len, key->data, len - JWE_WRAP_EXTRA)) {
		key->len = len - JWE_WRAP_EXTRA;
		return key;
	}
	secret_free(key);
	return NULL;
}

static EVP_CIPHER_CTX *cipher_begin(const struct jwe_enc *enc, const uint8_t *key, const uint8_t *iv, bool encrypt)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, enc->cipher, NULL);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	bool good = cipher && ctx && EVP_CipherInit_ex2(ctx, cipher, key, iv, encrypt, NULL) == 1;
	EVP_CIPHER_free(cipher);
	if (good)
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

bool jwe_encrypt(const struct jwe_enc *enc, const struct secret *cek, const uint8_t *iv, const void *aad, size_t aad_len, const void *in,
                 size_t len, uint8_t *out, uint8_t *tag)
{
	EVP_CIPHER_CTX *ctx = !enc->mac && cek->len == enc->key_len && len <= INT_MAX && aad_len <= INT_MAX ?
	                              cipher_begin(enc, cek->data, iv, true) : NULL;
	uint8_t none[16];
	int n = 0;

	bool good = ctx && EVP_CipherUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1 && EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1 &&
	            (size_t)n == len && EVP_CipherFinal_ex(ctx, none, &n) == 1 &&
	            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, (int)enc->tag_len, tag) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

static bool gcm_open(const struct jwe_enc *enc, const struct secret *cek, const uint8_t *iv, const void *aad, size_t aad_len, const void *in,
                     size_t len, const uint8_t *tag, struct secret *out)
{
	EVP_CIPHER_CTX *ctx = cipher_begin(enc, cek->data, iv, false);
	uint8_t copy[JWE_TAG_MAX], none[16]; /* OpenSSL's prototype wants it writable */
	int n = 0;

	memcpy(copy, tag, enc->tag_len);
	bool good = ctx && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)enc->tag_len, copy) == 1 &&
	            EVP_CipherUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1 && EVP_CipherUpdate(ctx, out->data, &n, in, (int)len) == 1 &&
	            (size_t)n == len && EVP_CipherFinal_ex(ctx, none, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	out->len = len;
	return good;
}

/* HMAC over aad || iv || in || length of aad in bits, compared with the tag, which is its first half (RFC 7518, 5.2.2). */
static bool cbc_tag_good(const struct jwe_enc *enc, const struct secret *cek, const uint8_t *iv, const void *aad, size_t aad_len, const void *in,
                         size_t len, const uint8_t *tag)
{
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)enc->mac, 0),
		OSSL_PARAM_construct_end(),
	};
	uint8_t bits[8], full[EVP_MAX_MD_SIZE];
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	size_t n = 0;

	for (unsigned int i = 0; i < 8; i++)
		bits[i] = (uint8_t)((uint64_t)aad_len * 8 >> (56 - 8 * i));
	bool good = ctx && EVP_MAC_init(ctx, cek->data, enc->key_len / 2, params) == 1 && EVP_MAC_update(ctx, aad, aad_len) == 1 &&
	            EVP_MAC_update(ctx, iv, enc->iv_len) == 1 && EVP_MAC_update(ctx, in, len) == 1 && EVP_MAC_update(ctx, bits, sizeof bits) == 1 &&
	            EVP_MAC_final(ctx, full, &n, sizeof full) == 1 && n >= enc->tag_len && CRYPTO_memcmp(full, tag, enc->tag_len) == 0;
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(mac);
	secret_wipe(full, sizeof full);
	return good;
}

static bool cbc_open(const struct jwe_enc *enc, const struct secret *cek, const uint8_t *iv, const void *aad, size_t aad_len, const void *in,
                     size_t len, const uint8_t *tag, struct secret *out)
{
	int n = 0, rest = 0;

	if (!cbc_tag_good(enc, cek, iv, aad, aad_len, in, len, tag))
		return false;
	EVP_CIPHER_CTX *ctx = cipher_begin(enc, cek->data + enc->key_len / 2, iv, false);
	bool good = ctx && EVP_CipherUpdate(ctx, out->data, &n, in, (int)len) == 1 && EVP_CipherFinal_ex(ctx, out->data + n, &rest) == 1;
	EVP_CIPHER_CTX_free(ctx);
	out->len = good ? (size_t)n + (size_t)rest : 0;
	return good;
}

struct secret *jwe_decrypt(const struct jwe_enc *enc, const struct secret *cek, const uint8_t *iv, const void *aad, size_t aad_len,
                           const void *in, size_t len, const uint8_t *tag)
{
	struct secret *out = cek->len == enc->key_len && len <= INT_MAX - 32 && aad_len <= INT_MAX ? secret_new(len + 32) : NULL; /* CBC: a block */

	if (out && (enc->mac ? cbc_open : gcm_open)(enc, cek, iv, aad, aad_len, in, len, tag, out))
		return out;
	secret_free(out);
	return NULL;
}
