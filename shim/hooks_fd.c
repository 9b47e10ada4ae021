/* dup, fcntl, ioctl, close: what changes which descriptor is which file. */
#include <errno.h>
#include <linux/close_range.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "config.h"
#include "copies.h"
#include "hooks.h"
#include "real.h"
#include "streams.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static int copied(int from, int to)
{
	if (to < 0 || to == from || !real_ready || config.off)
		return to;
	views_copied(from, to);
	if (to == 0)
		streams_stdin();
	return to;
}

/* Before dup2() replaces `to`: what is known of it must not be believed for a moment longer. */
static void forget(int from, int to)
{
	if (to >= 0 && to != from && real_ready && !config.off)
		views_closed((unsigned int)to, (unsigned int)to);
}

HOOK int dup(int fd)
{
	return copied(fd, real_ready ? real.dup(fd) : (int)real_answer(sys1(SYS_dup, fd)));
}

HOOK int dup2(int fd, int to)
{
	if (!real_ready)
		return (int)real_answer(fd == to ? sys3(SYS_fcntl, fd, F_GETFD, 0) < 0 ? -EBADF : fd : sys3(SYS_dup3, fd, to, 0));
	forget(fd, to);
	return copied(fd, real.dup2(fd, to));
}

HOOK int dup3(int fd, int to, int flags)
{
	forget(fd, to);
	return copied(fd, real_ready ? real.dup3(fd, to, flags) : (int)real_answer(sys3(SYS_dup3, fd, to, flags)));
}

HOOK_ALIAS(int, __dup2, dup2, (int, int))

HOOK int fcntl(int fd, int op, ...)
{
	va_list ap;
	va_start(ap, op);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (op == F_SETFL && real_ready && !config.off && views_hinted(fd)) /* a view is read through the page cache */
		arg = (void *)((uintptr_t)arg & ~(uintptr_t)O_DIRECT); /* NOLINT(performance-no-int-to-ptr): flags passed as a word */
	int r = real_ready ? real.fcntl(fd, op, arg) : (int)real_answer(sys3(SYS_fcntl, fd, op, arg));
	return op == F_DUPFD || op == F_DUPFD_CLOEXEC ? copied(fd, r) : r;
}

HOOK_ALIAS(int, fcntl64, fcntl, (int, int, ...))
HOOK_ALIAS(int, __fcntl, fcntl, (int, int, ...))

HOOK int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (!real_ready)
		return (int)real_answer(sys3(SYS_ioctl, fd, request, arg));
	return config.off ? real.ioctl(fd, request, arg) : copies_ioctl(fd, request, arg);
}

/* Forgotten before it is closed: once it is, another thread may have the number again. */
HOOK int close(int fd)
{
	if (!real_ready)
		return (int)real_answer(sys1(SYS_close, fd));
	if (fd >= 0 && !config.off)
		views_closed((unsigned int)fd, (unsigned int)fd);
	return real.close(fd);
}

HOOK_ALIAS(int, __close, close, (int))

HOOK int close_range(unsigned int first, unsigned int last, int flags)
{
	if (!real_ready)
		return (int)real_answer(sys3(SYS_close_range, first, last, flags));
	if (!((unsigned int)flags & CLOSE_RANGE_CLOEXEC) && !config.off)
		views_closed(first, last);
	return real.close_range(first, last, flags);
}

HOOK void closefrom(int first)
{
	if (real_ready && !config.off)
		views_closed(first < 0 ? 0 : (unsigned int)first, UINT_MAX);
	if (real_ready && real.closefrom)
		real.closefrom(first);
	else
		sys3(SYS_close_range, first < 0 ? 0 : first, UINT_MAX, 0);
}
