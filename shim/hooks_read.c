/* The read family, and the calls by which the kernel copies from a file. What is read into may be memory of a view as well (lazy.h). */
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "config.h"
#include "copies.h"
#include "hooks.h"
#include "lazy.h"
#include "reads.h"
#include "real.h"
#include "signals_app.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static void prepare_iov(const struct iovec *iov, int count)
{
	if (lazy_any() && count > 0 && count <= IOV_MAX && sys_readable(iov, (size_t)count * sizeof *iov)) /* else EINVAL, EFAULT */
		lazy_prepare_iov(iov, (size_t)count, true);
}

HOOK ssize_t read(int fd, void *buf, size_t len)
{
	if (!real_ready)
		return real_answer(sys3(SYS_read, fd, buf, len));
	lazy_prepare(buf, len, true);
	return signals_read(fd, buf, views_plain(fd) || config.off ? real.read(fd, buf, len) : reads_read(fd, buf, len));
}

HOOK ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
	if (!real_ready)
		return real_answer(sys4(SYS_pread64, fd, buf, len, at));
	lazy_prepare(buf, len, true);
	return views_plain(fd) || config.off ? real.pread(fd, buf, len, at) : reads_pread(fd, buf, len, at);
}

HOOK ssize_t readv(int fd, const struct iovec *iov, int count)
{
	if (!real_ready)
		return real_answer(sys3(SYS_readv, fd, iov, count));
	prepare_iov(iov, count);
	return views_plain(fd) || config.off ? real.readv(fd, iov, count) : reads_readv(fd, iov, count);
}

HOOK ssize_t preadv(int fd, const struct iovec *iov, int count, off_t at)
{
	if (!real_ready)
		return real_answer(sys5(SYS_preadv, fd, iov, count, at, 0));
	prepare_iov(iov, count);
	return views_plain(fd) || config.off ? real.preadv(fd, iov, count, at) : reads_preadv(fd, iov, count, at, 0, 1);
}

HOOK ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
	if (!real_ready)
		return real_answer(sys6(SYS_preadv2, fd, iov, count, at, 0, flags));
	prepare_iov(iov, count);
	if (views_plain(fd) || config.off)
		return real.preadv2(fd, iov, count, at, flags);
	return reads_preadv(fd, iov, count, at, flags, 2);
}

HOOK_ALIAS(ssize_t, __read, read, (int, void *, size_t))
HOOK_ALIAS(ssize_t, pread64, pread, (int, void *, size_t, off_t))
HOOK_ALIAS(ssize_t, __pread64, pread, (int, void *, size_t, off_t))
HOOK_ALIAS(ssize_t, preadv64, preadv, (int, const struct iovec *, int, off_t))
HOOK_ALIAS(ssize_t, preadv64v2, preadv2, (int, const struct iovec *, int, off_t, int))

/* What _FORTIFY_SOURCE makes of the calls above. On an overflow glibc ends the program; that stays its decision. */
extern void __chk_fail(void) __attribute__((noreturn));

HOOK ssize_t __read_chk(int fd, void *buf, size_t len, size_t room)
{
	if (len > room)
		__chk_fail();
	return read(fd, buf, len);
}

HOOK ssize_t __pread_chk(int fd, void *buf, size_t len, off_t at, size_t room)
{
	if (len > room)
		__chk_fail();
	return pread(fd, buf, len, at);
}

HOOK_ALIAS(ssize_t, __pread64_chk, __pread_chk, (int, void *, size_t, off_t, size_t))

HOOK ssize_t sendfile(int out, int in, off_t *at, size_t len)
{
	if (!real_ready)
		return real_answer(sys4(SYS_sendfile, out, in, at, len));
	return views_plain(in) || config.off ? real.sendfile(out, in, at, len) : copies_sendfile(out, in, at, len);
}

HOOK_ALIAS(ssize_t, sendfile64, sendfile, (int, int, off_t *, size_t))

HOOK ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned int flags)
{
	if (!real_ready)
		return real_answer(sys6(SYS_copy_file_range, in, in_at, out, out_at, len, flags));
	if (views_plain(in) || config.off)
		return real.copy_file_range(in, in_at, out, out_at, len, flags);
	return copies_copy_file_range(in, in_at, out, out_at, len, flags);
}

HOOK ssize_t splice(int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned int flags)
{
	if (!real_ready)
		return real_answer(sys6(SYS_splice, in, in_at, out, out_at, len, flags));
	if (views_plain(in) || config.off)
		return real.splice(in, in_at, out, out_at, len, flags);
	return copies_splice(in, in_at, out, out_at, len, flags);
}
