/* The open family. A name's suffix says when to look, the content what it is (views.h). */
#include <errno.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <unistd.h>

#include "config.h"
#include "hooks.h"
#include "real.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define TAKES_MODE(flags) (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE)

static int opened(int fd, const char *path, int flags)
{
	if (fd < 0 || !real_ready || config.off)
		return fd;
	if (views_opened(fd, path, flags) == 0)
		return fd;
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

/* Only by number: libc has no function for it (hooks_syscall.c). */
long hooks_openat2(int dir, const char *path, const void *how, size_t size)
{
	long fd = real_syscall(SYS_openat2, dir, path, how, size);
	return fd < 0 ? fd : opened((int)fd, path, (int)((const struct open_how *)how)->flags);
}

HOOK int open_by_handle_at(int mount, struct file_handle *handle, int flags)
{
	if (!real_ready)
		return (int)real_answer(sys3(SYS_open_by_handle_at, mount, handle, flags));
	return opened(real.open_by_handle_at(mount, handle, flags), "", flags);
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
