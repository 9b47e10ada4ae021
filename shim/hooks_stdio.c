/* Streams that are opened; what they read and write comes through libc's own tables (streams.h). */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "config.h"
#include "hooks.h"
#include "real.h"
#include "streams.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

HOOK FILE *fopen(const char *path, const char *mode)
{
	char room[STREAMS_MODE];
	if (!real_ready && !real.fopen)
		real_resolve();
	if (!real_ready || config.off)
		return real.fopen(path, mode);
	return streams_opened(real.fopen(path, streams_mode(room, mode)), path, mode);
}

HOOK FILE *freopen(const char *path, const char *mode, FILE *stream)
{
	char room[STREAMS_MODE];
	if (!real_ready && !real.freopen)
		real_resolve();
	if (!real_ready || config.off)
		return real.freopen(path, mode, stream);
	if (stream->_fileno >= 0) /* closed in there, also where it then fails */
		views_closed((unsigned int)stream->_fileno, (unsigned int)stream->_fileno);
	return streams_opened(real.freopen(path, streams_mode(room, mode), stream), path ? path : "", mode); /* none: the old file, by another mode */
}

/* A descriptor that was asked for with O_RDWR is read-only by now, and libc would not have a stream that writes on it. */
HOOK FILE *fdopen(int fd, const char *mode)
{
	char room[STREAMS_MODE];
	if (!real_ready && !real.fdopen)
		real_resolve();
	if (!real_ready || config.off)
		return real.fdopen(fd, mode);
	const char *libc_mode = mode[0] == 'r' && views_asked_write(fd) ? "r" : streams_mode(room, mode);
	return streams_opened(real.fdopen(fd, libc_mode), NULL, mode);
}

HOOK_ALIAS(FILE *, fopen64, fopen, (const char *, const char *))
HOOK_ALIAS(FILE *, freopen64, freopen, (const char *, const char *, FILE *))
HOOK_ALIAS(FILE *, _IO_fopen, fopen, (const char *, const char *))
HOOK_ALIAS(FILE *, _IO_fdopen, fdopen, (int, const char *))
