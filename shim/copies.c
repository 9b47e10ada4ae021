#include "copies.h"

#include <errno.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/ioctl.h>

#include "reads.h"
#include "real.h"
#include "source.h"
#include "sys.h"
#include "views.h"

#define STAGING 131072u /* bytes */

static ssize_t put(int out, off_t *out_at, const char *p, size_t len)
{
	long r = out_at ? sys4(SYS_pwrite64, out, p, len, *out_at) : sys3(SYS_write, out, p, len);
	if (r > 0 && out_at)
		*out_at += r;
	return real_answer(r);
}

/*
 * Up to len bytes from the view behind `in` (at *in_at, or its offset) to out. Ends early at what could not be written, and after
 * one piece where `once` says so.
 */
static ssize_t copy(struct view *v, int in, off_t *in_at, int out, off_t *out_at, size_t len, bool once)
{
	char *staging = source_alloc(STAGING);
	ssize_t done = 0, r = 0;
	if (!staging) {
		errno = ENOMEM;
		return -1;
	}
	while (len > 0) {
		uint64_t at;
		size_t piece = len < STAGING ? len : STAGING;
		ssize_t claimed = (ssize_t)piece;
		if (in_at)
			at = (uint64_t)*in_at;
		else
			claimed = reads_claim(v, in, piece, &at);
		r = claimed <= 0 ? claimed : reads_at(v, in, staging, (size_t)claimed, at);
		if (r > 0)
			r = put(out, out_at, staging, (size_t)r);
		size_t used = r > 0 ? (size_t)r : 0;
		if (in_at)
			*in_at += (off_t)used;
		else if (claimed > 0)
			reads_unclaim(in, at + (size_t)claimed, at + used);
		done += (ssize_t)used;
		len -= used;
		if (used < piece || once)
			break;
	}
	source_free(staging, STAGING);
	return done > 0 ? done : r;
}

ssize_t copies_view(struct view *v, int fd, off_t *at, int out, off_t *out_at, size_t len)
{
	return copy(v, fd, at, out, out_at, len, false);
}

/* The view behind `in` for one of these calls; 1: there is one, 0: the kernel's business, -1: errno. */
static int source(int in, const off_t *in_at, struct view **v)
{
	pthread_testcancel(); /* before the view is pinned */
	if (views_get(in, v) < 0)
		return -1;
	if (!*v)
		return 0;
	int why = !in_at ? 0 : !sys_readable(in_at, sizeof *in_at) ? EFAULT : *in_at < 0 ? EINVAL : 0;
	if (why) {
		views_put(*v);
		errno = why;
		return -1;
	}
	return 1;
}

ssize_t copies_sendfile(int out, int in, off_t *at, size_t len)
{
	struct view *v;
	int r = source(in, at, &v);
	if (r <= 0)
		return r < 0 ? -1 : real.sendfile(out, in, at, len);
	ssize_t n = copy(v, in, at, out, NULL, len, false);
	views_put(v);
	return n;
}

ssize_t copies_copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned int flags)
{
	struct view *v;
	uint64_t end;
	int r = source(in, in_at, &v);
	if (r < 0 && errno == EINVAL && in_at && __builtin_add_overflow((uint64_t)*in_at, len, &end))
		errno = EOVERFLOW; /* what the kernel finds first */
	if (r <= 0)
		return r < 0 ? -1 : real.copy_file_range(in, in_at, out, out_at, len, flags);
	ssize_t n = -1;
	if (flags)
		errno = EINVAL;
	else
		n = copy(v, in, in_at, out, out_at, len, false);
	views_put(v);
	return n;
}

ssize_t copies_splice(int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned int flags)
{
	struct view *v;
	int r = source(in, in_at, &v);
	if (r <= 0)
		return r < 0 ? -1 : real.splice(in, in_at, out, out_at, len, flags);
	ssize_t n = -1;
	struct pollfd p = { .fd = out, .events = POLLOUT };
	struct timespec now = { 0, 0 };
	long ready = 1;
	if (flags & ~(unsigned int)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT))
		ready = -EINVAL;
	else if (out_at)
		ready = -ESPIPE;
	else
		ready = sys5(SYS_ppoll, &p, 1, flags & SPLICE_F_NONBLOCK ? &now : NULL, NULL, 0);
	if (ready > 0) /* a page is what a pipe with room surely takes without blocking; a short count is allowed */
		n = copy(v, in, in_at, out, NULL, len < 4096 ? len : 4096, true);
	else
		errno = ready == 0 ? EAGAIN : (int)-ready;
	views_put(v);
	return n;
}

int copies_ioctl(int fd, unsigned long request, void *arg)
{
	int source_fd = -1;
	struct view *v = NULL;
	if (request == FICLONE)
		source_fd = (int)(intptr_t)arg;
	else if (request == FICLONERANGE && sys_readable(arg, sizeof(struct file_clone_range)))
		source_fd = (int)((const struct file_clone_range *)arg)->src_fd;
	if (source_fd < 0)
		return real.ioctl(fd, request, arg);
	if (views_get(source_fd, &v) < 0)
		return -1;
	if (!v)
		return real.ioctl(fd, request, arg);
	views_put(v);
	errno = EOPNOTSUPP;
	return -1;
}
