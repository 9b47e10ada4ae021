#include "sha256.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

struct sha256 {
	EVP_MD_CTX *ctx; /* initialised: starting anew looks nothing up */
};

void sha256_free(struct sha256 *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	OPENSSL_free(s);
}

static struct sha256 *make(void)
{
	struct sha256 *s = OPENSSL_zalloc(sizeof *s);
	if (!s)
		return NULL;
	s->ctx = EVP_MD_CTX_new();
	if (s->ctx)
		return s;
	sha256_free(s);
	return NULL;
}

struct sha256 *sha256_new(void)
{
	EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);
	struct sha256 *s = md ? make() : NULL;
	if (s && EVP_DigestInit_ex2(s->ctx, md, NULL) != 1) {
		sha256_free(s);
		s = NULL;
	}
	EVP_MD_free(md);
	return s;
}

struct sha256 *sha256_clone(const struct sha256 *s)
{
	struct sha256 *copy = make();
	if (copy && EVP_MD_CTX_copy_ex(copy->ctx, s->ctx) == 1)
		return copy;
	sha256_free(copy);
	return NULL;
}

bool sha256_begin(struct sha256 *s)
{
	return EVP_DigestInit_ex2(s->ctx, NULL, NULL) == 1;
}

bool sha256_update(struct sha256 *s, const void *data, size_t len)
{
	return EVP_DigestUpdate(s->ctx, data, len) == 1;
}

bool sha256_finish(struct sha256 *s, uint8_t out[SHA256_LEN])
{
	return EVP_DigestFinal_ex(s->ctx, out, NULL) == 1;
}

bool sha256_of(struct sha256 *s, const void *data, size_t len, uint8_t out[SHA256_LEN])
{
	return sha256_begin(s) && sha256_update(s, data, len) && sha256_finish(s, out);
}
