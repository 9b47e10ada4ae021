/*
 * out: the host's memory on its way to the kernel, where some of it may have pages that the kernel cannot fault in (lazy_any()).
 *
 * Each call is made as it was asked for, by the next function in line, with its memory filled first. What would fill more than
 * lazy_at_once() bytes goes out in several calls, which is the same to files, pipes and stream sockets: a short count or an error ends it,
 * and what was written until then is the answer. Datagrams go whole.
 *
 * Signal safe; no lock is held. As the real functions: the count, or -1 and errno. An array of iovecs at a bad address is the host's SIGSEGV
 * and not EFAULT.
 */
#ifndef SHIM_OUT_H
#define SHIM_OUT_H

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum out_how { OUT_WRITE, OUT_PWRITE, OUT_WRITEV, OUT_PWRITEV, OUT_PWRITEV2, OUT_VMSPLICE, OUT_SEND, OUT_SENDTO, OUT_SENDMSG };

struct out_call {
	enum out_how how;
	int fd;
	int flags;
	off_t at;
	const struct sockaddr *to;
	socklen_t to_len;
	const struct msghdr *msg; /* its iovecs are given beside it */
};

/* The calls that take one buffer have count 1. */
ssize_t out_vector(const struct out_call *c, const struct iovec *iov, size_t count);

int out_messages(int fd, struct mmsghdr *messages, unsigned int count, int flags);

#endif
