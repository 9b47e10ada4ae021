#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "sys.h"

/*
 * Which numbers. Below the soft limit, since the kernel gives none above it. From 1024 where there is room: a number above what select() can
 * hold takes nothing from a program that needs those, shells keep theirs below 256, and the kernel's table, which is copied at each fork,
 * grows to 2048 entries only. With a smaller limit its upper quarter; when that is full, lower.
 */
#define BASE 1024u
#define ROOM 512u          /* numbers above BASE that make it worth to start there */
#define NUMBERS (1u << 20) /* the kernel's default for fs.nr_open: no number from here on is ours */

static _Atomic bool is_ours[NUMBERS];
static _Atomic int lowest = INT_MAX, highest = -1; /* of those that were ever ours */

bool guard_is(int fd)
{
	if (fd < atomic_load_explicit(&lowest, memory_order_relaxed) || fd >= (int)NUMBERS)
		return false;
	return atomic_load_explicit(&is_ours[fd], memory_order_relaxed);
}

static void mark(int fd)
{
	int old = atomic_load(&highest);
	while (old < fd && !atomic_compare_exchange_weak(&highest, &old, fd))
		;
	atomic_store(&is_ours[fd], true);
	old = atomic_load(&lowest);
	while (old > fd && !atomic_compare_exchange_weak(&lowest, &old, fd))
		;
}

/* A copy of fd at base or above, marked. -errno. */
static long place(int fd, unsigned int base)
{
	for (int i = 0; i < 3; i++) {
		long r = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, base);
		if (r < 0)
			return r;
		if (r >= NUMBERS) {
			sys_close((int)r);
			return -EMFILE;
		}
		mark((int)r);
		if (sys3(SYS_fcntl, r, F_GETFD, 0) >= 0) /* else a close_range() of the host's was between the two */
			return r;
		atomic_store(&is_ours[r], false);
	}
	return -EBADF;
}

static unsigned int first_base(void)
{
	struct rlimit limit = { 0 };
	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0) /* a sandbox forbids to ask: this is everybody's limit */
		limit.rlim_cur = 1024;
	unsigned int top = limit.rlim_cur < NUMBERS ? (unsigned int)limit.rlim_cur : NUMBERS;
	return top >= BASE + ROOM ? BASE : top / 4 * 3;
}

void guard_start(void)
{
	long fd = sys4(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0), high = -1; /* O_PATH: closing it takes nobody's fcntl() locks away */
	if (fd >= 0)
		high = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, first_base());
	if (high >= 0)
		sys_close((int)high);
	if (fd >= 0)
		sys_close((int)fd);
}

int guard_add(int fd)
{
	long r;
	unsigned int base = first_base();
	do {
		r = place(fd, base);
		base /= 2;
	} while ((r == -EMFILE || r == -EINVAL) && base >= 16); /* EINVAL: the limit has just become lower */
	sys_close(fd);
	return (int)r;
}

/* Unmarked before it is closed: once it is, the host may be given the number. */
void guard_close(int fd)
{
	if (fd < 0)
		return;
	if (fd < (int)NUMBERS)
		atomic_store(&is_ours[fd], false);
	sys_close(fd);
}

/* The next of ours at or after fd, up to last; -1: none. */
static long next_of_ours(unsigned int fd, unsigned int last)
{
	int low = atomic_load(&lowest), high = atomic_load(&highest);
	if (low > high || last < (unsigned int)low)
		return -1;
	if (fd < (unsigned int)low)
		fd = (unsigned int)low;
	if (last > (unsigned int)high)
		last = (unsigned int)high;
	for (; fd <= last; fd++)
		if (atomic_load_explicit(&is_ours[fd], memory_order_relaxed))
			return fd;
	return -1;
}

bool guard_within(unsigned int first, unsigned int last)
{
	return next_of_ours(first, last) >= 0;
}

long guard_close_range(unsigned int first, unsigned int last, int flags)
{
	long ours = first <= last ? next_of_ours(first, last) : -1, r = 0;
	if (ours < 0 || (unsigned int)flags & ~CLOSE_RANGE_UNSHARE) /* CLOEXEC: ours have it; or the kernel says what is wrong */
		return sys3(SYS_close_range, first, last, flags);
	if (flags) /* a table of its own for this thread first: by an empty range, since any piece may be empty */
		r = sys3(SYS_close_range, UINT_MAX, UINT_MAX, flags);
	while (r == 0 && ours >= 0) {
		if ((unsigned int)ours > first)
			r = sys3(SYS_close_range, first, ours - 1, 0);
		first = (unsigned int)ours + 1;
		ours = first <= last ? next_of_ours(first, last) : -1;
	}
	return r < 0 || first > last ? r : sys3(SYS_close_range, first, last, 0);
}
