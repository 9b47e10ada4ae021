#include "reads.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "config.h"
#include "real.h"
#include "sys.h"


void reads_report(struct view *v, uint64_t at, const struct err *err)
{
	if (err->code == ERR_DAMAGED) {
		struct file_extent e;
		file_extent(v->file, at, &e);
		if (atomic_exchange(&v->damaged, e.begin + 1) == e.begin + 1)
			return;
	} else if (err->code == ERR_SYSTEM && err->sys_errno == EFAULT) {
		return; /* the program's own mistake: the kernel says nothing either */
	}
	config_log(LOG_ERROR, "%s: %s: %s", v->name, err_name(err), err->text);
}

ssize_t reads_at(struct view *v, int fd, void *buf, size_t len, uint64_t at)
{
	struct err err = { 0 };
	int saved = errno;
	ssize_t n = file_read(v->file, fd, at, buf, len < READS_MAX ? len : READS_MAX, &err);
	errno = saved;
	if (n < 0) {
		reads_report(v, at, &err);
		errno = err_errno(&err);
	}
	return n;
}

ssize_t reads_claim(struct view *v, int fd, size_t len, uint64_t *at)
{
	const uint64_t size = file_size(v->file);
	long from = sys3(SYS_lseek, fd, 0, SEEK_CUR), to = from;
	if (len > READS_MAX)
		len = READS_MAX;
	if (from >= 0) {
		uint64_t rest = (uint64_t)from < size ? size - (uint64_t)from : 0;
		len = len < rest ? len : (size_t)rest;
		to = len ? sys3(SYS_lseek, fd, len, SEEK_CUR) : from; /* one step of the kernel's: what comes after it is for others */
	}
	if (to < 0)
		return real_answer(to);
	if ((uint64_t)to > size) { /* somebody was faster: some of it, or all, lies behind the end */
		size_t over = (uint64_t)to - size < len ? (size_t)((uint64_t)to - size) : len;
		sys3(SYS_lseek, fd, -(long)over, SEEK_CUR);
		to -= (long)over;
		len -= over;
	}
	*at = (uint64_t)to - len;
	return (ssize_t)len;
}

void reads_unclaim(int fd, uint64_t end, uint64_t used_end)
{
	if (end != used_end && sys3(SYS_lseek, fd, 0, SEEK_CUR) == (long)end) /* else others have read on: what we claimed stays skipped */
		sys3(SYS_lseek, fd, used_end, SEEK_SET);
}

/* Into several pieces of memory; iov and count were checked. */
static ssize_t scatter(struct view *v, int fd, const struct iovec *iov, int count, uint64_t at, size_t limit)
{
	size_t done = 0;
	for (int i = 0; i < count && done < limit; i++) {
		size_t want = iov[i].iov_len < limit - done ? iov[i].iov_len : limit - done;
		if (want == 0)
			continue;
		ssize_t n = reads_at(v, fd, iov[i].iov_base, want, at + done);
		if (n < 0)
			return done ? (ssize_t)done : -1;
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	return (ssize_t)done;
}

/* The kernel's access_ok(): no more than that the range does not leave the half of the addresses that is the program's. */
static bool in_user_half(const void *p, size_t len)
{
	uintptr_t end;
	return !__builtin_add_overflow((uintptr_t)p, len, &end) && end <= UINTPTR_MAX / 2;
}

/* Sum of the lengths, READS_MAX at most, or -1 with EINVAL or EFAULT as the kernel decides it. */
static ssize_t iov_total(const struct iovec *iov, int count)
{
	size_t total = 0;
	int why = count < 0 || count > IOV_MAX ? EINVAL : sys_readable(iov, (size_t)count * sizeof *iov) ? 0 : EFAULT;
	for (int i = 0; i < count && why == 0; i++) {
		if (iov[i].iov_len > SSIZE_MAX)
			why = EINVAL;
		else if (count > 1 && !in_user_half(iov[i].iov_base, iov[i].iov_len))
			why = EFAULT;
		total += iov[i].iov_len < READS_MAX - total ? iov[i].iov_len : READS_MAX - total;
	}
	errno = why ? why : errno;
	return why ? -1 : (ssize_t)total;
}

static ssize_t sequential(struct view *v, int fd, const struct iovec *iov, int count)
{
	uint64_t at;
	ssize_t total = iov_total(iov, count);
	ssize_t len = total < 0 ? -1 : reads_claim(v, fd, (size_t)total, &at);
	if (len <= 0)
		return len;
	ssize_t n = scatter(v, fd, iov, count, at, (size_t)len);
	reads_unclaim(fd, at + (size_t)len, at + (size_t)(n < 0 ? 0 : n));
	return n;
}

ssize_t reads_next(struct view *v, int fd, void *buf, size_t len)
{
	struct iovec one = { buf, len < READS_MAX ? len : READS_MAX };
	return sequential(v, fd, &one, 1);
}

ssize_t reads_read(int fd, void *buf, size_t len)
{
	struct view *v;
	pthread_testcancel(); /* before the view is pinned */
	if (views_get(fd, &v) < 0)
		return -1;
	if (!v)
		return real.read(fd, buf, len);
	ssize_t n = reads_next(v, fd, buf, len);
	views_put(v);
	return n;
}

ssize_t reads_pread(int fd, void *buf, size_t len, off_t at)
{
	struct view *v;
	pthread_testcancel(); /* before the view is pinned */
	if (views_get(fd, &v) < 0)
		return -1;
	if (!v)
		return real.pread(fd, buf, len, at);
	ssize_t n = -1;
	if (at < 0)
		errno = EINVAL;
	else
		n = reads_at(v, fd, buf, len, (uint64_t)at);
	views_put(v);
	return n;
}

ssize_t reads_readv(int fd, const struct iovec *iov, int count)
{
	struct view *v;
	pthread_testcancel(); /* before the view is pinned */
	if (views_get(fd, &v) < 0)
		return -1;
	if (!v)
		return real.readv(fd, iov, count);
	ssize_t n = sequential(v, fd, iov, count);
	views_put(v);
	return n;
}

ssize_t reads_preadv(int fd, const struct iovec *iov, int count, off_t at, int flags, int version)
{
	struct view *v;
	pthread_testcancel(); /* before the view is pinned */
	if (views_get(fd, &v) < 0)
		return -1;
	if (!v)
		return version == 2 ? real.preadv2(fd, iov, count, at, flags) : real.preadv(fd, iov, count, at);
	ssize_t n = -1;
	if (flags & ~(RWF_HIPRI | RWF_NOWAIT | RWF_DSYNC | RWF_SYNC)) {
		errno = EOPNOTSUPP;
	} else if (at == -1 && version == 2) {
		n = sequential(v, fd, iov, count);
	} else if (at < 0) {
		errno = EINVAL;
	} else {
		ssize_t total = iov_total(iov, count);
		n = total < 0 ? -1 : scatter(v, fd, iov, count, (uint64_t)at, (size_t)total);
	}
	views_put(v);
	return n;
}
