#include "fill.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "lock.h"
#include "memfd.h"
#include "reads.h"
#include "source.h"
#include "sys.h"

#define STAGING (4u << 20)       /* bytes of plaintext a thread holds at once: two chunks of the default size */
#define ALONE_MAX (8u << 20)     /* bytes that are not worth a thread */

struct fill {
	struct view *v;
	int fd, memfd;
	uint64_t at; /* byte of the file that is the memfd's first */
	size_t len, page;
	pthread_mutex_t lock; /* over what follows */
	size_t next;
	long failed; /* -errno */
	struct fill_result *result;
};

static void note_bad(struct fill *f, size_t from, size_t to)
{
	pthread_mutex_lock(&f->lock);
	struct fill_bad *bad = realloc(f->result->bad, (f->result->count + 1) * sizeof *bad);
	if (bad) {
		bad[f->result->count++] = (struct fill_bad){ from / f->page * f->page, (to + f->page - 1) / f->page * f->page };
		f->result->bad = bad;
	} else {
		f->failed = -ENOMEM;
	}
	pthread_mutex_unlock(&f->lock);
}

/* The next window: whole chunks as far as staging holds them, else a part of one. false: nothing is left to do. */
static bool take(struct fill *f, size_t *from, size_t *to)
{
	pthread_mutex_lock(&f->lock);
	*from = *to = f->next;
	size_t limit = f->len - *from < STAGING ? f->len : *from + STAGING;
	while (*to < limit && f->failed == 0) {
		struct file_extent e;
		file_extent(f->v->file, f->at + *to, &e);
		uint64_t end = e.end - f->at;
		if (end > limit) {
			if (*to == *from || f->at + *to > e.begin || limit == f->len)
				*to = limit;
			break;
		}
		*to = (size_t)end;
	}
	f->next = *to;
	pthread_mutex_unlock(&f->lock);
	return *to > *from;
}

/* What can be read of [from, to) goes to the memfd; the rest is noted as bad. */
static long window(struct fill *f, char *staging, size_t from, size_t to)
{
	long r = 0;
	while (from < to && r == 0) {
		struct err err = { 0 };
		struct file_extent e;
		ssize_t n = file_read(f->v->file, f->fd, f->at + from, staging, to - from, &err);
		if (n > 0) {
			r = memfd_write(f->memfd, staging, (size_t)n, from);
			from += (size_t)n;
			continue;
		}
		if (err.code == ERR_SYSTEM && err.sys_errno != EIO) /* no memory, no descriptor: not the file's fault */
			return -err.sys_errno;
		reads_report(f->v, f->at + from, &err);
		file_extent(f->v->file, f->at + from, &e);
		size_t end = e.end - f->at < to ? (size_t)(e.end - f->at) : to;
		note_bad(f, from, end);
		from = end;
	}
	return r;
}

static void *work(void *arg)
{
	struct fill *f = arg;
	size_t from, to;
	char *staging = source_alloc(STAGING);
	long r = staging ? 0 : -ENOMEM;
	if (staging)
		sys3(SYS_madvise, staging, STAGING, 14 /* MADV_HUGEPAGE */);
	while (r == 0 && take(f, &from, &to))
		r = window(f, staging, from, to);
	source_free(staging, STAGING);
	if (r < 0) {
		pthread_mutex_lock(&f->lock);
		f->failed = r;
		pthread_mutex_unlock(&f->lock);
	}
	return NULL;
}

static int helpers(size_t len)
{
	int n = config_threads();
	if ((size_t)n > len / ALONE_MAX + 1)
		n = (int)(len / ALONE_MAX + 1);
	return n - 1;
}

static int bad_cmp(const void *a, const void *b)
{
	const struct fill_bad *x = a, *y = b;
	return x->from < y->from ? -1 : x->from > y->from;
}

/* In order, and without overlaps: two damaged chunks may share a page. */
static void tidy(struct fill_result *r)
{
	size_t kept = 0;
	if (r->count > 1)
		qsort(r->bad, r->count, sizeof *r->bad, bad_cmp);
	for (size_t i = 1; i < r->count; i++) {
		if (r->bad[i].from <= r->bad[kept].to) {
			if (r->bad[i].to > r->bad[kept].to)
				r->bad[kept].to = r->bad[i].to;
		} else {
			r->bad[++kept] = r->bad[i];
		}
	}
	r->count = r->count ? kept + 1 : 0;
}

long fill_memfd(struct view *v, int fd, uint64_t at, size_t len, int memfd, struct fill_result *result)
{
	struct fill f = { .v = v, .fd = fd, .memfd = memfd, .at = at, .len = len, .lock = PTHREAD_MUTEX_INITIALIZER, .result = result };
	pthread_t threads[CONFIG_CORES_MAX];
	int count = 0, want = helpers(len), cancel;
	*result = (struct fill_result){ 0 };
	f.page = (size_t)sysconf(_SC_PAGESIZE);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* pthread_join() would be a place for it, mmap() is none */
	lock_saved saved = lock_signals(); /* the helpers inherit the mask: no signal of the host's is handled in them */
	while (count < want && pthread_create(&threads[count], NULL, work, &f) == 0)
		count++;
	lock_signals_restore(saved);
	work(&f);
	while (count > 0)
		pthread_join(threads[--count], NULL);
	pthread_setcancelstate(cancel, NULL);
	tidy(result);
	return f.failed;
}
