#include "jwe_head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "jwe.h"
#include "text.h"

static const struct jwe_alg algs[] = {
	{ "PBES2-HS512+A256KW", 32, "SHA512" }, { "PBES2-HS384+A192KW", 24, "SHA384" }, { "PBES2-HS256+A128KW", 16, "SHA256" },
	{ "ECDH-ES+A256KW", 32, NULL },         { "ECDH-ES+A192KW", 24, NULL },         { "ECDH-ES+A128KW", 16, NULL },
};

const struct jwe_alg *jwe_alg_find(const char *name)
{
	for (size_t i = 0; i < sizeof algs / sizeof *algs; i++)
		if (strcmp(algs[i].name, name) == 0)
			return &algs[i];
	return NULL;
}

/* A string value of fewer than cap bytes without a NUL: its length, or -1. */
static ptrdiff_t string(const struct json *j, int tok, char *dst, size_t cap)
{
	size_t raw;

	if (json_type(j, tok) != JSON_STRING)
		return -1;
	json_raw(j, tok, &raw);
	if (raw >= cap)
		return -1;
	size_t len = json_unescape(j, tok, dst);
	dst[len] = '\0';
	return strlen(dst) == len ? (ptrdiff_t)len : -1;
}

static ptrdiff_t bytes(const struct json *j, int tok, void *dst, size_t cap)
{
	char text[400];
	ptrdiff_t len = string(j, tok, text, sizeof text);

	return len < 0 ? -1 : base64_decode(BASE64_URL, text, (size_t)len, dst, cap);
}

static int put_alg(struct jwe_head *h, const struct json *j, int value, struct err *err)
{
	char name[32];

	if (string(j, value, name, sizeof name) < 0)
		return err_set(err, ERR_FORMAT, "\"alg\" is not the name of an algorithm");
	h->alg = jwe_alg_find(name);
	return h->alg ? 0 : err_set(err, ERR_FORMAT, "alg %s is not understood (PBES2-…, ECDH-ES+A…KW are)", TEXT(name, strlen(name)));
}

static int put_enc(struct jwe_head *h, const struct json *j, int value, bool protected, struct err *err)
{
	char name[32];

	if (string(j, value, name, sizeof name) < 0)
		return err_set(err, ERR_FORMAT, "\"enc\" is not the name of an algorithm");
	h->enc = jwe_enc_find(name);
	h->enc_protected = protected;
	return h->enc ? 0 : err_set(err, ERR_FORMAT, "enc %s is not understood (A256GCM, A128GCM, A256CBC-HS512, A128CBC-HS256 are)",
	                            TEXT(name, strlen(name)));
}

static int put_p2c(struct jwe_head *h, const struct json *j, int value, struct err *err)
{
	uint64_t n;

	if (!json_u64(j, value, &n) || n < JWE_P2C_MIN || n > JWE_P2C_MAX)
		return err_set(err, ERR_FORMAT, "\"p2c\" is not a number from %u to %u", JWE_P2C_MIN, JWE_P2C_MAX);
	h->p2c = (unsigned int)n;
	return 0;
}

static int put_p2s(struct jwe_head *h, const struct json *j, int value, struct err *err)
{
	ptrdiff_t n = bytes(j, value, h->p2s, JWE_P2S_MAX);

	if (n < (ptrdiff_t)JWE_P2S_MIN)
		return err_set(err, ERR_FORMAT, "\"p2s\" is not %u to %u bytes in base64url", JWE_P2S_MIN, JWE_P2S_MAX);
	h->p2s_len = (size_t)n;
	return 0;
}

static int put_party(const char *name, char dst[JWE_PARTY_MAX + 1], size_t *len, const struct json *j, int value, struct err *err)
{
	ptrdiff_t n = bytes(j, value, dst, JWE_PARTY_MAX);

	if (n < 0)
		return err_set(err, ERR_FORMAT, "\"%s\" is not at most %u bytes in base64url", name, JWE_PARTY_MAX);
	*len = (size_t)n;
	return 0;
}

static int put_epk(struct jwe_head *h, const struct json *j, int value, struct err *err)
{
	struct err why = { 0 };

	if (json_type(j, value) != JSON_OBJECT)
		return err_set(err, ERR_FORMAT, "\"epk\" is not an object");
	if (eckey_parse_object(&h->epk, j, value, &why) < 0)
		return why.code == ERR_SYSTEM ? err_sys(err, why.sys_errno, "\"epk\"") : err_set(err, ERR_FORMAT, "\"epk\": %s", why.text);
	if (h->epk.d)
		return err_set(err, ERR_FORMAT, "\"epk\" holds a private key");
	h->has_epk = true;
	return 0;
}

static int put(struct jwe_head *h, const struct json *j, int key, int value, bool protected, struct err *err)
{
	char name[JWE_NAME_MAX + 1];

	if (string(j, key, name, sizeof name) < 0)
		return err_set(err, ERR_FORMAT, "a header parameter's name has over %u bytes", JWE_NAME_MAX);
	for (size_t i = 0; i < h->count; i++)
		if (strcmp(h->names[i], name) == 0)
			return err_set(err, ERR_FORMAT, "header parameter \"%s\" is there twice", TEXT(name, strlen(name)));
	if (h->count == JWE_PARAMS_MAX)
		return err_set(err, ERR_FORMAT, "more than %u header parameters", JWE_PARAMS_MAX);
	strcpy(h->names[h->count++], name);
	if (strcmp(name, "crit") == 0 || strcmp(name, "zip") == 0)
		return err_set(err, ERR_FORMAT, "header parameter \"%s\": nothing of that kind is understood", name);
	if (strcmp(name, "alg") == 0)
		return put_alg(h, j, value, err);
	if (strcmp(name, "enc") == 0)
		return put_enc(h, j, value, protected, err);
	if (strcmp(name, "p2c") == 0)
		return put_p2c(h, j, value, err);
	if (strcmp(name, "p2s") == 0)
		return put_p2s(h, j, value, err);
	if (strcmp(name, "apu") == 0)
		return put_party(name, h->apu, &h->apu_len, j, value, err);
	if (strcmp(name, "apv") == 0)
		return put_party(name, h->apv, &h->apv_len, j, value, err);
	if (strcmp(name, "epk") == 0)
		return put_epk(h, j, value, err);
	return 0;
}

int jwe_head_object(struct jwe_head *h, const struct json *j, int tok, struct err *err)
{
	if (json_type(j, tok) != JSON_OBJECT)
		return err_set(err, ERR_FORMAT, "a header is not an object");
	for (int key = json_first(j, tok); key >= 0; key = json_sibling(j, key))
		if (put(h, j, key, json_value(j, key), false, err) < 0)
			return -1;
	return 0;
}

int jwe_head_protected(struct jwe_head *h, const char *encoded, size_t len, struct err *err)
{
	char *text = malloc(len + 1);
	struct json_member m;
	struct json j;

	if (!text)
		return err_sys(err, ENOMEM, "the header");
	ptrdiff_t n = base64_decode(BASE64_URL, encoded, len, text, len);
	int r = -1;
	if (n < 0) {
		err_set(err, ERR_FORMAT, "\"protected\" is not base64url without padding");
		goto out;
	}
	json_begin(&j, text, (size_t)n);
	while ((r = json_next(&j, &m, err)) > 0)
		if ((r = put(h, &j, m.key, m.value, true, err)) < 0)
			break;
	json_release(&j);
out:
	free(text);
	return r;
}

int jwe_head_check(const struct jwe_head *h, struct err *err)
{
	if (!h->alg || !h->enc)
		return err_set(err, ERR_FORMAT, "\"%s\" is missing", h->alg ? "enc" : "alg");
	if (!h->enc_protected)
		return err_set(err, ERR_FORMAT, "\"enc\" is not in the protected header");
	if (h->alg->digest && (!h->p2c || !h->p2s_len))
		return err_set(err, ERR_FORMAT, "\"%s\" is missing", h->p2c ? "p2s" : "p2c");
	if (!h->alg->digest && !h->has_epk)
		return err_set(err, ERR_FORMAT, "\"epk\" is missing");
	return 0;
}

void jwe_head_release(struct jwe_head *h)
{
	eckey_release(&h->epk);
}
