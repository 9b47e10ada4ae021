#include "sign.h"

#include <openssl/evp.h>
#include <string.h>

bool sign_verify(const uint8_t x[SIGN_KEY_LEN], const void *msg, size_t len, const uint8_t sig[SIGN_LEN])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, SIGN_KEY_LEN);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
	            EVP_DigestVerify(ctx, sig, SIGN_LEN, msg, len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return good;
}

bool sign_make(const uint8_t d[SIGN_KEY_LEN], const void *msg, size_t len, uint8_t sig[SIGN_LEN])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, d, SIGN_KEY_LEN);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = SIGN_LEN;
	bool done = key && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
	            EVP_DigestSign(ctx, sig, &n, msg, len) == 1 && n == SIGN_LEN;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return done;
}

bool sign_public(const uint8_t d[SIGN_KEY_LEN], uint8_t x[SIGN_KEY_LEN])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, d, SIGN_KEY_LEN);
	size_t n = SIGN_KEY_LEN;
	bool done = key && EVP_PKEY_get_raw_public_key(key, x, &n) == 1 && n == SIGN_KEY_LEN;

	EVP_PKEY_free(key);
	return done;
}

bool sign_alg_known(const char *name, size_t len)
{
	static const char want[] = "ed25519";

	if (len != sizeof want - 1)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] != want[i] && (name[i] < 'A' || name[i] > 'Z' || name[i] - 'A' + 'a' != want[i]))
			return false;
	return true;
}
