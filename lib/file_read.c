#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "file_inner.h"
#include "source.h"
#include "sys.h"
#include "text.h"

void file_tools_free(struct file_tools *w)
{
	aead_free(w->aead);
	sha256_free(w->sha);
	*w = (struct file_tools){ 0 };
}

static int tools_get(struct file *f, struct file_tools *w, struct err *err)
{
	*w = (struct file_tools){ 0 };
	lock_saved saved = lock_acquire(&f->lock);
	if (f->idle_count > 0)
		*w = f->idle[--f->idle_count];
	lock_release(&f->lock, saved);
	if (!w->aead && f->origin.aead)
		w->aead = aead_clone(f->origin.aead);
	if (!w->sha && f->origin.sha)
		w->sha = sha256_clone(f->origin.sha);
	if ((w->aead || !f->origin.aead) && (w->sha || !f->origin.sha))
		return 0;
	file_tools_free(w);
	return err_sys(err, ENOMEM, "decrypting");
}

static void tools_put(struct file *f, struct file_tools *w)
{
	if (w->aead)
		aead_forget(w->aead);
	lock_saved saved = lock_acquire(&f->lock);
	if (f->idle_count < FILE_TOOLS) {
		f->idle[f->idle_count] = *w;
		lock_step();
		f->idle_count++;
		*w = (struct file_tools){ 0 };
	}
	lock_release(&f->lock, saved);
	file_tools_free(w);
}

static uint64_t now(void)
{
	struct timespec t = { 0 };
	sys2(SYS_clock_gettime, CLOCK_MONOTONIC, &t); /* clock_gettime() may be an interposer's, with a lock (libfaketime) */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void count(struct file *f, uint64_t bytes, uint64_t chunks, uint64_t since)
{
	atomic_fetch_add_explicit(&f->bytes, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&f->chunks, chunks, memory_order_relaxed);
	atomic_fetch_add_explicit(&f->ns, now() - since, memory_order_relaxed);
}

static int damaged(const struct file *f, const struct file_chunk *c, struct err *err)
{
	const struct header_tensor *t = &f->h.tensors[c->tensor];
	return err_set(err, ERR_DAMAGED,
	               "tensor %s, chunk %llu (bytes %llu to %llu of the file) does not authenticate: damaged or altered; fetch the file again",
	               TEXT(t->name.p, t->name.len), (unsigned long long)c->number, (unsigned long long)c->at,
	               (unsigned long long)(c->at + c->len));
}

static bool is_big(const struct file_chunk *c)
{
	return c->len > FILE_KEEP_MAX;
}

/* Without memory nothing can be said of the chunk: that is no damage. */
static int begin_chunk(const struct file *f, const struct file_tools *w, const struct file_chunk *c, struct err *err)
{
	if (!c->readable)
		return damaged(f, c, err);
	if ((c->key && !aead_open_begin(w->aead, c->key, c->iv)) || (c->digest && !sha256_begin(w->sha)))
		return err_sys(err, ENOMEM, "decrypting");
	return 0;
}

/* In place. A digest is of what stands in the file: the ciphertext, or the plain tensor. */
static bool update_chunk(const struct file_tools *w, const struct file_chunk *c, uint8_t *p, size_t len)
{
	return (!c->digest || sha256_update(w->sha, p, len)) && (!c->key || aead_update(w->aead, p, p, len));
}

/* Everything that the chunk has is right. */
static bool finish_chunk(const struct file_tools *w, const struct file_chunk *c)
{
	uint8_t digest[SHA256_LEN];

	if (c->digest && (!sha256_finish(w->sha, digest) || memcmp(digest, c->digest, sizeof digest) != 0))
		return false;
	return !c->key || aead_open_finish(w->aead, c->entry->tags + c->number * AEAD_TAG_LEN);
}

/*
 * One whole chunk from fd, verified: into dst, or, where `keep` is false, piece after piece into the FILE_PIECE bytes of dst. -1: dst
 * holds no plaintext.
 */
static int load_chunk(const struct file *f, const struct file_tools *w, const struct file_chunk *c, int fd, uint8_t *dst, bool keep,
                      struct err *err)
{
	if (begin_chunk(f, w, c, err) < 0)
		return -1;
	for (uint64_t done = 0; done < c->len;) {
		size_t n = c->len - done < FILE_PIECE ? (size_t)(c->len - done) : FILE_PIECE;
		uint8_t *p = keep ? dst + done : dst;
		if (source_read(fd, p, n, c->at + done, err) < 0) {
			memset(dst, 0, keep ? done : FILE_PIECE);
			return -1;
		}
		if (!update_chunk(w, c, p, n)) {
			memset(dst, 0, keep ? done + n : FILE_PIECE);
			return damaged(f, c, err);
		}
		done += n;
	}
	if (finish_chunk(w, c))
		return 0;
	memset(dst, 0, keep ? c->len : FILE_PIECE);
	return damaged(f, c, err);
}

/*
 * A run of whole small chunks with one pread: [c->at, c->at + len) of the file into dst. Returns the bytes that are right; less than
 * len: *err says why.
 */
static size_t load_run(struct file *f, const struct file_tools *w, struct file_chunk c, int fd, uint8_t *dst, size_t len, struct err *err)
{
	size_t done = 0;
	uint64_t from = c.at;
	if (source_read(fd, dst, len, from, err) < 0)
		return 0;
	for (;;) {
		uint8_t *p = dst + done;
		int ret = begin_chunk(f, w, &c, err);
		if (ret == 0 && (!update_chunk(w, &c, p, (size_t)c.len) || !finish_chunk(w, &c)))
			ret = damaged(f, &c, err);
		if (ret < 0) {
			memset(p, 0, len - done);
			return done;
		}
		done += (size_t)c.len;
		if (done == len)
			return done;
		c = file_chunk_at(f, c.tensor, from + done);
	}
}

/*
 * The whole chunks of one tensor that [at, end) covers, first of them c, straight into the caller's memory. Returns the bytes that
 * are right, or -1.
 */
static ssize_t read_whole(struct file *f, const struct file_chunk *c, int fd, uint8_t *dst, uint64_t end, struct err *err)
{
	uint64_t cs = c->entry ? f->c.chunk_size : f->d.chunk_size, t0 = now();
	uint64_t tensor_end = f->head + f->h.tensors[c->tensor].end;
	size_t right = 0, len = (size_t)c->len;
	struct file_tools w;
	if (tools_get(f, &w, err) < 0)
		return -1;
	if (c->len >= FILE_PIECE / 2 || c->at + c->len == tensor_end) {
		if (load_chunk(f, &w, c, fd, dst, true, err) == 0)
			right = len;
	} else {
		uint64_t stop = end < tensor_end ? end : tensor_end;
		if (stop - c->at > FILE_PIECE)
			stop = c->at + FILE_PIECE;
		if (stop != tensor_end)
			stop = c->at + (stop - c->at) / cs * cs;
		struct err why = { 0 };
		right = load_run(f, &w, *c, fd, dst, (size_t)(stop - c->at), &why);
		if (right == 0 && why.code == ERR_SYSTEM && load_chunk(f, &w, c, fd, dst, true, &why) == 0) /* a bad sector further on */
			right = len;
		if (right == 0 && err)
			*err = why;
	}
	tools_put(f, &w);
	if (c->entry)
		count(f, right, cs ? (right + cs - 1) / cs : right > 0, t0);
	return right ? (ssize_t)right : -1;
}

/* Fills a cache slot with the verified plaintext of a chunk, or of a piece of a big one. */
static int fill_slot(struct file *f, const struct file_chunk *c, int fd, struct cache_slot *s, struct err *err)
{
	uint64_t t0 = now(), bytes = s->end - s->begin;
	int ret;
	if (is_big(c)) {
		struct big_ref ref = { c->tensor, c->number, c->at, c->len, c->key,
			               c->entry->tags + c->number * AEAD_TAG_LEN, c->digest, { 0 } };
		memcpy(ref.iv, c->iv, sizeof ref.iv);
		ret = c->readable ? big_piece(&f->big, &ref, fd, (s->begin - c->at) / BIG_PIECE, s->data, &bytes, err) :
		                    err_set(err, ERR_DAMAGED, "counter");
		if (ret < 0 && (!err || err->code == ERR_DAMAGED))
			damaged(f, c, err);
	} else {
		struct file_tools w;
		if (tools_get(f, &w, err) < 0)
			return -1;
		ret = load_chunk(f, &w, c, fd, s->data, true, err);
		tools_put(f, &w);
	}
	if (ret == 0) {
		cache_filled(&f->cache, s);
		if (c->entry)
			count(f, bytes, 1, t0);
	}
	return ret;
}

/*
 * Makes the kernel write to [dst, dst + len) what stands in the file at `at`: so that bad memory is EFAULT (or a short count), not a signal.
 * Returns how much can be written, or -1.
 */
static ssize_t probe(int fd, uint8_t *dst, size_t len, uint64_t at, struct err *err)
{
	long r;
	do
		r = sys_pread(fd, dst, len, at);
	while (r == -EINTR);
	if (r < 0)
		return err_sys(err, (int)-r, "reading the file");
	if (r == 0)
		return err_set(err, ERR_DAMAGED, "the file was cut short while it was open");
	return r;
}

/* Part of one chunk (or of a piece of a big one), by way of the cache. */
static ssize_t read_part(struct file *f, const struct file_chunk *c, int fd, uint64_t at, uint8_t *dst, size_t len, struct err *err)
{
	uint64_t begin = c->at, end = c->at + c->len;
	if (is_big(c)) {
		begin += (at - begin) / BIG_PIECE * BIG_PIECE;
		if (end - begin > BIG_PIECE)
			end = begin + BIG_PIECE;
	}
	if (end - at < len)
		len = (size_t)(end - at);
	struct cache_slot own, *s = cache_get(&f->cache, begin, end, &own);
	if (!s)
		return err_sys(err, ENOMEM, "decrypting");
	ssize_t n = -1;
	if (s->ready || fill_slot(f, c, fd, s, err) == 0)
		n = probe(fd, dst, len, at, err);
	if (n > 0)
		memcpy(dst, s->data + (at - begin), (size_t)n);
	cache_put(&f->cache, s);
	return n;
}

/* The whole chunk was decrypted not long ago, for a part of it. Tiny ones are sooner decrypted again than looked for. */
static bool is_cached(struct file *f, const struct file_chunk *c)
{
	struct cache_slot *s = is_big(c) || c->len <= FILE_PIECE / 4 ? NULL : cache_find(&f->cache, c->at, c->at + c->len);
	if (s)
		cache_put(&f->cache, s);
	return s;
}

/* Some bytes from `at` on: of one header, tensor or chunk. at < end <= size. */
static ssize_t read_some(struct file *f, int fd, uint64_t at, uint8_t *dst, uint64_t end, struct err *err)
{
	uint64_t len = end - at; /* at most SSIZE_MAX */
	if (at < f->head) {
		ssize_t n = probe(fd, dst, (size_t)(len < f->head - at ? len : f->head - at), at, err);
		if (n > 0)
			memcpy(dst, f->view + at, (size_t)n);
		return n;
	}
	size_t t = header_at(&f->h, at - f->head);
	uint64_t tensor_end = f->head + f->h.tensors[t].end;
	if (file_is_bare(f, t))
		return probe(fd, dst, (size_t)(len < tensor_end - at ? len : tensor_end - at), at, err);
	struct file_chunk c = file_chunk_at(f, t, at);
	if (c.entry && !c.key)
		return err_set(err, ERR_NOKEY, "its data keys are not there");
	if (c.at == at && c.len <= len && !is_cached(f, &c)) {
		struct err why = { 0 };
		ssize_t n = read_whole(f, &c, fd, dst, end, &why);
		if (n > 0 || why.code != ERR_SYSTEM || why.sys_errno != EFAULT) {
			if (n < 0 && err)
				*err = why;
			return n;
		}
	}
	return read_part(f, &c, fd, at, dst, (size_t)len, err);
}

ssize_t file_read(struct file *f, int fd, uint64_t at, void *buf, size_t len, struct err *err)
{
	if (at >= f->size || len == 0)
		return 0;
	if (len > SSIZE_MAX)
		len = SSIZE_MAX;
	uint64_t end = f->size - at < len ? f->size : at + len;
	uint64_t from = at;
	while (at < end) {
		ssize_t n = read_some(f, fd, at, (uint8_t *)buf + (at - from), end, err);
		if (n < 0)
			return at > from ? (ssize_t)(at - from) : -1;
		at += (uint64_t)n;
	}
	return (ssize_t)(at - from);
}


int file_check(struct file *f, int fd, uint64_t at, void *scratch, struct err *err)
{
	size_t t = header_at(&f->h, at - f->head);
	struct file_chunk c = file_chunk_at(f, t, at);
	struct file_tools w;
	if (tools_get(f, &w, err) < 0)
		return -1;
	int ret = load_chunk(f, &w, &c, fd, scratch, false, err);
	tools_put(f, &w);
	return ret;
}
