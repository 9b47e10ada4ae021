#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "canon.h"
#include "chunk.h"
#include "file_inner.h"
#include "text.h"

/* ---- open and close ---- */

static int build_view(struct file *f, const uint8_t *raw, struct err *err)
{
	struct buf b = BUF_INIT;
	buf_put(&b, raw, HEADER_PREFIX);
	if (canon_view(&b, &f->h, err) < 0) {
		buf_release(&b);
		return -1;
	}
	f->view = b.data;
	return 0;
}

struct file *file_parse(const uint8_t *raw, size_t len, uint64_t size, struct err *err)
{
	struct file *f = calloc(1, sizeof *f);
	if (!f) {
		err_sys(err, ENOMEM, "opening the file");
		return NULL;
	}
	f->size = size;
	f->head = len;
	f->cache = (struct cache)CACHE_INIT;
	f->big = (struct big){ .lock = LOCK_INIT };
	f->lock = (struct lock)LOCK_INIT;
	if (header_parse(&f->h, raw, len, size, err) < 0 || crypto_info_parse(&f->c, &f->h, err) < 0 ||
	    digests_parse(&f->d, &f->h, &f->c, err) < 0 || build_view(f, raw, err) < 0)
		goto fail;
	if (f->d.present) {
		f->origin.sha = sha256_new();
		if (!f->origin.sha) {
			err_sys(err, ENOMEM, "opening the file");
			goto fail;
		}
	}
	return f;
fail:
	file_free(f);
	return NULL;
}

const uint8_t *file_key_of(const struct file *f, const struct crypto_entry *e)
{
	return f->keys->data + (size_t)(e - f->c.entries) * aead_key_len(f->c.alg);
}

/* An empty chunked tensor has one tag over nothing: it has no byte whose reading could fail, so it is checked here. */
static int check_empties(struct file *f, struct err *err)
{
	struct aead *a = aead_clone(f->origin.aead);
	int ret = a ? 0 : err_sys(err, ENOMEM, "opening the file");
	for (size_t i = 0; i < f->c.count && ret == 0; i++) {
		const struct crypto_entry *e = &f->c.entries[i];
		if (e->tensor == CRYPTO_ABSENT)
			continue;
		const struct header_tensor *t = &f->h.tensors[e->tensor];
		uint64_t len = t->end - t->begin;
		if (len == 0 && e->tag_count && !aead_open(a, file_key_of(f, e), e->iv, NULL, NULL, 0, e->tags))
			ret = err_set(err, ERR_FORMAT, "the tag of the empty tensor %s is wrong", TEXT(t->name.p, t->name.len));
		if (len > FILE_KEEP_MAX && (f->c.chunk_size == 0 || f->c.chunk_size > FILE_KEEP_MAX))
			f->has_big = true;
	}
	aead_free(a);
	return ret;
}

int file_set_keys(struct file *f, struct secret *keys, struct err *err)
{
	if (keys->len != f->c.count * aead_key_len(f->c.alg))
		return err_set(err, ERR_FORMAT, "%zu bytes of data keys for %zu tensors", keys->len, f->c.count);
	f->keys = keys;
	f->origin.aead = aead_new(f->c.alg);
	if (!f->origin.aead) {
		err_sys(err, ENOMEM, "opening the file");
		goto fail;
	}
	if (check_empties(f, err) < 0)
		goto fail;
	if (f->has_big && big_init(&f->big, f->c.alg, f->origin.sha) < 0) {
		err_sys(err, ENOMEM, "opening the file");
		goto fail;
	}
	return 0;
fail:
	f->keys = NULL;
	return -1;
}

struct file *file_open(const uint8_t *raw, size_t len, uint64_t size, struct secret *keys, struct err *err)
{
	struct file *f = file_parse(raw, len, size, err);
	if (f && file_set_keys(f, keys, err) < 0) {
		file_free(f);
		f = NULL;
	}
	return f;
}

void file_free(struct file *f)
{
	if (!f)
		return;
	for (int i = 0; i < f->idle_count; i++)
		file_tools_free(&f->idle[i]);
	file_tools_free(&f->origin);
	cache_release(&f->cache);
	big_release(&f->big);
	secret_free(f->keys);
	digests_release(&f->d);
	crypto_info_release(&f->c);
	header_release(&f->h);
	free(f->view);
	free(f);
}

void file_forget(struct file *f)
{
	struct secret *keys = f->keys, *mac_key = f->big.mac_key;
	f->keys = f->big.mac_key = NULL;
	lock_step();
	secret_free(keys);
	secret_free(mac_key);
	cache_release(&f->cache);
}

const struct header *file_header(const struct file *f)
{
	return &f->h;
}

const struct crypto_info *file_crypto(const struct file *f)
{
	return &f->c;
}

const struct digests *file_digests(const struct file *f)
{
	return &f->d;
}

uint64_t file_size(const struct file *f)
{
	return f->size;
}

void file_stats(const struct file *f, struct file_stats *s)
{
	s->bytes_decrypted = atomic_load(&f->bytes);
	s->chunks_decrypted = atomic_load(&f->chunks);
	s->ns_decrypting = atomic_load(&f->ns);
}

void file_fork_child(struct file *f)
{
	f->lock = f->cache.lock = f->big.lock = (struct lock)LOCK_INIT;
}

void file_trim(struct file *f, size_t bytes)
{
	cache_trim(&f->cache, bytes);
}

/* ---- chunks ---- */

bool file_is_bare(const struct file *f, size_t t)
{
	return f->c.by_tensor[t] == CRYPTO_ABSENT && !f->d.present;
}

struct file_chunk file_chunk_at(const struct file *f, size_t t, uint64_t at)
{
	const struct header_tensor *tensor = &f->h.tensors[t];
	bool plain = f->c.by_tensor[t] == CRYPTO_ABSENT;
	uint64_t in = at - f->head - tensor->begin, cs = plain ? f->d.chunk_size : f->c.chunk_size, begin, size;
	struct file_chunk c = { .tensor = (uint32_t)t, .number = cs ? in / cs : 0, .readable = true };
	chunk_range(tensor->end - tensor->begin, cs, c.number, &begin, &size);
	c.at = f->head + tensor->begin + begin;
	c.len = size;
	if (f->d.present && f->d.by_tensor[t].bytes)
		c.digest = f->d.by_tensor[t].bytes + c.number * SHA256_LEN;
	if (plain)
		return c;
	c.entry = &f->c.entries[f->c.by_tensor[t]];
	c.key = f->keys ? file_key_of(f, c.entry) : NULL;
	if (cs)
		c.readable = chunk_iv(c.entry->iv, c.number, c.iv);
	else
		memcpy(c.iv, c.entry->iv, sizeof c.iv);
	return c;
}

void file_extent(const struct file *f, uint64_t at, struct file_extent *e)
{
	*e = (struct file_extent){ .begin = 0, .end = f->head, .tensor_end = f->head };
	if (at < f->head)
		return;
	size_t t = header_at(&f->h, at - f->head);
	struct file_chunk c = file_chunk_at(f, t, at);
	e->tensor = &f->h.tensors[t];
	e->tensor_end = f->head + e->tensor->end;
	e->begin = c.at;
	e->end = c.at + c.len;
	e->chunk = c.number;
	e->bare = file_is_bare(f, t);
}

uint64_t file_tensor_at(const struct file *f, size_t tensor)
{
	return f->head + f->h.tensors[tensor].begin;
}

/* The piece of `size` bytes, counted from `from`, that holds `at`; cut to [begin, end). */
static void piece_of(uint64_t at, uint64_t from, uint64_t size, uint64_t *begin, uint64_t *end)
{
	uint64_t b = from + (at - from) / size * size;
	if (b > *begin)
		*begin = b;
	if (*end - b > size)
		*end = b + size;
}

void file_unit(const struct file *f, uint64_t at, uint64_t *begin, uint64_t *end)
{
	struct file_extent e;
	file_extent(f, at, &e);
	*begin = e.begin;
	*end = e.end;
	if (!e.tensor || file_is_bare(f, (size_t)(e.tensor - f->h.tensors)))
		piece_of(at, 0, FILE_PIECE, begin, end);
	else if (e.end - e.begin > FILE_KEEP_MAX)
		piece_of(at, e.begin, BIG_PIECE, begin, end);
}
