#include "emit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "canon.h"

static void put_base64(struct buf *b, const char *name, const void *bytes, size_t len)
{
	buf_putc(b, '"');
	buf_puts(b, name);
	buf_puts(b, "\":");
	base64_put(b, bytes, len);
}

static void put_encryption(struct buf *b, const struct crypto_info *c)
{
	bool chunked = c->chunk_size > 0;

	buf_putc(b, '{');
	for (size_t i = 0; i < c->count; i++) {
		const struct crypto_entry *e = &c->entries[i];
		if (i > 0)
			buf_putc(b, ',');
		buf_put_json_string(b, e->name.p, e->name.len);
		buf_puts(b, ":{");
		put_base64(b, "wrapped_key", e->wrapped_key, aead_key_len(c->alg));
		buf_putc(b, ',');
		put_base64(b, "key_iv", e->key_iv, sizeof e->key_iv);
		buf_putc(b, ',');
		put_base64(b, "key_tag", e->key_tag, sizeof e->key_tag);
		buf_putc(b, ',');
		/* An empty tensor of version 1 has neither. */
		put_base64(b, chunked ? "base_iv" : "iv", e->iv, chunked || e->tag_count ? AEAD_IV_LEN : 0);
		buf_putc(b, ',');
		put_base64(b, chunked ? "tags" : "tag", e->tags, (size_t)e->tag_count * AEAD_TAG_LEN);
		buf_putc(b, '}');
	}
	buf_putc(b, '}');
}

static void put_key(struct buf *b, const char *alg, const struct crypto_key_ref *key, const char *kty)
{
	buf_puts(b, "{\"alg\":\"");
	buf_puts(b, alg);
	buf_putc(b, '"');
	if (key->has_kid) {
		buf_puts(b, ",\"kid\":");
		buf_put_json_string(b, key->kid.p, key->kid.len);
	}
	buf_puts(b, ",\"kty\":\"");
	buf_puts(b, kty);
	buf_puts(b, "\"}");
}

static void put_crypto_keys(struct buf *b, const struct crypto_info *c)
{
	buf_putc(b, '{');
	if (c->chunk_size) {
		buf_puts(b, "\"chunk_size\":");
		buf_put_u64(b, c->chunk_size);
		buf_putc(b, ',');
	}
	buf_puts(b, "\"enc\":");
	put_key(b, aead_alg_name(c->alg), &c->enc, "oct");
	buf_puts(b, ",\"sign\":");
	put_key(b, "ed25519", &c->sign, "okp");
	buf_puts(b, c->version == 1 ? ",\"version\":\"1\"}" : ",\"version\":\"2\"}");
}

static void put_policy(struct buf *b, const struct crypto_info *c)
{
	buf_puts(b, "{\"local\":");
	buf_put_json_string(b, c->local.p, c->local.len);
	buf_puts(b, ",\"remote\":");
	buf_put_json_string(b, c->remote.p, c->remote.len);
	buf_putc(b, '}');
}

static int by_key(const void *a, const void *b)
{
	return str_cmp(((const struct header_meta *)a)->key, ((const struct header_meta *)b)->key);
}

static bool keep_all(struct str key)
{
	(void)key;
	return true;
}

/* Signs h as it stands and puts the signature where sig64 is. */
static int sign(const struct header *h, const uint8_t *d, char *sig64, struct err *err)
{
	struct buf msg = BUF_INIT;
	uint8_t sig[SIGN_LEN];
	int ret = 0;

	canon_signed(&msg, h);
	if (msg.failed)
		ret = err_sys(err, ENOMEM, "the text to sign");
	else if (!sign_make(d, msg.data, msg.len, sig))
		ret = err_sys(err, EIO, "OpenSSL cannot sign");
	else
		base64_encode(BASE64_STD, sig, SIGN_LEN, sig64);
	buf_release(&msg);
	return ret;
}

#define STR(b) ((struct str){ (b).data, (b).len })
#define LITERAL(s) ((struct str){ s, sizeof(s) - 1 })

int emit_header(struct buf *text, const struct header *h, const struct crypto_info *c, const uint8_t *d, struct err *err)
{
	struct buf enc = BUF_INIT, keys = BUF_INIT, policy = BUF_INIT;
	struct header made = *h; /* borrows all but meta */
	const uint8_t no_sig[SIGN_LEN] = { 0 };
	char sig64[96];
	int ret = -1;

	base64_encode(BASE64_STD, no_sig, SIGN_LEN, sig64);
	put_encryption(&enc, c);
	put_crypto_keys(&keys, c);
	put_policy(&policy, c);
	made.meta_count = 0;
	made.meta = calloc(h->meta_count + 4, sizeof *made.meta);
	if (!made.meta || enc.failed || keys.failed || policy.failed) {
		err_sys(err, ENOMEM, "the new header");
		goto out;
	}
	for (size_t i = 0; i < h->meta_count; i++)
		if (!crypto_info_is_key(h->meta[i].key))
			made.meta[made.meta_count++] = h->meta[i];
	made.meta[made.meta_count++] = (struct header_meta){ LITERAL("__encryption__"), STR(enc) };
	made.meta[made.meta_count++] = (struct header_meta){ LITERAL("__crypto_keys__"), STR(keys) };
	made.meta[made.meta_count++] = (struct header_meta){ LITERAL("__policy__"), STR(policy) };
	made.meta[made.meta_count++] = (struct header_meta){ LITERAL("__signature__"), { sig64, base64_encoded_len(BASE64_STD, SIGN_LEN) } };
	qsort(made.meta, made.meta_count, sizeof *made.meta, by_key);

	if (d && sign(&made, d, sig64, err) < 0)
		goto out;
	canon_write(text, &made, keep_all);
	ret = text->failed ? err_sys(err, ENOMEM, "the new header") : 0;
out:
	free(made.meta);
	buf_release(&enc);
	buf_release(&keys);
	buf_release(&policy);
	return ret;
}

uint64_t emit_n(uint64_t len, uint64_t reserve)
{
	uint64_t tight = (len + 7) / 8 * 8;

	if (reserve == 0 || reserve > HEADER_MAX || len > HEADER_MAX)
		return tight;
	uint64_t n = (HEADER_PREFIX + len + reserve + EMIT_ALIGN - 1) / EMIT_ALIGN * EMIT_ALIGN - HEADER_PREFIX;
	return n > HEADER_MAX ? tight : n;
}
