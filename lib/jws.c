#include "jws.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "json.h"

#define HEAD_MAX 4096u /* characters of base64url */
#define KEY_TEXT_MAX 64u

static void trim(const char **text, size_t *len)
{
	while (*len && memchr(" \t\r\n", (*text)[0], 4)) {
		(*text)++;
		(*len)--;
	}
	while (*len && memchr(" \t\r\n", (*text)[*len - 1], 4))
		(*len)--;
}

bool jws_is(const char *text, size_t len)
{
	size_t dots = 0;

	trim(&text, &len);
	for (size_t i = 0; i < len; i++)
		dots += text[i] == '.';
	return len > 3 && memcmp(text, "eyJ", 3) == 0 && dots == 2; /* a JSON object in base64url begins so; a JWE has four */
}

/* ---- the header ---- */

enum param { P_ALG, P_TYP, P_KID, P_JWK, P_CRIT, P_B64, PARAMS };

static const char *const param_names[PARAMS] = { "alg", "typ", "kid", "jwk", "crit", "b64" };

static bool put_key(struct jws *s, const struct json *j, int jwk)
{
	int kty, crv, x, d;
	char text[KEY_TEXT_MAX];
	size_t len;

	if (json_type(j, jwk) != JSON_OBJECT)
		return false;
	kty = json_get(j, jwk, "kty");
	crv = json_get(j, jwk, "crv");
	x = json_get(j, jwk, "x");
	d = json_get(j, jwk, "d");
	if (kty < 0 || crv < 0 || x < 0 || d != -1 || !json_is(j, kty, "OKP") || !json_is(j, crv, "Ed25519") || json_type(j, x) != JSON_STRING)
		return false;
	json_raw(j, x, &len);
	if (len > sizeof text)
		return false;
	len = json_unescape(j, x, text);
	return base64_decode(BASE64_URL, text, len, s->x, sizeof s->x) == SIGN_KEY_LEN;
}

static int put_param(struct jws *s, enum param p, const struct json *j, int value, struct err *err)
{
	size_t raw;

	switch (p) {
	case P_ALG:
		return json_type(j, value) == JSON_STRING && json_is(j, value, "EdDSA") ? 0 : err_set(err, ERR_FORMAT, "\"alg\" is not EdDSA");
	case P_TYP:
		if (json_type(j, value) != JSON_STRING)
			return err_set(err, ERR_FORMAT, "\"typ\" is not a string");
		json_raw(j, value, &raw);
		if (raw > JWS_TYP_MAX)
			return err_set(err, ERR_FORMAT, "\"typ\" is too long");
		raw = json_unescape(j, value, s->typ);
		s->typ[raw] = '\0';
		return strlen(s->typ) == raw ? 0 : err_set(err, ERR_FORMAT, "a NUL in \"typ\"");
	case P_KID:
		return json_type(j, value) == JSON_STRING ? 0 : err_set(err, ERR_FORMAT, "\"kid\" is not a string");
	case P_JWK:
		return put_key(s, j, value) ? 0 : err_set(err, ERR_FORMAT, "\"jwk\" is not a public Ed25519 key");
	default:
		return err_set(err, ERR_FORMAT, "\"%s\" in the header is not understood", param_names[p]);
	}
}

static int take_params(struct jws *s, const char *text, size_t len, struct err *err)
{
	unsigned int seen = 0;
	struct json_member m;
	struct json j;
	int r;

	json_begin(&j, text, len);
	while ((r = json_next(&j, &m, err)) > 0) {
		unsigned int p = 0;

		while (p < PARAMS && !json_is(&j, m.key, param_names[p]))
			p++;
		if (p == PARAMS)
			continue; /* RFC 7515, 4: others are ignored; what must not be is named by "crit" */
		if (seen & 1u << p)
			r = err_set(err, ERR_FORMAT, "\"%s\" is there twice", param_names[p]);
		else
			r = put_param(s, (enum param)p, &j, m.value, err);
		if (r < 0)
			break;
		seen |= 1u << p;
	}
	json_release(&j);
	if (r == 0 && (seen & (1u << P_ALG | 1u << P_TYP | 1u << P_JWK)) != (1u << P_ALG | 1u << P_TYP | 1u << P_JWK))
		r = err_set(err, ERR_FORMAT, "\"alg\", \"typ\" or \"jwk\" is missing");
	return r;
}

static int read_head(struct jws *s, const char *text, size_t len, struct err *err)
{
	char head[HEAD_MAX];
	ptrdiff_t n = len <= HEAD_MAX ? base64_decode(BASE64_URL, text, len, head, sizeof head) : -1;

	return n < 0 ? err_set(err, ERR_FORMAT, "its header is not base64url without padding, or too long") : take_params(s, head, (size_t)n, err);
}

/* ---- the message ---- */

int jws_read(struct jws *s, const char *text, size_t len, struct err *err)
{
	uint8_t sig[SIGN_LEN];
	int ret = -1;

	memset(s, 0, sizeof *s);
	if (!jws_is(text, len) || len > JWS_TEXT_MAX)
		return err_set(err, ERR_FORMAT, "not a JWS: three parts between dots, at most %u bytes", JWS_TEXT_MAX);
	trim(&text, &len);
	const char *first = memchr(text, '.', len), *second = memchr(first + 1, '.', len - (size_t)(first + 1 - text)), *end = text + len;
	size_t body = (size_t)(second - first - 1);
	if (read_head(s, text, (size_t)(first - text), err) < 0)
		goto out;
	if (base64_decode(BASE64_URL, second + 1, (size_t)(end - second - 1), sig, sizeof sig) != SIGN_LEN) {
		err_set(err, ERR_FORMAT, "its signature is not base64url of %d bytes", SIGN_LEN);
		goto out;
	}
	if (!sign_verify(s->x, text, (size_t)(second - text), sig)) {
		err_set(err, ERR_FORMAT, "its signature is wrong: forged, or changed on the way");
		goto out;
	}
	s->payload = malloc(body + 1);
	if (!s->payload) {
		err_sys(err, ENOMEM, "the message");
		goto out;
	}
	ptrdiff_t n = base64_decode(BASE64_URL, first + 1, body, s->payload, body + 1);
	if (n < 0) {
		err_set(err, ERR_FORMAT, "its payload is not base64url without padding");
		goto out;
	}
	s->len = (size_t)n;
	ret = 0;
out:
	if (ret < 0)
		jws_release(s);
	return ret;
}

void jws_release(struct jws *s)
{
	free(s->payload);
	memset(s, 0, sizeof *s);
}

static void put_base64(struct buf *b, const void *src, size_t n)
{
	size_t chars = base64_encoded_len(BASE64_URL, n);

	if (buf_reserve(b, chars)) {
		base64_encode(BASE64_URL, src, n, b->data + b->len);
		b->len += chars;
	}
}

int jws_make(struct buf *out, const char *typ, const void *payload, size_t len, const struct jwk *signer, struct err *err)
{
	struct buf head = BUF_INIT, msg = BUF_INIT;
	uint8_t sig[SIGN_LEN];
	int ret = -1;

	buf_puts(&head, "{\"alg\":\"EdDSA\",\"typ\":");
	buf_put_json_string(&head, typ, strlen(typ));
	if (signer->has_kid) {
		buf_puts(&head, ",\"kid\":");
		buf_put_json_string(&head, signer->kid, signer->kid_len);
	}
	buf_puts(&head, ",\"jwk\":{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
	put_base64(&head, signer->x, sizeof signer->x);
	buf_puts(&head, "\"}}");
	put_base64(&msg, head.data, head.len);
	buf_putc(&msg, '.');
	put_base64(&msg, payload, len);
	if (head.failed || msg.failed) {
		err_sys(err, ENOMEM, "the message");
	} else if (!sign_make(signer->secret->data, msg.data, msg.len, sig)) {
		err_sys(err, EIO, "OpenSSL cannot sign");
	} else {
		buf_put(out, msg.data, msg.len);
		buf_putc(out, '.');
		put_base64(out, sig, sizeof sig);
		buf_putc(out, '\n');
		ret = out->failed ? err_sys(err, ENOMEM, "the message") : 0;
	}
	buf_release(&head);
	buf_release(&msg);
	return ret;
}

bool jws_fingerprint(const uint8_t x[SIGN_KEY_LEN], uint8_t out[JWS_FINGERPRINT_LEN])
{
	return EVP_Digest(x, SIGN_KEY_LEN, out, NULL, EVP_sha256(), NULL) == 1;
}
