#include "writer_io.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chunk.h"

#define CREW_MAX 256u

int writer_write_at(int fd, const void *buf, size_t len, uint64_t at, struct err *err)
{
	const uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(err, n < 0 ? errno : EIO, "cannot write the output at byte %llu", (unsigned long long)at);
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int writer_put_header(int fd, struct buf *text, uint64_t n, struct err *err)
{
	uint8_t prefix[HEADER_PREFIX];

	if (text->len > n || !buf_reserve(text, (size_t)n - text->len))
		return err_sys(err, ENOMEM, "the new header");
	memset(text->data + text->len, ' ', (size_t)n - text->len);
	text->len = (size_t)n;
	for (int i = 0; i < 8; i++)
		prefix[i] = (uint8_t)(n >> (8 * i));
	if (writer_write_at(fd, prefix, sizeof prefix, 0, err) < 0)
		return -1;
	return writer_write_at(fd, text->data, text->len, HEADER_PREFIX, err);
}

bool writer_wrap_key(struct aead *a, const struct jwk *kek, const uint8_t *dek, size_t len, struct crypto_entry *e)
{
	return RAND_bytes(e->key_iv, sizeof e->key_iv) == 1 && aead_seal(a, kek->secret->data, e->key_iv, dek, e->wrapped_key, len, e->key_tag);
}

void writer_crew_init(struct writer_crew *c, struct writer_progress *progress, uint64_t total)
{
	*c = (struct writer_crew){ .lock = PTHREAD_MUTEX_INITIALIZER, .progress = progress };
	if (progress) {
		progress->done = 0;
		progress->total = total;
	}
}

void writer_crew_fail(struct writer_crew *c, uint64_t at, const struct err *err)
{
	pthread_mutex_lock(&c->lock);
	if (!c->failed || at < c->failed_at) {
		c->failed_at = at;
		c->err = *err;
	}
	c->failed = true;
	pthread_mutex_unlock(&c->lock);
}

bool writer_crew_goes_on(struct writer_crew *c)
{
	if (c->progress && c->progress->cancel) {
		struct err e;
		err_sys(&e, EINTR, "stopped before the end");
		writer_crew_fail(c, 0, &e);
	}
	return !c->failed;
}

void writer_crew_done(struct writer_crew *c, uint64_t bytes)
{
	if (c->progress)
		c->progress->done += bytes;
}

/* The chunk at the cursor, relative to the data section; false at the end. */
static bool next_chunk(struct writer_cursor *cur, uint64_t *begin, uint64_t *size)
{
	const struct header *h = file_header(cur->f);
	const struct crypto_info *c = file_crypto(cur->f);
	const struct digests *d = file_digests(cur->f);

	for (; cur->tensor < h->count; cur->tensor++, cur->chunk = 0) {
		const struct header_tensor *x = &h->tensors[cur->tensor];
		uint64_t len = x->end - x->begin;
		uint64_t cs = c->by_tensor[cur->tensor] != CRYPTO_ABSENT ? c->chunk_size : d->present ? d->chunk_size : cur->batch;
		if (len == 0 || cur->chunk >= chunk_count(len, cs))
			continue;
		chunk_range(len, cs, cur->chunk, begin, size);
		*begin += x->begin;
		return true;
	}
	return false;
}

bool writer_take(struct writer_crew *c, struct writer_cursor *cur, struct writer_piece *p)
{
	uint64_t begin, size, data = HEADER_PREFIX + file_header(cur->f)->n;

	*p = (struct writer_piece){ 0 };
	pthread_mutex_lock(&c->lock);
	while (p->len < cur->batch && next_chunk(cur, &begin, &size)) {
		if (p->len > 0 && size > cur->batch - p->len)
			break;
		if (p->len == 0)
			p->begin = data + begin;
		p->len += size;
		cur->chunk++;
	}
	pthread_mutex_unlock(&c->lock);
	return p->len > 0;
}

struct member {
	pthread_t thread;
	void (*work)(void *arg);
	void *arg;
};

static void *member_main(void *p)
{
	struct member *m = p;
	m->work(m->arg);
	return NULL;
}

int writer_crew_run(struct writer_crew *c, unsigned int jobs, void (*work)(void *arg), void *arg, struct err *err)
{
	struct member crew[CREW_MAX];
	unsigned int started = 0;

	if (jobs > CREW_MAX)
		jobs = CREW_MAX;
	/* Fewer threads than asked for is slower, not wrong. */
	for (; started + 1 < jobs; started++) {
		crew[started] = (struct member){ .work = work, .arg = arg };
		if (pthread_create(&crew[started].thread, NULL, member_main, &crew[started]) != 0)
			break;
	}
	work(arg);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(crew[i].thread, NULL);
	pthread_mutex_destroy(&c->lock);
	if (!c->failed)
		return 0;
	if (err)
		*err = c->err;
	return -1;
}
