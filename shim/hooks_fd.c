/* dup, fcntl, ioctl, close: what changes which descriptor is which file. Our own descriptors are not there (guard.h). */
#include <errno.h>
#include <linux/close_range.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "copies.h"
#include "guard.h"
#include "hooks.h"
#include "real.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static int copied(int from, int to)
{
	if (to < 0 || to == from || !real_ready || config.off)
		return to;
	views_copied(from, to);
	return to;
}

/* Before dup2() replaces `to`: what is known of it must not be believed for a moment longer. */
static void forget(int from, int to)
{
	if (to >= 0 && to != from && real_ready && !config.off)
		views_closed((unsigned int)to, (unsigned int)to);
}

static int not_there(void)
{
	errno = EBADF;
	return -1;
}

HOOK int dup(int fd)
{
	if (guard_is(fd))
		return not_there();
	return copied(fd, real_ready ? real.dup(fd) : (int)real_answer(sys1(SYS_dup, fd)));
}

HOOK int dup2(int fd, int to)
{
	if (!real_ready)
		return (int)real_answer(fd == to ? sys3(SYS_fcntl, fd, F_GETFD, 0) < 0 ? -EBADF : fd : sys3(SYS_dup3, fd, to, 0));
	if (guard_is(fd) || guard_is(to))
		return not_there();
	forget(fd, to);
	return copied(fd, real.dup2(fd, to));
}

HOOK int dup3(int fd, int to, int flags)
{
	if (guard_is(fd) || guard_is(to))
		return not_there();
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
	if (guard_is(fd))
		return not_there();
	bool view = real_ready && !config.off && (op == F_SETFL || op == F_GETFL) && views_hinted(fd);
	uintptr_t flags = (uintptr_t)arg;
	if (view && op == F_SETFL) /* a view is read through the page cache */
		arg = (void *)(flags & ~(uintptr_t)O_DIRECT); /* NOLINT(performance-no-int-to-ptr): flags passed as a word */
	int r = real_ready ? real.fcntl(fd, op, arg) : (int)real_answer(sys3(SYS_fcntl, fd, op, arg));
	if (view && r >= 0 && op == F_GETFL)
		return views_asked_flags(fd, r);
	if (view && r >= 0)
		views_ask_direct(fd, flags & O_DIRECT);
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
	if (guard_is(fd))
		return not_there();
	if (!real_ready)
		return (int)real_answer(sys3(SYS_ioctl, fd, request, arg));
	return config.off ? real.ioctl(fd, request, arg) : copies_ioctl(fd, request, arg);
}

/* A descriptor out of another process, whatever had this number before. */
HOOK int pidfd_getfd(int pidfd, int from, unsigned int flags)
{
	int fd = real_ready && real.pidfd_getfd ? real.pidfd_getfd(pidfd, from, flags) : (int)real_answer(sys3(SYS_pidfd_getfd, pidfd, from, flags));
	if (fd >= 0 && real_ready && !config.off)
		views_closed((unsigned int)fd, (unsigned int)fd);
	return fd;
}

/* Forgotten before it is closed: once it is, another thread may have the number again. */
HOOK int close(int fd)
{
	if (!real_ready)
		return (int)real_answer(sys1(SYS_close, fd));
	if (guard_is(fd))
		return not_there();
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
	return guard_within(first, last) ? (int)real_answer(guard_close_range(first, last, flags)) : real.close_range(first, last, flags);
}

/* Where the kernel has no close_range(), or a sandbox forbids it. */
static void close_each(unsigned int first)
{
	struct rlimit limit = { 0 };
	sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	for (unsigned int fd = first; fd < limit.rlim_cur && fd < INT_MAX; fd++)
		if (!guard_is((int)fd))
			sys_close((int)fd);
}

HOOK void closefrom(int from)
{
	unsigned int first = from < 0 ? 0 : (unsigned int)from;
	if (real_ready && !config.off)
		views_closed(first, UINT_MAX);
	if (real_ready && real.closefrom && !guard_within(first, UINT_MAX))
		real.closefrom(from);
	else if (guard_close_range(first, UINT_MAX, 0) < 0)
		close_each(first);
}
