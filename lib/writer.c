#include "writer.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "chunk.h"
#include "crypto_info.h"
#include "digests.h"
#include "emit.h"
#include "header.h"
#include "secret.h"
#include "sha256.h"
#include "source.h"
#include "text.h"
#include "writer_io.h"

#define PIECE 262144u                               /* bytes a thread holds at once: they stay in its L2 cache */
#define GCM_MAX ((UINT64_C(1) << 36) - 32)          /* bytes under one nonce (NIST SP 800-38D) */
#define COUNTER_MAX (UINT64_C(1) << 32)             /* chunks that the 32-bit counter in an IV can number */
#define ENTRY_MIN 150u                              /* a lower bound of an entry's length in __encryption__, without its tags */

/* What becomes of one tensor. */
struct part {
	struct crypto_entry *entry; /* NULL: it stays plain */
	uint64_t step;              /* bytes per chunk; 0: a single one */
	uint64_t chunks;            /* of which each gets a tag, if encrypted, and a digest, if they are wanted and it is not empty */
	uint8_t *tags;
	uint8_t *digests; /* NULL: none */
};

struct plan {
	const struct writer_params *p;
	int in, out;
	struct header h;      /* the input's */
	struct part *parts;   /* as header.tensors */
	struct crypto_info c; /* the output's; entries by name */
	struct digests d;     /* the output's */
	uint8_t *tags;        /* of all parts */
	struct secret *deks;  /* as c.entries */
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

static int choose_tensors(struct plan *pl, struct err *err)
{
	const struct writer_params *p = pl->p;
	struct crypto_info *c = &pl->c;

	if (p->version == 2 && p->chunk_size == 0)
		return err_set(err, ERR_FORMAT, "a chunk size of 0");
	*c = (struct crypto_info){ .version = p->version, .chunk_size = p->version == 2 ? p->chunk_size : 0, .alg = p->alg, .local = p->local,
		                   .remote = p->remote };
	c->enc = (struct crypto_key_ref){ .has_kid = p->kek->has_kid, .kid = { p->kek->kid, p->kek->kid_len } };
	c->sign = (struct crypto_key_ref){ .has_kid = p->signer->has_kid, .kid = { p->signer->kid, p->signer->kid_len } };
	if (pl->h.count > HEADER_MAX / ENTRY_MIN)
		return err_set(err, ERR_FORMAT, "%zu tensors: their entries do not fit into a header of %u bytes", pl->h.count, HEADER_MAX);
	pl->parts = calloc(pl->h.count + 1, sizeof *pl->parts);
	c->entries = calloc(pl->h.count + 1, sizeof *c->entries);
	pl->d.by_tensor = calloc(pl->h.count + 1, sizeof *pl->d.by_tensor);
	if (!pl->parts || !c->entries || !pl->d.by_tensor)
		return err_sys(err, ENOMEM, "%zu tensors", pl->h.count);
	for (size_t i = 0; i < pl->h.count; i++) {
		size_t t = pl->h.by_name[i];
		if (p->wanted && !p->wanted(p->wanted_arg, pl->h.tensors[t].name))
			continue;
		c->entries[c->count] = (struct crypto_entry){ .name = pl->h.tensors[t].name };
		pl->parts[t].entry = &c->entries[c->count++];
	}
	pl->d.present = p->digests || c->count < pl->h.count;
	pl->d.chunk_size = !c->chunk_size ? CHUNK_DEFAULT : c->chunk_size < DIGESTS_CHUNK_MIN ? DIGESTS_CHUNK_MIN :
	                   c->chunk_size > DIGESTS_CHUNK_MAX ? DIGESTS_CHUNK_MAX : c->chunk_size;
	return 0;
}

static bool has_digests(const struct plan *pl, const struct part *part)
{
	return pl->d.present && (pl->p->digests || !part->entry);
}

/* Counts the chunks of one tensor, and refuses what the format cannot hold before anything is allocated for it. */
static int count_chunks(const struct plan *pl, const struct header_tensor *x, struct part *part, struct err *err)
{
	uint64_t len = x->end - x->begin, cs = pl->c.chunk_size;

	part->step = part->entry ? cs : pl->d.chunk_size;
	part->chunks = len == 0 && !(part->entry && cs) ? 0 : chunk_count(len, part->step);
	if (!part->entry)
		return 0;
	if (pl->p->alg != AEAD_CHACHA20POLY1305 && len > GCM_MAX && (cs == 0 || cs > GCM_MAX))
		return err_set(err, ERR_FORMAT, "tensor %s: %" PRIu64 " bytes under one nonce are more than GCM's %" PRIu64
		               ": use format version 2 with smaller chunks", TEXT(x->name.p, x->name.len), len, GCM_MAX);
	if (part->chunks > COUNTER_MAX)
		return err_set(err, ERR_FORMAT, "tensor %s: %" PRIu64 " chunks are more than the format can number: use larger chunks",
		               TEXT(x->name.p, x->name.len), part->chunks);
	return 0;
}

/* Room for all tags and digests, which the chunks of all tensors fill in. */
static int plan_chunks(struct plan *pl, struct err *err)
{
	uint64_t tags = 0, digests = 0, limit = HEADER_MAX / 4 * 3; /* bytes that fit as base64 */

	for (size_t t = 0; t < pl->h.count; t++) {
		struct part *part = &pl->parts[t];
		if (count_chunks(pl, &pl->h.tensors[t], part, err) < 0)
			return -1;
		uint64_t each = (part->entry ? AEAD_TAG_LEN : 0) + (has_digests(pl, part) ? SHA256_LEN : 0);
		if (each && part->chunks > (limit - tags - digests) / each)
			return err_set(err, ERR_FORMAT, "chunks of %" PRIu64 " bytes: their tags%s do not fit into a header of %u bytes; use larger "
			               "chunks", part->step, pl->d.present ? " and digests" : "", HEADER_MAX);
		tags += part->entry ? part->chunks * AEAD_TAG_LEN : 0;
		digests += has_digests(pl, part) ? part->chunks * SHA256_LEN : 0;
	}
	pl->tags = calloc(tags + 1, 1);
	pl->d.bytes = calloc(digests + 1, 1);
	if (!pl->tags || !pl->d.bytes)
		return err_sys(err, ENOMEM, "tags for %zu tensors", pl->h.count);
	tags = digests = 0;
	for (size_t t = 0; t < pl->h.count; t++) {
		struct part *part = &pl->parts[t];
		if (part->entry) {
			part->tags = pl->tags + tags;
			part->entry->tags = part->tags;
			part->entry->tag_count = part->chunks;
			tags += part->chunks * AEAD_TAG_LEN;
		}
		if (has_digests(pl, part)) {
			uint64_t count = digests_count(pl->h.tensors[t].end - pl->h.tensors[t].begin, part->step);
			part->digests = pl->d.bytes + digests;
			pl->d.by_tensor[t] = (struct digests_of){ part->digests, count };
			digests += count * SHA256_LEN;
		}
	}
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
	struct aead *a = aead_new(pl->p->alg);
	int ret = -1;

	pl->deks = secret_new(pl->c.count * pl->key_len);
	if (!a || !pl->deks) {
		err_sys(err, ENOMEM, "keys for %zu tensors", pl->c.count);
		goto out;
	}
	for (size_t i = 0; i < pl->c.count; i++) {
		uint8_t *dek = pl->deks->data + i * pl->key_len;
		struct crypto_entry *e = &pl->c.entries[i];
		if (RAND_priv_bytes(dek, (int)pl->key_len) != 1 || !draw_iv(e->iv, e->tag_count) || !writer_wrap_key(a, pl->p->kek, dek, pl->key_len, e)) {
			err_sys(err, EIO, "OpenSSL cannot make keys");
			goto out;
		}
	}
	ret = 0;
out:
	aead_free(a);
	return ret;
}

/* The output's header. Its length depends on nothing that the data decides, so it is right even before tags and digests are known. */
static int header_text(struct plan *pl, struct buf *text, bool sign, struct err *err)
{
	struct buf digests = BUF_INIT;
	struct header h = pl->h; /* borrows all but meta */
	int ret = -1;

	h.meta = calloc(pl->h.meta_count + 1, sizeof *h.meta);
	if (pl->d.present)
		digests_put(&digests, &pl->h, &pl->d);
	if (!h.meta || digests.failed) {
		err_sys(err, ENOMEM, "the new header");
		goto out;
	}
	if (pl->h.meta_count > 0)
		memcpy(h.meta, pl->h.meta, pl->h.meta_count * sizeof *h.meta);
	if (pl->d.present)
		h.meta[h.meta_count++] = (struct header_meta){ { "__digests__", strlen("__digests__") }, { digests.data, digests.len } };
	ret = emit_header(text, &h, &pl->c, sign ? pl->p->signer->secret->data : NULL, err);
out:
	free(h.meta);
	buf_release(&digests);
	return ret;
}

static int plan_layout(struct plan *pl, struct err *err)
{
	struct buf text = BUF_INIT;
	int ret = header_text(pl, &text, false, err);

	pl->n = emit_n(text.len, pl->p->reserve);
	buf_release(&text);
	if (ret < 0)
		return -1;
	if (pl->n > HEADER_MAX)
		return err_set(err, ERR_FORMAT, "the encrypted file's header would have %" PRIu64 " bytes, more than the format's %u%s", pl->n,
		               HEADER_MAX, pl->c.chunk_size ? ": use larger chunks" : "");
	if (ftruncate(pl->out, (off_t)(HEADER_PREFIX + pl->n + pl->h.data_len)) < 0)
		return err_sys(err, errno, "cannot size the output");
	return 0;
}

static int write_header(struct plan *pl, struct err *err)
{
	struct buf text = BUF_INIT;
	int ret = header_text(pl, &text, true, err);

	if (ret == 0)
		ret = writer_put_header(pl->out, &text, pl->n, err);
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
	while (*t < pl->h.count && *i >= pl->parts[*t].chunks) {
		(*t)++;
		*i = 0;
	}
	if (*t >= pl->h.count)
		return false;
	const struct header_tensor *x = &pl->h.tensors[*t];
	chunk_range(x->end - x->begin, pl->parts[*t].step, *i, begin, size);
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

/* What a thread seals with. */
struct tools {
	struct aead *aead;
	struct sha256 *sha; /* NULL: no digests */
	uint8_t *buf;       /* PIECE bytes */
};

static bool begin_chunk(const struct plan *pl, const struct tools *w, const struct part *part, uint64_t i)
{
	uint8_t iv[AEAD_IV_LEN];

	if (part->entry) {
		const uint8_t *dek = pl->deks->data + (size_t)(part->entry - pl->c.entries) * pl->key_len;
		if (!chunk_iv(part->entry->iv, i, iv) || !aead_seal_begin(w->aead, dek, iv))
			return false;
	}
	return !part->digests || sha256_begin(w->sha);
}

/* In place. The digest is of what stands in the file: the ciphertext, or the plain tensor. */
static bool update_chunk(const struct tools *w, const struct part *part, uint8_t *p, size_t len)
{
	return (!part->entry || aead_update(w->aead, p, p, len)) && (!part->digests || sha256_update(w->sha, p, len));
}

static bool finish_chunk(const struct tools *w, const struct part *part, uint64_t i, uint64_t size)
{
	return (!part->entry || aead_seal_finish(w->aead, part->tags + i * AEAD_TAG_LEN)) &&
	       (!part->digests || size == 0 || sha256_finish(w->sha, part->digests + i * SHA256_LEN));
}

static int seal_small(struct plan *pl, const struct tools *w, const struct run *r, struct err *err)
{
	uint64_t begin, size, i = r->chunk;
	size_t t = r->tensor;

	if (source_read(pl->in, w->buf, (size_t)r->len, HEADER_PREFIX + pl->h.n + r->begin, err) < 0)
		return -1;
	for (uint64_t n = 0; n < r->chunks && chunk_at(pl, &t, &i, &begin, &size); n++, i++) {
		const struct part *part = &pl->parts[t];
		if (!begin_chunk(pl, w, part, i) || !update_chunk(w, part, w->buf + (begin - r->begin), (size_t)size) ||
		    !finish_chunk(w, part, i, size))
			return err_sys(err, EIO, "OpenSSL cannot encrypt");
	}
	if (writer_write_at(pl->out, w->buf, (size_t)r->len, HEADER_PREFIX + pl->n + r->begin, err) < 0)
		return -1;
	writer_crew_done(&pl->crew, r->len);
	return 0;
}

static int seal_large(struct plan *pl, const struct tools *w, const struct run *r, struct err *err)
{
	const struct part *part = &pl->parts[r->tensor];

	if (!begin_chunk(pl, w, part, r->chunk))
		return err_sys(err, EIO, "OpenSSL cannot encrypt");
	for (uint64_t at = 0; at < r->len;) {
		size_t len = r->len - at < PIECE ? (size_t)(r->len - at) : PIECE;
		if (!writer_crew_goes_on(&pl->crew))
			return 0;
		if (source_read(pl->in, w->buf, len, HEADER_PREFIX + pl->h.n + r->begin + at, err) < 0)
			return -1;
		if (!update_chunk(w, part, w->buf, len))
			return err_sys(err, EIO, "OpenSSL cannot encrypt");
		if (writer_write_at(pl->out, w->buf, len, HEADER_PREFIX + pl->n + r->begin + at, err) < 0)
			return -1;
		at += len;
		writer_crew_done(&pl->crew, len);
	}
	return finish_chunk(w, part, r->chunk, r->len) ? 0 : err_sys(err, EIO, "OpenSSL cannot encrypt");
}

static void seal_runs(void *arg)
{
	struct plan *pl = arg;
	struct tools w = { .aead = aead_new(pl->p->alg), .sha = pl->d.present ? sha256_new() : NULL, .buf = malloc(PIECE) };
	struct err e = { 0 };
	struct run r = { 0 };

	if (!w.aead || !w.buf || (pl->d.present && !w.sha)) {
		err_sys(&e, ENOMEM, "a thread's buffer");
		writer_crew_fail(&pl->crew, 0, &e);
		goto out;
	}
	while (writer_crew_goes_on(&pl->crew) && take_run(pl, &r)) {
		if ((r.len <= PIECE ? seal_small : seal_large)(pl, &w, &r, &e) < 0) {
			writer_crew_fail(&pl->crew, r.begin, &e);
			break;
		}
	}
out:
	aead_free(w.aead);
	sha256_free(w.sha);
	if (w.buf)
		secret_wipe(w.buf, PIECE);
	free(w.buf);
}

int writer_encrypt(int in, uint64_t size, int out, const struct writer_params *p, struct writer_progress *pr, struct err *err)
{
	struct plan pl = { .p = p, .in = in, .out = out };
	int ret = -1;

	if (plan_header(&pl, size, err) < 0)
		return -1;
	if (plan_check(&pl, err) < 0 || choose_tensors(&pl, err) < 0 || plan_chunks(&pl, err) < 0 || plan_keys(&pl, err) < 0 ||
	    plan_layout(&pl, err) < 0)
		goto out;
	writer_crew_init(&pl.crew, pr, pl.h.data_len);
	if (writer_crew_run(&pl.crew, p->jobs, seal_runs, &pl, err) < 0)
		goto out;
	ret = write_header(&pl, err);
out:
	header_release(&pl.h);
	crypto_info_release(&pl.c);
	digests_release(&pl.d);
	free(pl.parts);
	free(pl.tags);
	secret_free(pl.deks);
	return ret;
}
