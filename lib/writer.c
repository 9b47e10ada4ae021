#include "writer.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base64.h"
#include "buf.h"
#include "canon.h"
#include "chunk.h"
#include "crypto_info.h"
#include "header.h"
#include "secret.h"
#include "source.h"
#include "text.h"
#include "writer_io.h"

#define PIECE 262144u                               /* bytes a thread holds at once: they stay in its L2 cache */
#define GCM_MAX ((UINT64_C(1) << 36) - 32)          /* bytes under one nonce (NIST SP 800-38D) */
#define COUNTER_MAX (UINT64_C(1) << 32)             /* chunks that the 32-bit counter in an IV can number */
#define ENTRY_MIN 150u                              /* a lower bound of an entry's length in __encryption__, without its tags */

/* A data key as the header carries it. */
struct wrapped {
	uint8_t key[AEAD_KEY_MAX];
	uint8_t iv[AEAD_IV_LEN];
	uint8_t tag[AEAD_TAG_LEN];
};

/* Everything per tensor is indexed as header.tensors. */
struct plan {
	const struct writer_params *p;
	int in, out;
	struct header h; /* the input's */
	uint64_t cs;     /* 0: not chunked */
	uint64_t *first; /* count + 1 of them: number of the tensor's first tag */
	uint8_t *tags;   /* first[count] × 16 bytes */
	uint8_t (*ivs)[AEAD_IV_LEN];
	struct wrapped *wrapped;
	struct secret *deks;
	size_t key_len;
	uint64_t n; /* the output's header, bytes */

	struct writer_crew crew;
	size_t next_tensor; /* the cursor, under crew.lock */
	uint64_t next_chunk;
};

static int plan_header(struct plan *pl, uint64_t size, struct err *err)
{
	uint8_t *raw;
	size_t len;

	if (source_header(pl->in, size, &raw, &len, err) < 0)
		return -1;
	int ret = header_parse(&pl->h, raw, len, size, err);
	free(raw);
	return ret;
}

static int plan_check(struct plan *pl, struct err *err)
{
	const struct writer_params *p = pl->p;

	int encrypted = crypto_info_present(&pl->h, err);
	if (encrypted < 0)
		return -1;
	if (encrypted)
		return err_set(err, ERR_FORMAT, "is encrypted already: to encrypt it anew, decrypt it first");
	for (size_t i = 0; i < pl->h.meta_count; i++) {
		struct str key = pl->h.meta[i].key;
		if (crypto_info_is_reserved(key))
			return err_set(err, ERR_FORMAT, "its metadata uses the reserved name %s: rename or remove that entry", TEXT(key.p, key.len));
	}
	pl->key_len = aead_key_len(p->alg);
	if (p->kek->kind != JWK_OCT || p->kek->secret->len != pl->key_len)
		return err_set(err, ERR_FORMAT, "%s needs a master key of %zu bytes, this one has %zu", aead_alg_name(p->alg), pl->key_len,
		               p->kek->secret->len);
	if (p->signer->kind != JWK_OKP || !p->signer->secret)
		return err_set(err, ERR_FORMAT, "the signing key has no private half (d)");
	return 0;
}

/* Counts the tags, and refuses what the format cannot hold before anything is allocated for it. */
static int plan_chunks(struct plan *pl, struct err *err)
{
	uint64_t total = 0, limit = HEADER_MAX / 4 * 3 / AEAD_TAG_LEN;

	if (pl->p->version == 2 && pl->p->chunk_size == 0)
		return err_set(err, ERR_FORMAT, "a chunk size of 0");
	pl->cs = pl->p->version == 2 ? pl->p->chunk_size : 0;
	pl->first = calloc(pl->h.count + 1, sizeof *pl->first);
	if (!pl->first)
		return err_sys(err, ENOMEM, "%zu tensors", pl->h.count);
	if (pl->h.count > HEADER_MAX / ENTRY_MIN)
		return err_set(err, ERR_FORMAT, "%zu tensors: their entries do not fit into a header of %u bytes", pl->h.count, HEADER_MAX);
	for (size_t t = 0; t < pl->h.count; t++) {
		const struct header_tensor *x = &pl->h.tensors[t];
		uint64_t len = x->end - x->begin, chunks = pl->cs == 0 && len == 0 ? 0 : chunk_count(len, pl->cs);
		if (pl->p->alg != AEAD_CHACHA20POLY1305 && len > GCM_MAX && (pl->cs == 0 || pl->cs > GCM_MAX))
			return err_set(err, ERR_FORMAT, "tensor %s: %" PRIu64 " bytes under one nonce are more than GCM's %" PRIu64
			               ": use format version 2 with smaller chunks", TEXT(x->name.p, x->name.len), len, GCM_MAX);
		if (chunks > COUNTER_MAX)
			return err_set(err, ERR_FORMAT, "tensor %s: %" PRIu64 " chunks are more than the format can number: use larger chunks",
			               TEXT(x->name.p, x->name.len), chunks);
		if (chunks > limit - total)
			return err_set(err, ERR_FORMAT, "chunks of %" PRIu64 " bytes: their tags do not fit into a header of %u bytes; use larger "
			               "chunks", pl->cs, HEADER_MAX);
		pl->first[t] = total;
		total += chunks;
	}
	pl->first[pl->h.count] = total;
	return 0;
}

/* The last four bytes of a base IV count chunks: they are drawn so that the last chunk's number still fits. */
static bool draw_iv(uint8_t iv[AEAD_IV_LEN], uint64_t chunks)
{
	uint64_t draw;

	if (RAND_bytes(iv, AEAD_IV_LEN) != 1)
		return false;
	if (chunks > 1) {
		if (RAND_bytes((unsigned char *)&draw, sizeof draw) != 1)
			return false;
		uint32_t start = (uint32_t)(draw % (COUNTER_MAX - chunks + 1));
		for (int i = 0; i < 4; i++)
			iv[8 + i] = (uint8_t)(start >> (24 - 8 * i));
	}
	return true;
}

static int plan_keys(struct plan *pl, struct err *err)
{
	size_t count = pl->h.count;
	struct aead *a = aead_new(pl->p->alg);
	int ret = -1;

	pl->deks = secret_new(count * pl->key_len);
	pl->ivs = calloc(count + 1, sizeof *pl->ivs);
	pl->wrapped = calloc(count + 1, sizeof *pl->wrapped);
	pl->tags = calloc(pl->first[count] + 1, AEAD_TAG_LEN);
	if (!a || !pl->deks || !pl->ivs || !pl->wrapped || !pl->tags) {
		err_sys(err, ENOMEM, "keys for %zu tensors", count);
		goto out;
	}
	for (size_t t = 0; t < count; t++) {
		uint8_t *dek = pl->deks->data + t * pl->key_len;
		struct wrapped *w = &pl->wrapped[t];
		if (RAND_priv_bytes(dek, (int)pl->key_len) != 1 || RAND_bytes(w->iv, sizeof w->iv) != 1 ||
		    !draw_iv(pl->ivs[t], pl->first[t + 1] - pl->first[t]) ||
		    !aead_seal(a, pl->p->kek->secret->data, w->iv, dek, w->key, pl->key_len, w->tag)) {
			err_sys(err, EIO, "OpenSSL cannot make keys");
			goto out;
		}
	}
	ret = 0;
out:
	aead_free(a);
	return ret;
}

static void put_base64(struct buf *b, const char *name, const void *bytes, size_t len)
{
	size_t chars = base64_encoded_len(BASE64_STD, len);

	buf_putc(b, '"');
	buf_puts(b, name);
	buf_puts(b, "\":\"");
	if (buf_reserve(b, chars)) {
		base64_encode(BASE64_STD, bytes, len, b->data + b->len);
		b->len += chars;
	}
	buf_putc(b, '"');
}

static void put_encryption(struct buf *b, const struct plan *pl)
{
	buf_putc(b, '{');
	for (size_t i = 0; i < pl->h.count; i++) {
		size_t t = pl->h.by_name[i];
		const struct wrapped *w = &pl->wrapped[t];
		uint64_t tags = pl->first[t + 1] - pl->first[t];
		if (i > 0)
			buf_putc(b, ',');
		buf_put_json_string(b, pl->h.tensors[t].name.p, pl->h.tensors[t].name.len);
		buf_puts(b, ":{");
		put_base64(b, "wrapped_key", w->key, pl->key_len);
		buf_putc(b, ',');
		put_base64(b, "key_iv", w->iv, sizeof w->iv);
		buf_putc(b, ',');
		put_base64(b, "key_tag", w->tag, sizeof w->tag);
		buf_putc(b, ',');
		/* An empty tensor of version 1 has neither. */
		put_base64(b, pl->cs ? "base_iv" : "iv", pl->ivs[t], tags ? AEAD_IV_LEN : 0);
		buf_putc(b, ',');
		put_base64(b, pl->cs ? "tags" : "tag", pl->tags + pl->first[t] * AEAD_TAG_LEN, (size_t)tags * AEAD_TAG_LEN);
		buf_putc(b, '}');
	}
	buf_putc(b, '}');
}

static void put_key(struct buf *b, const char *alg, const struct jwk *key, const char *kty)
{
	buf_puts(b, "{\"alg\":\"");
	buf_puts(b, alg);
	buf_putc(b, '"');
	if (key->has_kid) {
		buf_puts(b, ",\"kid\":");
		buf_put_json_string(b, key->kid, key->kid_len);
	}
	buf_puts(b, ",\"kty\":\"");
	buf_puts(b, kty);
	buf_puts(b, "\"}");
}

static void put_crypto_keys(struct buf *b, const struct plan *pl)
{
	buf_putc(b, '{');
	if (pl->cs) {
		buf_puts(b, "\"chunk_size\":");
		buf_put_u64(b, pl->cs);
		buf_putc(b, ',');
	}
	buf_puts(b, "\"enc\":");
	put_key(b, aead_alg_name(pl->p->alg), pl->p->kek, "oct");
	buf_puts(b, ",\"sign\":");
	put_key(b, "ed25519", pl->p->signer, "okp");
	buf_puts(b, pl->cs ? ",\"version\":\"2\"}" : ",\"version\":\"1\"}");
}

static void put_policy(struct buf *b, const struct writer_params *p)
{
	buf_puts(b, "{\"local\":");
	buf_put_json_string(b, p->local.p, p->local.len);
	buf_puts(b, ",\"remote\":");
	buf_put_json_string(b, p->remote.p, p->remote.len);
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

#define STR(b) ((struct str){ (b).data, (b).len })
#define LITERAL(s) ((struct str){ s, sizeof(s) - 1 })

/*
 * The output's header as JSON without padding. Its length depends on nothing that the data decides, so it is right even before
 * the tags and the signature are known. A signature is made only if `sign` is true.
 */
static int header_text(const struct plan *pl, struct buf *text, bool sign, struct err *err)
{
	struct buf enc = BUF_INIT, keys = BUF_INIT, policy = BUF_INIT, msg = BUF_INIT;
	struct header h = pl->h; /* borrows all but meta */
	uint8_t sig[SIGN_LEN] = { 0 };
	char sig64[96];
	size_t sig64_len = base64_encoded_len(BASE64_STD, SIGN_LEN);
	int ret = -1;

	base64_encode(BASE64_STD, sig, SIGN_LEN, sig64);
	put_encryption(&enc, pl);
	put_crypto_keys(&keys, pl);
	put_policy(&policy, pl->p);
	h.meta = calloc(pl->h.meta_count + 4, sizeof *h.meta);
	if (!h.meta || enc.failed || keys.failed || policy.failed) {
		err_sys(err, ENOMEM, "the new header");
		goto out;
	}
	if (pl->h.meta_count > 0)
		memcpy(h.meta, pl->h.meta, pl->h.meta_count * sizeof *h.meta);
	h.meta_count = pl->h.meta_count + 4;
	h.meta[pl->h.meta_count] = (struct header_meta){ LITERAL("__encryption__"), STR(enc) };
	h.meta[pl->h.meta_count + 1] = (struct header_meta){ LITERAL("__crypto_keys__"), STR(keys) };
	h.meta[pl->h.meta_count + 2] = (struct header_meta){ LITERAL("__policy__"), STR(policy) };
	h.meta[pl->h.meta_count + 3] = (struct header_meta){ LITERAL("__signature__"), { sig64, sig64_len } };
	qsort(h.meta, h.meta_count, sizeof *h.meta, by_key);

	if (sign) {
		canon_signed(&msg, &h);
		if (msg.failed) {
			err_sys(err, ENOMEM, "the text to sign");
			goto out;
		}
		if (!sign_make(pl->p->signer->secret->data, msg.data, msg.len, sig)) {
			err_sys(err, EIO, "OpenSSL cannot sign");
			goto out;
		}
		base64_encode(BASE64_STD, sig, SIGN_LEN, sig64);
		buf_release(&msg);
	}
	canon_write(text, &h, keep_all);
	if (text->failed)
		err_sys(err, ENOMEM, "the new header");
	else
		ret = 0;
out:
	free(h.meta);
	buf_release(&enc);
	buf_release(&keys);
	buf_release(&policy);
	buf_release(&msg);
	return ret;
}

static int plan_layout(struct plan *pl, struct err *err)
{
	struct buf text = BUF_INIT;
	int ret = header_text(pl, &text, false, err);

	pl->n = (text.len + 7) / 8 * 8;
	buf_release(&text);
	if (ret < 0)
		return -1;
	if (pl->n > HEADER_MAX)
		return err_set(err, ERR_FORMAT, "the encrypted file's header would have %" PRIu64 " bytes, more than the format's %u%s", pl->n,
		               HEADER_MAX, pl->cs ? ": use larger chunks" : "");
	if (ftruncate(pl->out, (off_t)(HEADER_PREFIX + pl->n + pl->h.data_len)) < 0)
		return err_sys(err, errno, "cannot size the output");
	return 0;
}

static int write_header(const struct plan *pl, struct err *err)
{
	struct buf text = BUF_INIT;
	uint8_t prefix[HEADER_PREFIX];
	int ret = header_text(pl, &text, true, err);

	if (ret < 0)
		goto out;
	while (text.len < pl->n && !text.failed)
		buf_putc(&text, ' ');
	if (text.failed || text.len != pl->n) {
		ret = err_sys(err, ENOMEM, "the new header");
		goto out;
	}
	for (int i = 0; i < 8; i++)
		prefix[i] = (uint8_t)(pl->n >> (8 * i));
	ret = writer_write_at(pl->out, prefix, sizeof prefix, 0, err);
	if (ret == 0)
		ret = writer_write_at(pl->out, text.data, text.len, HEADER_PREFIX, err);
out:
	buf_release(&text);
	return ret;
}

/* Chunks that follow one another in the data section: as many as fit a piece, or a single larger one. */
struct run {
	size_t tensor;
	uint64_t chunk, chunks;
	uint64_t begin, len; /* bytes, relative to the data section */
};

/* The chunk at (*t, *i), skipping tensors that have none left; false at the end. */
static bool chunk_at(const struct plan *pl, size_t *t, uint64_t *i, uint64_t *begin, uint64_t *size)
{
	while (*t < pl->h.count && *i >= pl->first[*t + 1] - pl->first[*t]) {
		(*t)++;
		*i = 0;
	}
	if (*t >= pl->h.count)
		return false;
	const struct header_tensor *x = &pl->h.tensors[*t];
	chunk_range(x->end - x->begin, pl->cs, *i, begin, size);
	*begin += x->begin;
	return true;
}

static bool take_run(struct plan *pl, struct run *r)
{
	uint64_t begin, size;

	*r = (struct run){ 0 };
	pthread_mutex_lock(&pl->crew.lock);
	while (r->len < PIECE && chunk_at(pl, &pl->next_tensor, &pl->next_chunk, &begin, &size)) {
		if (r->chunks > 0 && size > PIECE - r->len)
			break;
		if (r->chunks == 0)
			*r = (struct run){ .tensor = pl->next_tensor, .chunk = pl->next_chunk, .begin = begin };
		r->chunks++;
		r->len += size;
		pl->next_chunk++;
	}
	pthread_mutex_unlock(&pl->crew.lock);
	return r->chunks > 0;
}

struct chunk_keys {
	const uint8_t *dek;
	uint8_t iv[AEAD_IV_LEN];
	uint8_t *tag;
};

static bool chunk_keys(const struct plan *pl, size_t t, uint64_t i, struct chunk_keys *k)
{
	k->dek = pl->deks->data + t * pl->key_len;
	k->tag = pl->tags + (pl->first[t] + i) * AEAD_TAG_LEN;
	return chunk_iv(pl->ivs[t], i, k->iv);
}

static int seal_small(struct plan *pl, struct aead *a, const struct run *r, uint8_t *buf, struct err *err)
{
	uint64_t begin, size, i = r->chunk;
	size_t t = r->tensor;
	struct chunk_keys k;

	if (source_read(pl->in, buf, (size_t)r->len, HEADER_PREFIX + pl->h.n + r->begin, err) < 0)
		return -1;
	for (uint64_t n = 0; n < r->chunks && chunk_at(pl, &t, &i, &begin, &size); n++, i++) {
		uint8_t *at = buf + (begin - r->begin);
		if (!chunk_keys(pl, t, i, &k) || !aead_seal(a, k.dek, k.iv, at, at, (size_t)size, k.tag))
			return err_sys(err, EIO, "OpenSSL cannot encrypt");
	}
	if (writer_write_at(pl->out, buf, (size_t)r->len, HEADER_PREFIX + pl->n + r->begin, err) < 0)
		return -1;
	writer_crew_done(&pl->crew, r->len);
	return 0;
}

static int seal_large(struct plan *pl, struct aead *a, const struct run *r, uint8_t *buf, struct err *err)
{
	struct chunk_keys k;

	if (!chunk_keys(pl, r->tensor, r->chunk, &k) || !aead_seal_begin(a, k.dek, k.iv))
		return err_sys(err, EIO, "OpenSSL cannot encrypt");
	for (uint64_t at = 0; at < r->len;) {
		size_t len = r->len - at < PIECE ? (size_t)(r->len - at) : PIECE;
		if (!writer_crew_goes_on(&pl->crew))
			return 0;
		if (source_read(pl->in, buf, len, HEADER_PREFIX + pl->h.n + r->begin + at, err) < 0)
			return -1;
		if (!aead_update(a, buf, buf, len))
			return err_sys(err, EIO, "OpenSSL cannot encrypt");
		if (writer_write_at(pl->out, buf, len, HEADER_PREFIX + pl->n + r->begin + at, err) < 0)
			return -1;
		at += len;
		writer_crew_done(&pl->crew, len);
	}
	return aead_seal_finish(a, k.tag) ? 0 : err_sys(err, EIO, "OpenSSL cannot encrypt");
}

static void seal_runs(void *arg)
{
	struct plan *pl = arg;
	struct aead *a = aead_new(pl->p->alg);
	uint8_t *buf = malloc(PIECE);
	struct err e = { 0 };
	struct run r = { 0 };

	if (!a || !buf) {
		err_sys(&e, ENOMEM, "a thread's buffer");
		writer_crew_fail(&pl->crew, 0, &e);
		goto out;
	}
	while (writer_crew_goes_on(&pl->crew) && take_run(pl, &r)) {
		if ((r.len <= PIECE ? seal_small : seal_large)(pl, a, &r, buf, &e) < 0) {
			writer_crew_fail(&pl->crew, r.begin, &e);
			break;
		}
	}
out:
	aead_free(a);
	if (buf)
		secret_wipe(buf, PIECE);
	free(buf);
}

int writer_encrypt(int in, uint64_t size, int out, const struct writer_params *p, struct writer_progress *pr, struct err *err)
{
	struct plan pl = { .p = p, .in = in, .out = out };
	int ret = -1;

	if (plan_header(&pl, size, err) < 0)
		return -1;
	if (plan_check(&pl, err) < 0 || plan_chunks(&pl, err) < 0 || plan_keys(&pl, err) < 0 || plan_layout(&pl, err) < 0)
		goto out;
	writer_crew_init(&pl.crew, pr, pl.h.data_len);
	if (writer_crew_run(&pl.crew, p->jobs, seal_runs, &pl, err) < 0)
		goto out;
	ret = write_header(&pl, err);
out:
	header_release(&pl.h);
	free(pl.first);
	free(pl.tags);
	free(pl.ivs);
	free(pl.wrapped);
	secret_free(pl.deks);
	return ret;
}
