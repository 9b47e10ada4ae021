#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "lazy.h"
#include "objects.h"
#include "reads.h"
#include "real.h"
#include "views.h"

/* ---- what stands in the tables ---- */

#define NOT_CANCELLED 2 /* glibc's _IO_FLAGS2_NOTCANCEL: fopen()'s 'c' */
#define FAILED 0x20     /* its _IO_ERR_SEEN: what ferror() looks at */

static ssize_t stream_read(FILE *fp, void *buf, ssize_t len)
{
	struct view *v;
	int fd = fp->_fileno;
	lazy_prepare(buf, (size_t)len, true);
	if (views_plain(fd))
		return real._IO_file_read(fp, buf, len);
	if (!(fp->_flags2 & NOT_CANCELLED))
		pthread_testcancel(); /* before the view is pinned */
	if (views_get(fd, &v) < 0)
		return -1;
	if (!v)
		return real._IO_file_read(fp, buf, len);
	ssize_t n = reads_next(v, fd, buf, (size_t)len);
	views_put(v);
	return n;
}

/*
 * Writes what is longer than the stream's buffer straight from the caller's memory. The real function writes all, or marks the stream as
 * failed; where that was for a page that was given back meanwhile, the mark is taken back and it goes on.
 */
static ssize_t stream_write(FILE *fp, const void *p, ssize_t len)
{
	if (!lazy_any() || !lazy_is(p, (size_t)len))
		return real._IO_file_write(fp, p, len);
	int tries = 0, saved = errno;
	bool failed = fp->_flags & FAILED;
	ssize_t done = 0, at_once = (ssize_t)lazy_at_once();
	while (done < len) {
		const char *from = (const char *)p + done;
		ssize_t piece = len - done < at_once ? len - done : at_once;
		lazy_prepare(from, (size_t)piece, false);
		ssize_t n = real._IO_file_write(fp, from, piece);
		done += n;
		if (n < piece) {
			if (failed || !lazy_again(&tries))
				break;
			fp->_flags &= ~FAILED;
			errno = saved;
		}
	}
	return done;
}

/* Ways of libc to close a stream's descriptor: any file's, popen's, a mapped one's. Each table has one, and ours of that number in its place. */
#define CLOSERS 4
static int (*closers[CLOSERS])(FILE *);

/* Forgotten before it is closed, as close() does. */
#define CLOSER(n) \
	static int close_##n(FILE *fp) \
	{ \
		if (fp->_fileno >= 0) \
			views_closed((unsigned int)fp->_fileno, (unsigned int)fp->_fileno); \
		return closers[n](fp); \
	}
CLOSER(0)
CLOSER(1)
CLOSER(2)
CLOSER(3)
static int (*const our_closers[CLOSERS])(FILE *) = { close_0, close_1, close_2, close_3 };

/* ---- the tables ---- */

static bool in_place;

union entry {
	void *p;
	ssize_t (*read)(FILE *, void *, ssize_t);
	ssize_t (*write)(FILE *, const void *, ssize_t);
	off64_t (*seek)(FILE *, off64_t, int);
	int (*close)(FILE *);
};

/* Four entries as they follow one another in each table (struct _IO_jump_t, unchanged since glibc 2.1). */
struct entries {
	union entry read, write, seek, close;
};

static bool is_table(const struct entries *e)
{
	return e->read.read == real._IO_file_read && e->write.write == real._IO_file_write && e->seek.seek == real._IO_file_seek;
}

/* Other threads may be in stdio. */
static void replace(struct entries *e)
{
	union entry ours = { .read = stream_read };
	__atomic_store_n(&e->read.p, ours.p, __ATOMIC_RELAXED);
	ours.write = stream_write;
	__atomic_store_n(&e->write.p, ours.p, __ATOMIC_RELAXED);
	for (int i = 0; i < CLOSERS; i++)
		if (!closers[i] || closers[i] == e->close.close) {
			closers[i] = e->close.close;
			ours.close = our_closers[i];
			__atomic_store_n(&e->close.p, ours.p, __ATOMIC_RELAXED);
			break;
		}
}

/* libc keeps its tables in its data that is read-only once it is relocated. */
void streams_start(void)
{
	struct object libc;
	union entry inside = { .read = real._IO_file_read };
	int tables = 0;
	if (inside.p && real._IO_file_write && real._IO_file_seek && objects_find(inside.p, &libc) && objects_open(&libc)) {
		uintptr_t at = (libc.relro + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
		for (; at + sizeof(struct entries) <= libc.relro_end; at += sizeof(void *)) {
			struct entries *e = (struct entries *)at; /* NOLINT(performance-no-int-to-ptr) */
			if (is_table(e)) {
				replace(e);
				tables++;
			}
		}
		objects_close(&libc);
	}
	in_place = tables > 0;
	if (!in_place)
		config_log(LOG_WARN, "the stdio of this libc is not known: encrypted files cannot be opened by fopen()");
}

/* ---- opening ---- */

const char *streams_mode(char *room, const char *mode)
{
	const char *m = strchr(mode, 'm'), *comma = strchr(mode, ',');
	if (!m || (comma && m > comma) || strlen(mode) >= STREAMS_MODE)
		return mode;
	size_t before = (size_t)(m - mode);
	memcpy(room, mode, before);
	strcpy(room + before, m + 1);
	return room;
}

/* Where streams would read past us. */
static int refuse_view(int fd)
{
	struct view *v;
	if (views_get(fd, &v) < 0)
		return -1;
	if (!v)
		return 0;
	config_log(LOG_ERROR, "%s: EOPNOTSUPP: the stdio of this libc is not known: encrypted files cannot be opened by fopen()", v->name);
	views_put(v);
	errno = EOPNOTSUPP;
	return -1;
}

FILE *streams_opened(FILE *fp, const char *path, const char *mode)
{
	if (!fp || (mode[0] != 'r' && !strchr(mode, '+')))
		return fp;
	int fd = fileno(fp), saved = errno, r = 0;
	if (fd >= 0 && path)
		r = views_opened(fd, path, strchr(mode, '+') ? O_RDWR : O_RDONLY);
	if (fd >= 0 && r == 0 && !in_place)
		r = refuse_view(fd);
	if (r < 0) {
		saved = errno;
		views_closed((unsigned int)fd, (unsigned int)fd);
		fclose(fp);
		fp = NULL;
	}
	errno = saved;
	return fp;
}
