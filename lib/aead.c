#include "aead.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "secret.h"

static const struct {
	const char *name;
	size_t key_len;
	const char *fetch;  /* OpenSSL's name of the AEAD */
	const char *stream; /* and of its bare key stream */
} algs[AEAD_ALGS] = {
	[AEAD_AES128GCM] = { "aes128gcm", 16, "AES-128-GCM", "AES-128-CTR" },
	[AEAD_AES256GCM] = { "aes256gcm", 32, "AES-256-GCM", "AES-256-CTR" },
	[AEAD_CHACHA20POLY1305] = { "chacha20poly1305", 32, "ChaCha20-Poly1305", "ChaCha20" },
};

bool aead_alg_parse(const char *name, size_t len, enum aead_alg *alg)
{
	char plain[32];
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '-')
			continue;
		if (n == sizeof plain)
			return false;
		plain[n++] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
	}
	for (int a = 0; a < AEAD_ALGS; a++) {
		if (strlen(algs[a].name) == n && memcmp(algs[a].name, plain, n) == 0) {
			*alg = (enum aead_alg)a;
			return true;
		}
	}
	return false;
}

const char *aead_alg_name(enum aead_alg alg)
{
	return algs[alg].name;
}

size_t aead_key_len(enum aead_alg alg)
{
	return algs[alg].key_len;
}

struct aead {
	EVP_CIPHER_CTX *ctx;
	bool chacha;
};

static struct aead *make(const EVP_CIPHER *cipher, bool chacha)
{
	struct aead *a = OPENSSL_zalloc(sizeof *a);
	if (!a)
		return NULL;
	a->chacha = chacha;
	a->ctx = EVP_CIPHER_CTX_new();
	if (a->ctx && EVP_CipherInit_ex2(a->ctx, cipher, NULL, NULL, 1, NULL) == 1)
		return a;
	aead_free(a);
	return NULL;
}

static struct aead *fetch(const char *name, bool chacha)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	struct aead *a = cipher ? make(cipher, chacha) : NULL;
	EVP_CIPHER_free(cipher);
	return a;
}

struct aead *aead_new(enum aead_alg alg)
{
	return fetch(algs[alg].fetch, alg == AEAD_CHACHA20POLY1305);
}

struct aead *aead_stream_new(enum aead_alg alg)
{
	return fetch(algs[alg].stream, alg == AEAD_CHACHA20POLY1305);
}

struct aead *aead_clone(const struct aead *a)
{
	return make(EVP_CIPHER_CTX_get0_cipher(a->ctx), a->chacha);
}

void aead_free(struct aead *a)
{
	if (!a)
		return;
	EVP_CIPHER_CTX_free(a->ctx);
	OPENSSL_free(a);
}

void aead_forget(struct aead *a)
{
	static const uint8_t zero[AEAD_KEY_MAX];
	EVP_CipherInit_ex2(a->ctx, NULL, zero, zero, 1, NULL);
}

bool aead_seal_begin(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN])
{
	return EVP_CipherInit_ex2(a->ctx, NULL, key, iv, 1, NULL) == 1;
}

bool aead_open_begin(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN])
{
	return EVP_CipherInit_ex2(a->ctx, NULL, key, iv, 0, NULL) == 1;
}

static bool update(EVP_CIPHER_CTX *ctx, const void *in, void *out, size_t len)
{
	const uint8_t *from = in;
	uint8_t *to = out;
	while (len > 0) { /* EVP counts in int */
		int n = len > (size_t)1 << 30 ? 1 << 30 : (int)len, done = 0;
		if (EVP_CipherUpdate(ctx, to, &done, from, n) != 1 || done != n)
			return false;
		from += n;
		to += n;
		len -= (size_t)n;
	}
	return true;
}

bool aead_update(struct aead *a, const void *in, void *out, size_t len)
{
	return update(a->ctx, in, out, len);
}

bool aead_seal_finish(struct aead *a, uint8_t tag[AEAD_TAG_LEN])
{
	int none = 0;
	uint8_t dummy[16];
	return EVP_CipherFinal_ex(a->ctx, dummy, &none) == 1 &&
	       EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, tag) == 1;
}

bool aead_open_finish(struct aead *a, const uint8_t tag[AEAD_TAG_LEN])
{
	int none = 0;
	uint8_t dummy[16], copy[AEAD_TAG_LEN]; /* OpenSSL's prototype wants it writable */
	memcpy(copy, tag, sizeof copy);
	return EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, copy) == 1 &&
	       EVP_CipherFinal_ex(a->ctx, dummy, &none) == 1;
}

bool aead_seal(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN], const void *in, void *out, size_t len,
               uint8_t tag[AEAD_TAG_LEN])
{
	return aead_seal_begin(a, key, iv) && aead_update(a, in, out, len) && aead_seal_finish(a, tag);
}

bool aead_open(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN], const void *in, void *out, size_t len,
               const uint8_t tag[AEAD_TAG_LEN])
{
	if (aead_open_begin(a, key, iv) && aead_update(a, in, out, len) && aead_open_finish(a, tag))
		return true;
	secret_wipe(out, len);
	return false;
}

bool aead_mac(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN], const void *data, size_t len,
              uint8_t tag[AEAD_TAG_LEN])
{
	int done = 0;
	return len <= INT_MAX && aead_seal_begin(a, key, iv) && EVP_CipherUpdate(a->ctx, NULL, &done, data, (int)len) == 1 &&
	       aead_seal_finish(a, tag);
}

bool aead_stream(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN], uint64_t at, const void *in, void *out,
                 size_t len)
{
	/*
	 * GCM (SP 800-38D): message block i is encrypted under the counter block IV || BE32(2 + i).
	 * ChaCha20-Poly1305 (RFC 8439): under block counter 1 + i; OpenSSL takes LE32(counter) || nonce.
	 */
	uint8_t block[16];
	uint64_t counter = a->chacha ? at / 64 + 1 : at / 16 + 2;
	if (at % 64 || counter > UINT32_MAX)
		return false;
	memcpy(a->chacha ? block + 4 : block, iv, AEAD_IV_LEN);
	for (int b = 0; b < 4; b++) {
		if (a->chacha)
			block[b] = (uint8_t)(counter >> (8 * b));
		else
			block[12 + b] = (uint8_t)(counter >> (24 - 8 * b));
	}
	return EVP_CipherInit_ex2(a->ctx, NULL, key, block, 0, NULL) == 1 && update(a->ctx, in, out, len);
}
