#include "out.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "lazy.h"
#include "real.h"
#include "sys.h"

#define PARTS 64 /* iovecs in one piece */

/* One call for a part of the memory; `later`: not the first one. */
static ssize_t put(const struct out_call *c, const struct iovec *iov, size_t count, size_t later)
{
	int flags = later ? c->flags & ~MSG_FASTOPEN : c->flags;
	struct msghdr msg;
	switch (c->how) {
	case OUT_WRITE:
		return real.write(c->fd, iov->iov_base, iov->iov_len);
	case OUT_PWRITE:
		return real.pwrite(c->fd, iov->iov_base, iov->iov_len, c->at + (off_t)later);
	case OUT_WRITEV:
		return real.writev(c->fd, iov, (int)count);
	case OUT_PWRITEV:
		return real.pwritev(c->fd, iov, (int)count, c->at + (off_t)later);
	case OUT_PWRITEV2: /* -1: at the descriptor's offset */
		return real.pwritev2(c->fd, iov, (int)count, c->at == -1 ? -1 : c->at + (off_t)later, c->flags);
	case OUT_VMSPLICE:
		return real.vmsplice(c->fd, iov, count, (unsigned int)c->flags);
	case OUT_SEND:
		return real.send(c->fd, iov->iov_base, iov->iov_len, flags);
	case OUT_SENDTO: /* connected by the first one, if it needed that */
		return real.sendto(c->fd, iov->iov_base, iov->iov_len, flags, later ? NULL : c->to, later ? 0 : c->to_len);
	case OUT_SENDMSG:
		msg = *c->msg;
		msg.msg_iov = (struct iovec *)iov;
		msg.msg_iovlen = count;
		if (later) { /* descriptors that went along went once */
			msg.msg_name = msg.msg_control = NULL;
			msg.msg_namelen = 0;
			msg.msg_controllen = 0;
		}
		return real.sendmsg(c->fd, &msg, flags);
	}
	errno = EINVAL;
	return -1;
}

/* With its memory filled, also if it was given back in between. */
static ssize_t put_filled(const struct out_call *c, const struct iovec *iov, size_t count, size_t later)
{
	ssize_t r;
	int tries = 0, saved = errno;
	do {
		lazy_prepare_iov(iov, count, false);
		r = put(c, iov, count, later);
	} while (r < 0 && lazy_again(&tries));
	if (r >= 0)
		errno = saved;
	return r;
}

/* A position in the host's iovecs. */
struct place {
	const struct iovec *iov; /* the first that is not gone whole */
	size_t count;            /* from there on */
	size_t used;             /* bytes of it that are gone */
};

static void advance(struct place *at, size_t len)
{
	at->used += len;
	while (at->count > 0 && at->used >= at->iov->iov_len) {
		at->used -= at->iov->iov_len;
		at->iov++;
		at->count--;
	}
}

/* The next piece. Returns its parts, *len its bytes. */
static size_t cut(const struct place *at, struct iovec *piece, size_t *len)
{
	size_t parts = 0, room = lazy_at_once();
	*len = 0;
	for (; parts < at->count && parts < PARTS && room > 0; parts++) {
		struct iovec *part = &piece[parts];
		*part = at->iov[parts];
		if (parts == 0) {
			part->iov_base = (char *)part->iov_base + at->used;
			part->iov_len -= at->used;
		}
		if (lazy_is(part->iov_base, part->iov_len)) {
			if (part->iov_len > room)
				part->iov_len = room;
			room -= part->iov_len;
		}
		*len += part->iov_len;
	}
	return parts;
}

/* Somebody who does not mind several calls for one: all but sockets that keep messages apart. */
static bool takes_pieces(int fd)
{
	int type = SOCK_STREAM;
	socklen_t len = sizeof type;
	sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &len);
	return type == SOCK_STREAM;
}

/* Writes to it are never short but when it is full: a short one was stopped by memory that was given back meanwhile. */
static bool is_regular(int fd)
{
	struct stat s;
	return sys2(SYS_fstat, fd, &s) == 0 && S_ISREG(s.st_mode);
}

ssize_t out_vector(const struct out_call *c, const struct iovec *iov, size_t count)
{
	struct place at = { iov, count, 0 };
	struct iovec piece[PARTS];
	size_t done = 0, total = 0, lazy = 0, len;
	int saved = errno;
	for (size_t i = 0; i < count && count <= IOV_MAX; i++) {
		if (__builtin_add_overflow(total, iov[i].iov_len, &total) || total > SSIZE_MAX)
			return put(c, iov, count, 0); /* EINVAL */
		if (lazy_is(iov[i].iov_base, iov[i].iov_len))
			lazy += iov[i].iov_len;
	}
	if (lazy == 0) /* and where the kernel will complain of the count */
		return put(c, iov, count, 0);
	if (lazy <= lazy_at_once() || !takes_pieces(c->fd)) {
		ssize_t r = put_filled(c, iov, count, 0);
		if (r <= 0 || (size_t)r == total || !is_regular(c->fd))
			return r;
		done = (size_t)r;
		advance(&at, done);
	}
	while (done < total) {
		size_t parts = cut(&at, piece, &len);
		ssize_t r = put_filled(c, piece, parts, done);
		if (r < 0 && done == 0)
			return -1;
		if (r <= 0 || ((size_t)r < len && !is_regular(c->fd))) {
			done += r > 0 ? (size_t)r : 0;
			break;
		}
		done += (size_t)r;
		advance(&at, (size_t)r);
	}
	errno = saved;
	return (ssize_t)done;
}

int out_messages(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	int r, tries = 0, saved = errno;
	do {
		for (unsigned int i = 0; i < count && i < IOV_MAX; i++) /* more are not looked at by the kernel either */
			lazy_prepare_iov(messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen, false);
		r = real.sendmmsg(fd, messages, count, flags);
	} while (r < 0 && lazy_again(&tries));
	if (r >= 0)
		errno = saved;
	return r;
}
