/* The open family. A name's suffix says when to look, the content what it is (views.h). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "config.h"
#include "hooks.h"
#include "real.h"
#include "streams.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define TAKES_MODE(flags) (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE)

static int opened(int fd, const char *path, int flags)
{
	if (fd < 0 || !real_ready || config.off)
		return fd;
	if (views_opened(fd, path, flags) == 0) {
		if (fd == 0)
			streams_stdin();
		return fd;
	}
	int why = errno;
	views_closed((unsigned int)fd, (unsigned int)fd);
	sys_close(fd);
	errno = why;
	return -1;
}

static int do_openat(int dir, const char *path, int flags, mode_t mode)
{
	if (!real_ready)
		return (int)real_answer(sys4(SYS_openat, dir, path, flags | O_LARGEFILE, mode));
	return opened(real.openat(dir, path, flags, mode), path, flags);
}

static int do_open(const char *path, int flags, mode_t mode)
{
	if (!real_ready)
		return do_openat(AT_FDCWD, path, flags, mode);
	return opened(real.open(path, flags, mode), path, flags);
}

#define MODE_ARGUMENT(flags, mode) \
	mode_t mode = 0; \
	if (TAKES_MODE(flags)) { \
		va_list ap; \
		va_start(ap, flags); \
		mode = va_arg(ap, mode_t); \
		va_end(ap); \
	}

HOOK int open(const char *path, int flags, ...)
{
	MODE_ARGUMENT(flags, mode)
	return do_open(path, flags, mode);
}

HOOK int openat(int dir, const char *path, int flags, ...)
{
	MODE_ARGUMENT(flags, mode)
	return do_openat(dir, path, flags, mode);
}

HOOK_ALIAS(int, open64, open, (const char *, int, ...))
HOOK_ALIAS(int, __open, open, (const char *, int, ...))
HOOK_ALIAS(int, __open64, open, (const char *, int, ...))
HOOK_ALIAS(int, openat64, openat, (int, const char *, int, ...))
HOOK_ALIAS(int, __openat64, openat, (int, const char *, int, ...))

/* What _FORTIFY_SOURCE makes of calls without a mode. */
HOOK int __open_2(const char *path, int flags)
{
	return do_open(path, flags, 0);
}

HOOK int __openat_2(int dir, const char *path, int flags)
{
	return do_openat(dir, path, flags, 0);
}

HOOK_ALIAS(int, __open64_2, __open_2, (const char *, int))
HOOK_ALIAS(int, __openat64_2, __openat_2, (int, const char *, int))

HOOK FILE *fopen(const char *path, const char *mode)
{
	if (!real_ready && !real.fopen)
		real_resolve();
	FILE *fp = real.fopen(path, mode);
	return real_ready && !config.off ? streams_opened(fp, path, mode) : fp;
}

HOOK FILE *fdopen(int fd, const char *mode)
{
	if (!real_ready && !real.fdopen)
		real_resolve();
	if (!real_ready || config.off)
		return real.fdopen(fd, mode);
	int saved = errno;
	FILE *fp = streams_fdopen(fd, mode);
	if (fp || errno) {
		if (fp)
			errno = saved;
		return fp;
	}
	errno = saved;
	return real.fdopen(fd, mode);
}

HOOK_ALIAS(FILE *, fopen64, fopen, (const char *, const char *))
HOOK_ALIAS(FILE *, _IO_fopen, fopen, (const char *, const char *))
HOOK_ALIAS(FILE *, _IO_fdopen, fdopen, (int, const char *))

/* A stream cannot become a cookie stream in place, so an encrypted file is refused here rather than read as ciphertext. */
HOOK FILE *freopen(const char *path, const char *mode, FILE *stream)
{
	if (!real_ready && !real.freopen)
		real_resolve();
	FILE *fp = real.freopen(path, mode, stream);
	int fd = fp ? fileno(fp) : -1, saved = errno;
	struct view *v = NULL;
	if (!real_ready || config.off || fd < 0 || !path)
		return fp;
	views_closed((unsigned int)fd, (unsigned int)fd);
	int r = views_get(fd, &v);
	int why = r < 0 ? errno : EOPNOTSUPP;
	if (v) {
		config_log(LOG_ERROR, "%s: EOPNOTSUPP: freopen() of an encrypted file; use fopen()", v->name);
		views_put(v);
	}
	if (r == 0 && !v) {
		errno = saved;
		return fp;
	}
	fclose(fp);
	errno = why;
	return NULL;
}

HOOK_ALIAS(FILE *, freopen64, freopen, (const char *, const char *, FILE *))
