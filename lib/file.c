#include "file.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "big.h"
#include "cache.h"
#include "canon.h"
#include "chunk.h"
#include "source.h"
#include "sys.h"
#include "text.h"

#define PIECE 262144u           /* bytes decrypted at a time: stays in L2 */
#define KEEP_MAX FILE_UNIT_MAX  /* a chunk up to this size is kept whole in the cache; above, see big.h */
#define CONTEXTS 8              /* idle AEAD contexts kept */

struct file {
	struct header h;
	struct crypto_info c;
	uint64_t size, head; /* bytes of the file, of prefix and header */
	char *view;          /* head bytes */
	struct secret *keys;
	bool has_big;
	struct cache cache;
	struct big big;
	struct aead *context; /* never used itself: cloned by who decrypts */
	struct lock lock;     /* over idle */
	struct aead *idle[CONTEXTS];
	int idle_count;
	_Atomic uint64_t bytes, chunks, ns;
};

/* One chunk of an encrypted tensor. */
struct chunk {
	const struct crypto_entry *entry;
	const uint8_t *key;
	uint32_t tensor;
	uint64_t number;
	uint64_t at, len; /* bytes of the file */
	uint8_t iv[AEAD_IV_LEN];
	bool readable; /* false: its counter overflows */
};

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
	if (header_parse(&f->h, raw, len, size, err) < 0 || crypto_info_parse(&f->c, &f->h, err) < 0 || build_view(f, raw, err) < 0) {
		file_free(f);
		return NULL;
	}
	return f;
}

static const uint8_t *key_of(const struct file *f, const struct crypto_entry *e)
{
	return f->keys->data + (size_t)(e - f->c.entries) * aead_key_len(f->c.alg);
}

/* An empty chunked tensor has one tag over nothing: it has no byte whose reading could fail, so it is checked here. */
static int check_empties(struct file *f, struct err *err)
{
	struct aead *a = aead_clone(f->context);
	int ret = a ? 0 : err_sys(err, ENOMEM, "opening the file");
	for (size_t i = 0; i < f->c.count && ret == 0; i++) {
		const struct crypto_entry *e = &f->c.entries[i];
		if (e->tensor == CRYPTO_ABSENT)
			continue;
		const struct header_tensor *t = &f->h.tensors[e->tensor];
		uint64_t len = t->end - t->begin;
		if (len == 0 && e->tag_count && !aead_open(a, key_of(f, e), e->iv, NULL, NULL, 0, e->tags))
			ret = err_set(err, ERR_FORMAT, "the tag of the empty tensor %s is wrong", TEXT(t->name.p, t->name.len));
		if (len > KEEP_MAX && (f->c.chunk_size == 0 || f->c.chunk_size > KEEP_MAX))
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
	f->context = aead_new(f->c.alg);
	if (!f->context) {
		err_sys(err, ENOMEM, "opening the file");
		goto fail;
	}
	if (check_empties(f, err) < 0)
		goto fail;
	if (f->has_big && big_init(&f->big, f->c.alg) < 0) {
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
		aead_free(f->idle[i]);
	aead_free(f->context);
	cache_release(&f->cache);
	big_release(&f->big);
	secret_free(f->keys);
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

/* ---- decryption ---- */

static struct aead *context_get(struct file *f, struct err *err)
{
	struct aead *a = NULL;
	lock_saved saved = lock_acquire(&f->lock);
	if (f->idle_count > 0)
		a = f->idle[--f->idle_count];
	lock_release(&f->lock, saved);
	if (!a)
		a = aead_clone(f->context);
	if (!a)
		err_sys(err, ENOMEM, "decrypting");
	return a;
}

static void context_put(struct file *f, struct aead *a)
{
	aead_forget(a);
	lock_saved saved = lock_acquire(&f->lock);
	if (f->idle_count < CONTEXTS) {
		f->idle[f->idle_count] = a;
		lock_step();
		f->idle_count++;
		a = NULL;
	}
	lock_release(&f->lock, saved);
	aead_free(a);
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

static int damaged(const struct file *f, const struct chunk *c, struct err *err)
{
	const struct header_tensor *t = &f->h.tensors[c->tensor];
	return err_set(err, ERR_DAMAGED,
	               "tensor %s, chunk %llu (bytes %llu to %llu of the file) does not authenticate: damaged or altered; fetch the file again",
	               TEXT(t->name.p, t->name.len), (unsigned long long)c->number, (unsigned long long)c->at,
	               (unsigned long long)(c->at + c->len));
}

/* The chunk of the encrypted tensor t that holds the file's byte `at`. */
static struct chunk chunk_at(const struct file *f, size_t t, uint64_t at)
{
	const struct header_tensor *tensor = &f->h.tensors[t];
	const struct crypto_entry *e = &f->c.entries[f->c.by_tensor[t]];
	uint64_t in = at - f->head - tensor->begin, cs = f->c.chunk_size, begin, size;
	struct chunk c = { .entry = e, .tensor = (uint32_t)t, .number = cs ? in / cs : 0 };
	chunk_range(tensor->end - tensor->begin, cs, c.number, &begin, &size);
	c.key = f->keys ? key_of(f, e) : NULL;
	c.at = f->head + tensor->begin + begin;
	c.len = size;
	c.readable = true;
	if (cs)
		c.readable = chunk_iv(e->iv, c.number, c.iv);
	else
		memcpy(c.iv, e->iv, sizeof c.iv);
	return c;
}

static bool is_big(const struct chunk *c)
{
	return c->len > KEEP_MAX;
}

/* One whole chunk from fd into dst, verified. -1: dst holds no plaintext. */
static int load_chunk(const struct file *f, struct aead *a, const struct chunk *c, int fd, uint8_t *dst, struct err *err)
{
	if (!c->readable || !aead_open_begin(a, c->key, c->iv))
		return damaged(f, c, err);
	for (uint64_t done = 0; done < c->len;) {
		size_t n = c->len - done < PIECE ? (size_t)(c->len - done) : PIECE;
		if (source_read(fd, dst + done, n, c->at + done, err) < 0) {
			memset(dst, 0, done);
			return -1;
		}
		if (!aead_update(a, dst + done, dst + done, n)) {
			memset(dst, 0, done + n);
			return damaged(f, c, err);
		}
		done += n;
	}
	if (aead_open_finish(a, c->entry->tags + c->number * AEAD_TAG_LEN))
		return 0;
	memset(dst, 0, c->len);
	return damaged(f, c, err);
}

/*
 * A run of whole small chunks with one pread: [c->at, c->at + len) of the file into dst. Returns the bytes that are right; less than
 * len: *err says why.
 */
static size_t load_run(struct file *f, struct aead *a, struct chunk c, size_t tensor, int fd, uint8_t *dst, size_t len,
                       struct err *err)
{
	size_t done = 0;
	uint64_t from = c.at;
	if (source_read(fd, dst, len, from, err) < 0)
		return 0;
	for (;;) {
		uint8_t *p = dst + done;
		if (!c.readable || !aead_open(a, c.key, c.iv, p, p, (size_t)c.len, c.entry->tags + c.number * AEAD_TAG_LEN)) {
			damaged(f, &c, err);
			return done;
		}
		done += (size_t)c.len;
		if (done == len)
			return done;
		c = chunk_at(f, tensor, from + done);
	}
}

/*
 * The whole chunks of one tensor that [at, end) covers, first of them c, straight into the caller's memory. Returns the bytes that
 * are right, or -1.
 */
static ssize_t read_whole(struct file *f, const struct chunk *c, int fd, uint8_t *dst, uint64_t end, struct err *err)
{
	uint64_t cs = f->c.chunk_size, t0 = now();
	uint64_t tensor_end = f->head + f->h.tensors[c->tensor].end;
	size_t right = 0, len = (size_t)c->len;
	struct aead *a = context_get(f, err);
	if (!a)
		return -1;
	if (c->len >= PIECE / 2 || c->at + c->len == tensor_end) {
		if (load_chunk(f, a, c, fd, dst, err) == 0)
			right = len;
	} else {
		uint64_t stop = end < tensor_end ? end : tensor_end;
		if (stop - c->at > PIECE)
			stop = c->at + PIECE;
		if (stop != tensor_end)
			stop = c->at + (stop - c->at) / cs * cs;
		struct err why = { 0 };
		right = load_run(f, a, *c, c->tensor, fd, dst, (size_t)(stop - c->at), &why);
		if (right == 0 && why.code == ERR_SYSTEM && load_chunk(f, a, c, fd, dst, &why) == 0) /* a bad sector further on */
			right = len;
		if (right == 0 && err)
			*err = why;
	}
	context_put(f, a);
	count(f, right, cs ? (right + cs - 1) / cs : right > 0, t0);
	return right ? (ssize_t)right : -1;
}

/* Fills a cache slot with the verified plaintext of a chunk, or of a piece of a big one. */
static int fill_slot(struct file *f, const struct chunk *c, int fd, struct cache_slot *s, struct err *err)
{
	uint64_t t0 = now(), bytes = s->end - s->begin;
	int ret;
	if (is_big(c)) {
		struct big_ref ref = { c->tensor, c->number, c->at, c->len, c->key,
			               c->entry->tags + c->number * AEAD_TAG_LEN, { 0 } };
		memcpy(ref.iv, c->iv, sizeof ref.iv);
		ret = c->readable ? big_piece(&f->big, &ref, fd, (s->begin - c->at) / BIG_PIECE, s->data, &bytes, err) :
		                    err_set(err, ERR_DAMAGED, "counter");
		if (ret < 0 && (!err || err->code == ERR_DAMAGED))
			damaged(f, c, err);
	} else {
		struct aead *a = context_get(f, err);
		if (!a)
			return -1;
		ret = load_chunk(f, a, c, fd, s->data, err);
		context_put(f, a);
	}
	if (ret == 0) {
		cache_filled(&f->cache, s);
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
static ssize_t read_part(struct file *f, const struct chunk *c, int fd, uint64_t at, uint8_t *dst, size_t len, struct err *err)
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
static bool is_cached(struct file *f, const struct chunk *c)
{
	struct cache_slot *s = is_big(c) || c->len <= PIECE / 4 ? NULL : cache_find(&f->cache, c->at, c->at + c->len);
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
	if (f->c.by_tensor[t] == CRYPTO_ABSENT)
		return probe(fd, dst, (size_t)(len < tensor_end - at ? len : tensor_end - at), at, err);
	struct chunk c = chunk_at(f, t, at);
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

void file_trim(struct file *f, size_t bytes)
{
	cache_trim(&f->cache, bytes);
}

void file_extent(const struct file *f, uint64_t at, struct file_extent *e)
{
	*e = (struct file_extent){ .begin = 0, .end = f->head, .tensor_end = f->head };
	if (at < f->head)
		return;
	size_t t = header_at(&f->h, at - f->head);
	e->tensor = &f->h.tensors[t];
	e->begin = f->head + e->tensor->begin;
	e->end = e->tensor_end = f->head + e->tensor->end;
	if (f->c.by_tensor[t] == CRYPTO_ABSENT)
		return;
	struct chunk c = chunk_at(f, t, at);
	e->begin = c.at;
	e->end = c.at + c.len;
	e->chunk = c.number;
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
	if (!e.tensor || f->c.by_tensor[e.tensor - f->h.tensors] == CRYPTO_ABSENT)
		piece_of(at, 0, PIECE, begin, end);
	else if (e.end - e.begin > KEEP_MAX)
		piece_of(at, e.begin, BIG_PIECE, begin, end);
}
