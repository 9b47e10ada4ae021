/* The keys in a licence: made by the publisher, opened by the customer. */
#include "licence.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>
#include <string.h>

#include "jwe.h"

#define KEK_INFO "ct licence 1"

/* KEK_INFO, id and key id, each with a NUL behind it: none of them has one inside. */
static size_t put_info(char info[sizeof KEK_INFO + LICENCE_ID_MAX + 1 + ECKEY_THUMB_TEXT], const char *id, const char *to_kid)
{
	char *p = mempcpy(info, KEK_INFO, sizeof KEK_INFO);

	p = mempcpy(p, id, strlen(id) + 1);
	p = mempcpy(p, to_kid, ECKEY_THUMB_TEXT);
	return (size_t)(p - info);
}

struct secret *licence_kek(const struct secret *master, const char *id, const char to_kid[ECKEY_THUMB_TEXT])
{
	char info[sizeof KEK_INFO + LICENCE_ID_MAX + 1 + ECKEY_THUMB_TEXT];
	size_t len = put_info(info, id, to_kid);
	struct secret *out = secret_new(master->len);
	EVP_KDF *kdf = out ? EVP_KDF_fetch(NULL, "HKDF", NULL) : NULL;
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool good = false;

	if (ctx) {
		const OSSL_PARAM params[] = {
			OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
			OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, master->data, master->len),
			OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, len),
			OSSL_PARAM_construct_end(),
		};
		good = EVP_KDF_derive(ctx, out->data, out->len, params) == 1;
	}
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	if (good)
		return out;
	secret_free(out);
	return NULL;
}

/* The two keys of a licence, borrowed but for the master key, which the caller frees. */
static int make_keys(const struct licence *l, const struct jwk *master, const struct jwk *signer, struct jwk keys[2], struct err *err)
{
	keys[0] = (struct jwk){ .kind = JWK_OCT, .has_kid = true, .has_alg = master->has_alg, .alg = master->alg };
	keys[0].kid_len = (size_t)snprintf(keys[0].kid, sizeof keys[0].kid, LICENCE_KID "%s", l->id);
	keys[0].secret = licence_kek(master->secret, l->id, l->to_kid);
	keys[1] = *signer;
	return keys[0].secret ? 0 : err_sys(err, EIO, "OpenSSL cannot make the licence's key");
}

int licence_seal(struct licence *l, const struct jwk *master, const struct jwk *signer, struct err *err)
{
	struct jwk keys[2];

	if (make_keys(l, master, signer, keys, err) < 0)
		return -1;
	struct secret *text = jwk_set_write(&(struct jwk_set){ keys, 2 }, JWK_RFC7517, JWK_READER);
	secret_free(keys[0].secret);
	if (!text)
		return err_sys(err, ENOMEM, "the licence's keys");
	buf_release(&l->keys);
	int ret = jwe_seal_ec(&l->keys, JWE_COMPACT, text->data, text->len, "jwk-set+json", &l->to, err);
	secret_free(text);
	return ret;
}

static bool is_whole(const struct licence *l, const struct jwk_set *set)
{
	char kid[sizeof LICENCE_KID + LICENCE_ID_MAX];
	size_t len = (size_t)snprintf(kid, sizeof kid, LICENCE_KID "%s", l->id);

	if (set->count != 2 || set->keys[0].kind != JWK_OCT || set->keys[1].kind != JWK_OKP)
		return false;
	const struct jwk *kek = &set->keys[0], *verify = &set->keys[1];
	return kek->has_kid && kek->kid_len == len && memcmp(kek->kid, kid, len) == 0 && memcmp(verify->x, l->x, sizeof l->x) == 0;
}

int licence_open(const struct licence *l, const struct eckey *customer, struct jwk_set *set, struct err *err)
{
	struct err why = { 0 };

	*set = (struct jwk_set){ NULL, 0 };
	if (memcmp(customer->point, l->to.point, sizeof l->to.point) != 0)
		return err_set(err, ERR_REJECTED, "the licence is for another customer's key (ct licence show tells which)");
	struct secret *text = jwe_open(l->keys.data, l->keys.len, NULL, customer, &why);
	if (!text)
		return why.code == ERR_SYSTEM ? err_sys(err, why.sys_errno, "the licence's keys") : err_set(err, why.code, "the licence's keys: %s", why.text);
	int ret = jwk_set_parse(set, (const char *)text->data, text->len, &why);
	secret_free(text);
	if (ret < 0)
		return why.code == ERR_SYSTEM ? err_sys(err, why.sys_errno, "the licence's keys") : err_set(err, why.code, "the licence's keys: %s", why.text);
	if (is_whole(l, set))
		return 0;
	jwk_set_release(set);
	return err_set(err, ERR_FORMAT, "the licence's keys are not its own master key and the key that signed it");
}
