#include "jwe.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "json.h"
#include "jwe_crypt.h"
#include "jwe_head.h"
#include "text.h"

enum part { P_PROTECTED, P_KEY, P_IV, P_CIPHERTEXT, P_TAG, P_AAD, PARTS };

static const char *const part_names[PARTS] = { "protected", "encrypted_key", "iv", "ciphertext", "tag", "aad" };

struct message {
	struct jwe_head head;
	char *part[PARTS]; /* malloc'ed; NULL: not there. All but protected and aad are decoded */
	size_t len[PARTS];
	struct buf aad; /* as it is authenticated */
};

static void message_release(struct message *m)
{
	for (unsigned int p = 0; p < PARTS; p++)
		free(m->part[p]);
	buf_release(&m->aad);
	jwe_head_release(&m->head);
}

/* Takes text of len characters as a part; text may be a token's, whose escapes j knows. */
static int put_part(struct message *m, unsigned int p, const char *text, size_t len, const struct json *j, int tok, struct err *err)
{
	if (m->part[p])
		return err_set(err, ERR_FORMAT, "\"%s\" is there twice", part_names[p]);
	char *copy = malloc(len + 1);
	if (!copy)
		return err_sys(err, ENOMEM, "the message");
	m->part[p] = copy;
	if (j)
		len = json_unescape(j, tok, copy);
	else
		memcpy(copy, text, len);
	m->len[p] = len;
	if (p == P_PROTECTED)
		return 0; /* jwe_head_protected() decodes it */
	char *check = p == P_AAD ? malloc(len + 1) : copy;
	if (!check)
		return err_sys(err, ENOMEM, "the message");
	ptrdiff_t n = base64_decode(BASE64_URL, copy, len, check, len + 1);
	if (p == P_AAD)
		free(check);
	if (n < 0)
		return err_set(err, ERR_FORMAT, "\"%s\" is not base64url without padding", part_names[p]);
	if (p != P_AAD)
		m->len[p] = (size_t)n;
	return 0;
}

static int put_token(struct message *m, unsigned int p, const struct json *j, int tok, struct err *err)
{
	size_t raw;

	if (json_type(j, tok) != JSON_STRING)
		return err_set(err, ERR_FORMAT, "\"%s\" is not a string", part_names[p]);
	json_raw(j, tok, &raw);
	return put_part(m, p, NULL, raw, j, tok, err);
}

/* The one recipient of a general message. */
static int take_recipients(struct message *m, const struct json *j, int tok, struct err *err)
{
	if (json_type(j, tok) != JSON_ARRAY || json_size(j, tok) == 0)
		return err_set(err, ERR_FORMAT, "\"recipients\" is not an array with a recipient");
	if (json_size(j, tok) > 1)
		return err_set(err, ERR_FORMAT, "%zu recipients: only messages for one are understood", json_size(j, tok));
	tok = json_first(j, tok);
	if (json_type(j, tok) != JSON_OBJECT)
		return err_set(err, ERR_FORMAT, "\"recipients\" holds something that is not an object");
	int header = json_get(j, tok, "header"), key = json_get(j, tok, part_names[P_KEY]);
	if (header == -2 || key == -2)
		return err_set(err, ERR_FORMAT, "a recipient has \"header\" or \"encrypted_key\" twice");
	if (header >= 0 && jwe_head_object(&m->head, j, header, err) < 0)
		return -1;
	return key >= 0 ? put_token(m, P_KEY, j, key, err) : 0;
}

enum { T_HEADER = 1, T_UNPROTECTED = 2, T_RECIPIENTS = 4 };

static int take_top(struct message *m, unsigned int *seen, const struct json *j, const struct json_member *at, struct err *err)
{
	static const struct {
		const char *name;
		unsigned int bit;
	} objects[] = { { "header", T_HEADER }, { "unprotected", T_UNPROTECTED }, { "recipients", T_RECIPIENTS } };

	for (unsigned int p = 0; p < PARTS; p++)
		if (json_is(j, at->key, part_names[p]))
			return put_token(m, p, j, at->value, err);
	for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
		if (!json_is(j, at->key, objects[i].name))
			continue;
		if (*seen & objects[i].bit)
			return err_set(err, ERR_FORMAT, "\"%s\" is there twice", objects[i].name);
		*seen |= objects[i].bit;
		return objects[i].bit == T_RECIPIENTS ? take_recipients(m, j, at->value, err) : jwe_head_object(&m->head, j, at->value, err);
	}
	return 0; /* RFC 7516, 7.2.1: others are ignored */
}

static int parse_json(struct message *m, const char *text, size_t len, struct err *err)
{
	unsigned int seen = 0;
	bool flat_key = false;
	struct json_member at;
	struct json j;
	int r;

	json_begin(&j, text, len);
	while ((r = json_next(&j, &at, err)) > 0) {
		flat_key = flat_key || json_is(&j, at.key, part_names[P_KEY]);
		if ((r = take_top(m, &seen, &j, &at, err)) < 0)
			break;
	}
	json_release(&j);
	if (r == 0 && seen & T_RECIPIENTS && (seen & T_HEADER || flat_key))
		r = err_set(err, ERR_FORMAT, "both \"recipients\" and what belongs to a single one");
	return r;
}

static int parse_compact(struct message *m, const char *text, size_t len, struct err *err)
{
	for (unsigned int p = P_PROTECTED; p <= P_TAG; p++) {
		const char *dot = p < P_TAG ? memchr(text, '.', len) : text + len;
		if (!dot)
			return err_set(err, ERR_FORMAT, "%u parts between dots instead of 5", p + 1);
		size_t n = (size_t)(dot - text);
		if (put_part(m, p, text, n, NULL, -1, err) < 0)
			return -1;
		text = dot + 1;
		len -= p < P_TAG ? n + 1 : n;
	}
	return 0;
}

static void trim(const char **text, size_t *len)
{
	while (*len && memchr(" \t\r\n", (*text)[0], 4)) {
		(*text)++;
		(*len)--;
	}
	while (*len && memchr(" \t\r\n", (*text)[*len - 1], 4))
		(*len)--;
}

static int check_part(const struct message *m, unsigned int p, size_t want, struct err *err)
{
	if (!m->part[p])
		return err_set(err, ERR_FORMAT, "\"%s\" is missing", part_names[p]);
	if (want && m->len[p] != want)
		return err_set(err, ERR_FORMAT, "\"%s\" has %zu bytes, not %zu", part_names[p], m->len[p], want);
	return 0;
}

static int parse(struct message *m, const char *text, size_t len, struct err *err)
{
	memset(m, 0, sizeof *m);
	trim(&text, &len);
	if (len > JWE_TEXT_MAX)
		return err_set(err, ERR_FORMAT, "over %u bytes", JWE_TEXT_MAX);
	if ((len && text[0] == '{' ? parse_json : parse_compact)(m, text, len, err) < 0 || check_part(m, P_PROTECTED, 0, err) < 0 ||
	    jwe_head_protected(&m->head, m->part[P_PROTECTED], m->len[P_PROTECTED], err) < 0 || jwe_head_check(&m->head, err) < 0)
		return -1;
	const struct jwe_enc *enc = m->head.enc;
	if (check_part(m, P_KEY, enc->key_len + JWE_WRAP_EXTRA, err) < 0 || check_part(m, P_IV, enc->iv_len, err) < 0 ||
	    check_part(m, P_CIPHERTEXT, 0, err) < 0 || check_part(m, P_TAG, enc->tag_len, err) < 0)
		return -1;
	buf_put(&m->aad, m->part[P_PROTECTED], m->len[P_PROTECTED]);
	if (m->part[P_AAD]) {
		buf_putc(&m->aad, '.');
		buf_put(&m->aad, m->part[P_AAD], m->len[P_AAD]);
	}
	return m->aad.failed ? err_sys(err, ENOMEM, "the message") : 0;
}

bool jwe_is(const char *text, size_t len)
{
	struct json_member at;
	struct json j;
	bool is = false;

	trim(&text, &len);
	if (len && text[0] == '{') {
		json_begin(&j, text, len);
		while (!is && json_next(&j, &at, NULL) > 0)
			is = json_is(&j, at.key, "ciphertext") || json_is(&j, at.key, "protected") || json_is(&j, at.key, "recipients");
		json_release(&j);
		return is;
	}
	/* Compact: a JSON object in base64url begins so. */
	return len > 3 && memcmp(text, "eyJ", 3) == 0 && memchr(text, '.', len);
}

int jwe_way(const char *text, size_t len, enum jwe_way *way, struct err *err)
{
	struct message m;
	int r = parse(&m, text, len, err);

	if (r == 0)
		*way = m.head.alg->digest ? JWE_PASSPHRASE : JWE_EC;
	message_release(&m);
	return r;
}

/* alg || 0 || p2s, so that a key is one algorithm's alone. */
static struct secret *passphrase_kek(const struct jwe_head *h, const struct secret *passphrase)
{
	uint8_t salt[64 + JWE_P2S_MAX];
	size_t len = strlen(h->alg->name) + 1;

	memcpy(salt, h->alg->name, len);
	memcpy(salt + len, h->p2s, h->p2s_len);
	return jwe_stretch(passphrase, h->alg->digest, salt, len + h->p2s_len, h->p2c, h->alg->kek_len);
}

struct secret *jwe_open(const char *text, size_t len, const struct secret *passphrase, const struct eckey *key, struct err *err)
{
	struct secret *kek = NULL, *cek = NULL, *plain = NULL;
	struct message m;

	if (parse(&m, text, len, err) < 0)
		goto out;
	const struct jwe_alg *alg = m.head.alg;
	if (alg->digest ? !passphrase : !key || !key->d) {
		err_set(err, ERR_NOKEY, alg->digest ? "is under a passphrase" : "is for the holder of a private EC key");
		goto out;
	}
	kek = alg->digest ? passphrase_kek(&m.head, passphrase) :
	                    eckey_agree(key, &m.head.epk, alg->name, (struct str){ m.head.apu, m.head.apu_len },
	                                (struct str){ m.head.apv, m.head.apv_len }, alg->kek_len);
	if (!kek) {
		err_sys(err, ENOMEM, "OpenSSL cannot make the key");
		goto out;
	}
	cek = jwe_unwrap(kek, (const uint8_t *)m.part[P_KEY], m.len[P_KEY]);
	if (!cek) {
		err_set(err, ERR_REJECTED, alg->digest ? "wrong passphrase (or it was changed)" : "is for another EC key (or was changed)");
		goto out;
	}
	plain = jwe_decrypt(m.head.enc, cek, (const uint8_t *)m.part[P_IV], m.aad.data, m.aad.len, m.part[P_CIPHERTEXT], m.len[P_CIPHERTEXT],
	                    (const uint8_t *)m.part[P_TAG]);
	if (!plain)
		err_set(err, ERR_FORMAT, "was changed: its tag is wrong");
out:
	secret_free(kek);
	secret_free(cek);
	message_release(&m);
	return plain;
}

static void put_base64(struct buf *b, const void *src, size_t n)
{
	size_t chars = base64_encoded_len(BASE64_URL, n);

	if (buf_reserve(b, chars)) {
		base64_encode(BASE64_URL, src, n, b->data + b->len);
		b->len += chars;
	}
}

static void put_part_out(struct buf *b, enum jwe_form form, unsigned int p, const void *src, size_t n)
{
	if (form == JWE_JSON) {
		buf_puts(b, p == P_PROTECTED ? "{\"" : ",\"");
		buf_puts(b, part_names[p]);
		buf_puts(b, "\":\"");
	} else if (p != P_PROTECTED) {
		buf_putc(b, '.');
	}
	if (p == P_PROTECTED)
		buf_put(b, src, n); /* encoded before, since that is what is authenticated */
	else
		put_base64(b, src, n);
	if (form == JWE_JSON)
		buf_putc(b, '"');
}

/* The message with that header, whose content key is wrapped under kek. */
static int seal(struct buf *out, enum jwe_form form, const struct buf *head, const struct secret *kek, const void *plain, size_t len,
                struct err *err)
{
	const struct jwe_enc *enc = jwe_enc_find("A256GCM");
	uint8_t wrapped[JWE_CEK_MAX + JWE_WRAP_EXTRA], iv[JWE_IV_MAX], tag[JWE_TAG_MAX];
	struct secret *cek = secret_new(enc->key_len);
	struct buf protected = BUF_INIT;
	uint8_t *ct = malloc(len + 1);
	int ret = -1;

	put_base64(&protected, head->data, head->len);
	if (!cek || !ct || head->failed || protected.failed) {
		err_sys(err, ENOMEM, "the message");
		goto out;
	}
	if (RAND_priv_bytes(cek->data, (int)cek->len) != 1 || RAND_bytes(iv, (int)enc->iv_len) != 1 || !jwe_wrap(kek, cek, wrapped) ||
	    !jwe_encrypt(enc, cek, iv, protected.data, protected.len, plain, len, ct, tag)) {
		err_sys(err, EIO, "OpenSSL cannot encrypt");
		goto out;
	}
	put_part_out(out, form, P_PROTECTED, protected.data, protected.len);
	put_part_out(out, form, P_KEY, wrapped, cek->len + JWE_WRAP_EXTRA);
	put_part_out(out, form, P_IV, iv, enc->iv_len);
	put_part_out(out, form, P_CIPHERTEXT, ct, len);
	put_part_out(out, form, P_TAG, tag, enc->tag_len);
	if (form == JWE_JSON)
		buf_puts(out, "}\n");
	ret = out->failed ? err_sys(err, ENOMEM, "the message") : 0;
out:
	secret_free(cek);
	free(ct);
	buf_release(&protected);
	return ret;
}

static void put_cty(struct buf *head, const char *cty)
{
	if (cty) {
		buf_puts(head, ",\"cty\":");
		buf_put_json_string(head, cty, strlen(cty));
	}
	buf_putc(head, '}');
}

int jwe_seal_passphrase(struct buf *out, enum jwe_form form, const void *plain, size_t len, const char *cty, const struct secret *passphrase,
                        struct err *err)
{
	struct jwe_head h = { .alg = jwe_alg_find("PBES2-HS512+A256KW"), .p2c = JWE_P2C, .p2s_len = 16 };
	struct buf head = BUF_INIT;

	if (RAND_bytes(h.p2s, (int)h.p2s_len) != 1)
		return err_sys(err, EIO, "OpenSSL has no random bytes");
	struct secret *kek = passphrase_kek(&h, passphrase);
	if (!kek)
		return err_sys(err, ENOMEM, "OpenSSL cannot make the key");
	buf_puts(&head, "{\"alg\":\"PBES2-HS512+A256KW\",\"enc\":\"A256GCM\",\"p2c\":");
	buf_put_u64(&head, h.p2c);
	buf_puts(&head, ",\"p2s\":\"");
	put_base64(&head, h.p2s, h.p2s_len);
	buf_putc(&head, '"');
	put_cty(&head, cty);
	int ret = seal(out, form, &head, kek, plain, len, err);
	secret_free(kek);
	buf_release(&head);
	return ret;
}

int jwe_seal_ec(struct buf *out, enum jwe_form form, const void *plain, size_t len, const char *cty, const struct eckey *key, struct err *err)
{
	const struct jwe_alg *alg = jwe_alg_find("ECDH-ES+A256KW");
	struct buf head = BUF_INIT;
	struct eckey once;

	if (eckey_generate(&once, err) < 0)
		return -1;
	struct secret *kek = eckey_agree(&once, key, alg->name, (struct str){ NULL, 0 }, (struct str){ NULL, 0 }, alg->kek_len);
	if (!kek) {
		eckey_release(&once);
		return err_sys(err, EIO, "OpenSSL cannot make the key");
	}
	buf_puts(&head, "{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"");
	put_base64(&head, once.point + 1, ECKEY_LEN);
	buf_puts(&head, "\",\"y\":\"");
	put_base64(&head, once.point + 1 + ECKEY_LEN, ECKEY_LEN);
	buf_puts(&head, "\"}");
	if (key->has_kid) {
		buf_puts(&head, ",\"kid\":");
		buf_put_json_string(&head, key->kid, key->kid_len);
	}
	put_cty(&head, cty);
	int ret = seal(out, form, &head, kek, plain, len, err);
	secret_free(kek);
	eckey_release(&once);
	buf_release(&head);
	return ret;
}
