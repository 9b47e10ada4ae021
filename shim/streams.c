#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "reads.h"
#include "sys.h"
#include "views.h"

static int fd_of(void *cookie)
{
	return (int)(intptr_t)cookie;
}

static ssize_t stream_read(void *cookie, char *buf, size_t len)
{
	return reads_read(fd_of(cookie), buf, len);
}

static ssize_t stream_write(void *cookie, const char *buf, size_t len)
{
	(void)cookie;
	(void)buf;
	(void)len;
	errno = EBADF;
	return 0;
}

static int stream_seek(void *cookie, off64_t *at, int whence)
{
	off_t r = lseek(fd_of(cookie), *at, whence);
	if (r < 0)
		return -1;
	*at = r;
	return 0;
}

static int stream_close(void *cookie)
{
	return close(fd_of(cookie)); /* our own hook */
}

static FILE *stream(int fd, const char *mode)
{
	static const cookie_io_functions_t calls = { stream_read, stream_write, stream_seek, stream_close };
	FILE *fp = fopencookie((void *)(intptr_t)fd, mode, calls); /* NOLINT(performance-no-int-to-ptr): a cookie */
	if (fp)
		fp->_fileno = fd;
	return fp;
}

FILE *streams_fdopen(int fd, const char *mode)
{
	struct view *v;
	errno = 0;
	if (views_get(fd, &v) < 0 || !v)
		return NULL;
	views_put(v);
	FILE *fp = stream(fd, mode);
	if (!fp && errno == 0)
		errno = ENOMEM;
	return fp;
}

FILE *streams_opened(FILE *fp, const char *path, const char *mode)
{
	if (!fp || (mode[0] != 'r' && !strchr(mode, '+')))
		return fp;
	struct view *v = NULL;
	int fd = fileno(fp), saved = errno;
	int r = fd < 0 ? 0 : views_opened(fd, path, strchr(mode, '+') ? O_RDWR : O_RDONLY);
	if (r == 0 && fd >= 0)
		r = views_get(fd, &v);
	if (r == 0 && !v) {
		if (fd >= 0) /* stdio closes past our hooks: keep no hint that would outlive the descriptor */
			views_closed((unsigned int)fd, (unsigned int)fd);
		errno = saved;
		return fp;
	}
	int own = -1;
	if (v) { /* fclose(fp) closes fd: go on with a copy of it */
		own = fcntl(fd, strchr(mode, 'e') ? F_DUPFD_CLOEXEC : F_DUPFD, fd);
		views_put(v);
	}
	int why = errno;
	views_closed((unsigned int)fd, (unsigned int)fd);
	fclose(fp);
	if (own >= 0) { /* fd's number is free again: a program may expect the lowest one */
		int low = fcntl(own, strchr(mode, 'e') ? F_DUPFD_CLOEXEC : F_DUPFD, fd);
		if (low >= 0 && low < own) {
			close(own);
			own = low;
		} else if (low >= 0) {
			close(low);
		}
	}
	fp = own < 0 ? NULL : stream(own, mode);
	if (!fp && own >= 0) {
		why = errno;
		close(own);
	}
	errno = fp ? saved : why;
	return fp;
}

void streams_stdin(void)
{
	static FILE *own;
	struct view *v = NULL;
	int saved = errno;
	if (!views_owned() || (own && stdin == own) || (stdin && fileno(stdin) != 0) || views_get(0, &v) < 0 || !v) {
		errno = saved;
		return;
	}
	views_put(v);
	own = stream(0, "r");
	if (own)
		stdin = own;
	errno = saved;
}
