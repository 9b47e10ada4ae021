/*
 * The calls by which the kernel reads the host's memory, or writes to it, other than the read family: where lazily filled memory may be
 * among it, it is filled first (lazy.h, out.h); else each is the real call and one load.
 */
#include <limits.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hooks.h"
#include "lazy.h"
#include "out.h"
#include "real.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define ONE(p, len) (&(struct iovec){ (void *)(p), (len) }), 1

/* ---- writing ---- */

HOOK ssize_t write(int fd, const void *p, size_t len)
{
	if (!real_ready)
		return real_answer(sys3(SYS_write, fd, p, len));
	if (!lazy_any())
		return real.write(fd, p, len);
	return out_vector(&(struct out_call){ .how = OUT_WRITE, .fd = fd }, ONE(p, len));
}

HOOK ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
	if (!real_ready)
		return real_answer(sys4(SYS_pwrite64, fd, p, len, at));
	if (!lazy_any())
		return real.pwrite(fd, p, len, at);
	return out_vector(&(struct out_call){ .how = OUT_PWRITE, .fd = fd, .at = at }, ONE(p, len));
}

HOOK ssize_t writev(int fd, const struct iovec *iov, int count)
{
	if (!real_ready)
		return real_answer(sys3(SYS_writev, fd, iov, count));
	if (!lazy_any())
		return real.writev(fd, iov, count);
	return out_vector(&(struct out_call){ .how = OUT_WRITEV, .fd = fd }, iov, (size_t)count);
}

HOOK ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	if (!real_ready)
		return real_answer(sys5(SYS_pwritev, fd, iov, count, at, 0));
	if (!lazy_any())
		return real.pwritev(fd, iov, count, at);
	return out_vector(&(struct out_call){ .how = OUT_PWRITEV, .fd = fd, .at = at }, iov, (size_t)count);
}

HOOK ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
	if (!real_ready)
		return real_answer(sys6(SYS_pwritev2, fd, iov, count, at, 0, flags));
	if (!lazy_any())
		return real.pwritev2(fd, iov, count, at, flags);
	return out_vector(&(struct out_call){ .how = OUT_PWRITEV2, .fd = fd, .at = at, .flags = flags }, iov, (size_t)count);
}

HOOK_ALIAS(ssize_t, __write, write, (int, const void *, size_t))
HOOK_ALIAS(ssize_t, pwrite64, pwrite, (int, const void *, size_t, off_t))
HOOK_ALIAS(ssize_t, __pwrite64, pwrite, (int, const void *, size_t, off_t))
HOOK_ALIAS(ssize_t, pwritev64, pwritev, (int, const struct iovec *, int, off_t))
HOOK_ALIAS(ssize_t, pwritev64v2, pwritev2, (int, const struct iovec *, int, off_t, int))

/* Into a pipe it reads the memory; out of one (the descriptor says which) it writes to it. */
HOOK ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned int flags)
{
	if (!real_ready)
		return real_answer(sys4(SYS_vmsplice, fd, iov, count, flags));
	if (!lazy_any())
		return real.vmsplice(fd, iov, count, flags);
	long mode = sys3(SYS_fcntl, fd, F_GETFL, 0);
	if (mode < 0 || (mode & O_ACCMODE) != O_RDONLY)
		return out_vector(&(struct out_call){ .how = OUT_VMSPLICE, .fd = fd, .flags = (int)flags }, iov, count);
	if (count <= IOV_MAX)
		lazy_prepare_iov(iov, count, true);
	return real.vmsplice(fd, iov, count, flags);
}

/* ---- sockets ---- */

HOOK ssize_t send(int fd, const void *p, size_t len, int flags)
{
	if (!real_ready)
		return real_answer(sys6(SYS_sendto, fd, p, len, flags, NULL, 0));
	if (!lazy_any())
		return real.send(fd, p, len, flags);
	return out_vector(&(struct out_call){ .how = OUT_SEND, .fd = fd, .flags = flags }, ONE(p, len));
}

HOOK_ALIAS(ssize_t, __send, send, (int, const void *, size_t, int))

HOOK ssize_t sendto(int fd, const void *p, size_t len, int flags, __CONST_SOCKADDR_ARG to, socklen_t to_len)
{
	if (!real_ready)
		return real_answer(sys6(SYS_sendto, fd, p, len, flags, to.__sockaddr__, to_len));
	if (!lazy_any())
		return real.sendto(fd, p, len, flags, to.__sockaddr__, to_len);
	struct out_call c = { .how = OUT_SENDTO, .fd = fd, .flags = flags, .to = to.__sockaddr__, .to_len = to_len };
	return out_vector(&c, ONE(p, len));
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	if (!real_ready)
		return real_answer(sys3(SYS_sendmsg, fd, msg, flags));
	if (!lazy_any() || !msg)
		return real.sendmsg(fd, msg, flags);
	return out_vector(&(struct out_call){ .how = OUT_SENDMSG, .fd = fd, .flags = flags, .msg = msg }, msg->msg_iov, msg->msg_iovlen);
}

HOOK int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	if (!real_ready)
		return (int)real_answer(sys4(SYS_sendmmsg, fd, messages, count, flags));
	return lazy_any() ? out_messages(fd, messages, count, flags) : real.sendmmsg(fd, messages, count, flags);
}

HOOK_ALIAS(int, __sendmmsg, sendmmsg, (int, struct mmsghdr *, unsigned int, int))

HOOK ssize_t recv(int fd, void *p, size_t len, int flags)
{
	if (!real_ready)
		return real_answer(sys6(SYS_recvfrom, fd, p, len, flags, NULL, NULL));
	lazy_prepare(p, len, true);
	return real.recv(fd, p, len, flags);
}

HOOK_ALIAS(ssize_t, __recv, recv, (int, void *, size_t, int))

HOOK ssize_t recvfrom(int fd, void *p, size_t len, int flags, __SOCKADDR_ARG from, socklen_t *from_len)
{
	if (!real_ready)
		return real_answer(sys6(SYS_recvfrom, fd, p, len, flags, from.__sockaddr__, from_len));
	lazy_prepare(p, len, true);
	return real.recvfrom(fd, p, len, flags, from.__sockaddr__, from_len);
}

HOOK ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	if (!real_ready)
		return real_answer(sys3(SYS_recvmsg, fd, msg, flags));
	if (lazy_any() && msg && msg->msg_iovlen <= IOV_MAX)
		lazy_prepare_iov(msg->msg_iov, msg->msg_iovlen, true);
	ssize_t n = real.recvmsg(fd, msg, flags);
	if (n >= 0)
		views_received(msg);
	return n;
}

HOOK int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
	if (!real_ready)
		return (int)real_answer(sys5(SYS_recvmmsg, fd, messages, count, flags, timeout));
	for (unsigned int i = 0; lazy_any() && i < count && i < IOV_MAX; i++)
		if (messages[i].msg_hdr.msg_iovlen <= IOV_MAX)
			lazy_prepare_iov(messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen, true);
	int n = real.recvmmsg(fd, messages, count, flags, timeout);
	for (int i = 0; i < n; i++)
		views_received(&messages[i].msg_hdr);
	return n;
}

/* What _FORTIFY_SOURCE makes of these calls. On an overflow glibc ends the program; that stays its decision. */
extern void __chk_fail(void) __attribute__((noreturn));

HOOK ssize_t __recv_chk(int fd, void *p, size_t len, size_t room, int flags)
{
	if (len > room)
		__chk_fail();
	return recv(fd, p, len, flags);
}

HOOK ssize_t __recvfrom_chk(int fd, void *p, size_t len, size_t room, int flags, __SOCKADDR_ARG from, socklen_t *from_len)
{
	if (len > room)
		__chk_fail();
	return recvfrom(fd, p, len, flags, from, from_len);
}

/* ---- others that the kernel writes to, or reads ---- */

HOOK ssize_t getrandom(void *p, size_t len, unsigned int flags)
{
	if (!real_ready)
		return real_answer(sys3(SYS_getrandom, p, len, flags));
	lazy_prepare(p, len, true);
	return real.getrandom(p, len, flags);
}

static void prepare_local(const struct iovec *iov, unsigned long count, bool for_write)
{
	if (count <= IOV_MAX)
		lazy_prepare_iov(iov, count, for_write);
}

HOOK ssize_t process_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals, const struct iovec *remote,
                              unsigned long remotes, unsigned long flags)
{
	if (!real_ready)
		return real_answer(sys6(SYS_process_vm_readv, pid, local, locals, remote, remotes, flags));
	prepare_local(local, locals, true);
	return real.process_vm_readv(pid, local, locals, remote, remotes, flags);
}

HOOK ssize_t process_vm_writev(pid_t pid, const struct iovec *local, unsigned long locals, const struct iovec *remote,
                               unsigned long remotes, unsigned long flags)
{
	if (!real_ready)
		return real_answer(sys6(SYS_process_vm_writev, pid, local, locals, remote, remotes, flags));
	prepare_local(local, locals, false);
	return real.process_vm_writev(pid, local, locals, remote, remotes, flags);
}
