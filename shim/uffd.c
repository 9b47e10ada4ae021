#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "guard.h"
#include "lock.h"
#include "sys.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_EXACT_ADDRESS
#define UFFD_FEATURE_EXACT_ADDRESS (1u << 11)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static int uffd = -1, interrupt = -1;
static _Atomic int forking; /* forks under way; -1: the last one ends, and none may begin */
static bool protects; /* write protection works (Linux 5.7) */

/* ---- opening, by trying ---- */

static int open_one(int kind, bool threads)
{
	const int flags = O_CLOEXEC | O_NONBLOCK;
	long fd;
	if (kind == 0) {
		fd = sys1(SYS_userfaultfd, flags);
	} else if (kind == 1) {
		long dev = sys4(SYS_openat, AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);
		if (dev < 0)
			return (int)dev;
		fd = sys3(SYS_ioctl, dev, USERFAULTFD_IOC_NEW, flags);
		sys_close((int)dev);
	} else {
		fd = sys1(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
	}
	if (fd < 0)
		return (int)fd;
	/* Which byte was touched, and not only which page, is known since Linux 5.18; write protection since 5.7. */
	const uint64_t needed = threads ? 0 : UFFD_FEATURE_SIGBUS;
	const uint64_t wishes[] = { UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EXACT_ADDRESS, UFFD_FEATURE_PAGEFAULT_FLAG_WP, 0 };
	long r = -EINVAL;
	for (int i = 0; i < 3 && r < 0; i++) {
		struct uffdio_api api = { .api = UFFD_API, .features = needed | wishes[i] };
		r = sys3(SYS_ioctl, fd, UFFDIO_API, &api);
		protects = wishes[i];
	}
	if (r < 0) {
		sys_close((int)fd);
		return (int)r;
	}
	return guard_add((int)fd);
}

static long watch(uintptr_t base, size_t len)
{
	struct uffdio_register reg = { .range = { base, len }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	if (protects)
		reg.mode |= UFFDIO_REGISTER_MODE_WP;
	return sys3(SYS_ioctl, uffd, UFFDIO_REGISTER, &reg);
}

/* The kernel may have it and refuse a part of it (a filter on ioctl, an old one): on one page, everything that will be needed. */
static int rehearse(void)
{
	size_t page = ranges_page();
	long base = sys6(SYS_mmap, 0, page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_failed(base))
		return (int)base;
	volatile char *src = (volatile char *)(base + (long)page); /* NOLINT(performance-no-int-to-ptr) */
	src[1] = 'x';
	long r = watch((uintptr_t)base, page);
	if (r < 0 && protects) {
		protects = false;
		r = watch((uintptr_t)base, page);
	}
	if (r == 0) {
		struct uffdio_copy c = { .dst = (uintptr_t)base, .src = (uintptr_t)src, .len = page, .mode = protects ? UFFDIO_COPY_MODE_WP : 0 };
		r = sys3(SYS_ioctl, uffd, UFFDIO_COPY, &c);
	}
	if (r == 0 && protects) {
		struct uffdio_writeprotect w = { .range = { (uintptr_t)base, page } };
		r = sys3(SYS_ioctl, uffd, UFFDIO_WRITEPROTECT, &w);
	}
	if (r == 0 && ((volatile char *)base)[1] != 'x') /* NOLINT(performance-no-int-to-ptr) */
		r = -EIO;
	sys2(SYS_munmap, base, page * 2);
	return (int)r;
}

int uffd_start(bool threads, int *not_full)
{
	int r = 0;
	*not_full = -EINVAL; /* without threads nobody reads what the kernel meets */
	guard_close(uffd);
	guard_close(interrupt);
	uffd = interrupt = -1;
	atomic_store(&forking, 0); /* a child inherits the fork that made it */
	for (int kind = 0; kind < 3; kind++) {
		int fd = open_one(kind, threads);
		r = fd;
		if (fd >= 0) {
			uffd = fd;
			r = rehearse();
			if (r == 0 && threads) {
				long event = sys2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
				interrupt = event < 0 ? (int)event : guard_add((int)event);
				r = interrupt < 0 ? interrupt : 0;
			}
			if (r == 0) {
				if (kind < 2 && threads)
					*not_full = 0;
				return 0;
			}
			guard_close(uffd);
			uffd = -1;
		}
		if (kind == 0)
			*not_full = r;
	}
	return r;
}

/* ---- the method ---- */

static long uffd_reserve(const struct range *r)
{
	long p = sys6(SYS_mmap, r->base, r->len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (sys_failed(p))
		return p;
	long e = watch(r->base, r->len); /* while nothing can be touched: a page that came before would be zeros */
	if (e < 0)
		return e;
	sys3(SYS_madvise, r->base, r->len, MADV_DONTFORK);
	sys3(SYS_madvise, r->base, r->len, MADV_DONTDUMP);
	return sys3(SYS_mprotect, r->base, r->len, r->prot);
}

static void unprotect(uintptr_t base, size_t len)
{
	struct uffdio_writeprotect w = { .range = { base, len } };
	while (sys3(SYS_ioctl, uffd, UFFDIO_WRITEPROTECT, &w) == -EAGAIN)
		;
}

/* One UFFDIO_COPY and what follows it. Returns the bytes that are new, or -errno. */
static long copy(const struct range *r, uintptr_t dst, const uint8_t *src, size_t len)
{
	bool writable = r->prot & PROT_WRITE, protect = writable && protects;
	struct uffdio_copy c = { .dst = dst, .src = (uintptr_t)src, .len = len, .mode = UFFDIO_COPY_MODE_DONTWAKE };
	if (protect)
		c.mode |= UFFDIO_COPY_MODE_WP;
	long ret = sys3(SYS_ioctl, uffd, UFFDIO_COPY, &c);
	size_t new = ret == 0 ? len : ret == -EAGAIN && c.copy > 0 ? (size_t)c.copy : 0;
	if (new == 0)
		return ret;
	if (protect || !writable) /* only what is new: the application may have written the rest */
		sys3(SYS_madvise, dst, new, MADV_FREE);
	if (protect)
		unprotect(dst, new);
	return (long)new;
}

static long uffd_place(const struct range *r, uint64_t from, uint64_t to, const uint8_t *src)
{
	uintptr_t dst = r->base + (uintptr_t)(from - r->at);
	size_t len = (size_t)(to - from), step = len, done = 0, new = 0;
	while (done < len) {
		size_t n = len - done < step ? len - done : step;
		long c = copy(r, dst + done, src + done, n);
		if (c > 0) {
			new += (size_t)c;
			done += (size_t)c;
		} else if (c == -EEXIST) {
			done += ranges_page();
		} else if (c == -ENOENT && n > ranges_page()) { /* several pieces of memory (mprotect of a part, a page given up): page by page */
			step = ranges_page();
		} else if (c == -ENOENT || c == -EINVAL) {
			done += ranges_page();
		} else if (c != -EAGAIN) {
			return c;
		}
	}
	return (long)new;
}

static bool uffd_present(const struct range *r, uint64_t from, uint64_t to)
{
	unsigned char vec[4096];
	if (from < r->at)
		from = r->at;
	if (to > r->at + r->len)
		to = r->at + r->len;
	while (from < to) {
		size_t pages = (size_t)(to - from) / ranges_page(), n = pages < sizeof vec ? pages : sizeof vec;
		if (sys3(SYS_mincore, r->base + (uintptr_t)(from - r->at), n * ranges_page(), vec) < 0)
			return false;
		for (size_t i = 0; i < n; i++)
			if (!(vec[i] & 1))
				return false;
		from += n * ranges_page();
	}
	return true;
}

static void uffd_wake(const struct range *r, uint64_t from, uint64_t to)
{
	if (from < r->at)
		from = r->at;
	if (to > r->at + r->len)
		to = r->at + r->len;
	struct uffdio_range range = { r->base + (uintptr_t)(from - r->at), (size_t)(to - from) };
	if (from < to)
		sys3(SYS_ioctl, uffd, UFFDIO_WAKE, &range);
}

static long uffd_drop(const struct range *r, uint64_t from, uint64_t to, bool all)
{
	int how = all || !r->m->written ? MADV_DONTNEED : MADV_PAGEOUT;
	return sys3(SYS_madvise, r->base + (uintptr_t)(from - r->at), (size_t)(to - from), how);
}

static long uffd_protect(const struct range *r)
{
	return sys3(SYS_mprotect, r->base, r->len, r->prot);
}

static void uffd_writable(const struct range *r, uint64_t from, uint64_t to)
{
	(void)r, (void)from, (void)to; /* it is */
}

static long uffd_move(const struct range *r, const struct range *to)
{
	if (!r->m->written) {
		long e = uffd_reserve(to);
		return e < 0 ? e : sys2(SYS_munmap, r->base, r->len);
	}
	long p = sys5(SYS_mremap, r->base, r->len, r->len, MREMAP_MAYMOVE | MREMAP_FIXED, to->base);
	if (sys_failed(p))
		return p;
	return watch(to->base, to->len); /* moving unregisters */
}

const struct method uffd_full = {
	"userfaultfd", true, true, NULL, uffd_reserve, uffd_place, uffd_present, uffd_wake, uffd_drop, uffd_protect, uffd_writable, uffd_move,
};
const struct method uffd_user = {
	"userfaultfd-user", false, true, NULL, uffd_reserve, uffd_place, uffd_present, uffd_wake, uffd_drop, uffd_protect, uffd_writable, uffd_move,
};

/* ---- faults ---- */

int uffd_read(struct uffd_fault *faults, int cap, int timeout_ms)
{
	struct uffd_msg msgs[16];
	struct pollfd p[2] = { { .fd = uffd, .events = POLLIN }, { .fd = interrupt, .events = POLLIN } };
	struct timespec t = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };
	uint64_t ticks;
	long n = sys5(SYS_ppoll, p, 2, timeout_ms < 0 ? NULL : &t, NULL, 0);
	if (n < 0)
		return n == -EINTR ? 0 : (int)n;
	if (p[1].revents)
		sys3(SYS_read, interrupt, &ticks, sizeof ticks);
	if (!p[0].revents)
		return 0;
	n = sys3(SYS_read, uffd, msgs, sizeof msgs[0] * (size_t)(cap < 16 ? cap : 16));
	if (n < 0)
		return n == -EAGAIN || n == -EINTR ? 0 : (int)n;
	int count = 0;
	for (size_t i = 0; i < (size_t)n / sizeof msgs[0]; i++) {
		if (msgs[i].event == UFFD_EVENT_PAGEFAULT)
			faults[count++] = (struct uffd_fault){ (uintptr_t)msgs[i].arg.pagefault.address,
				                               msgs[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP };
	}
	return count;
}

void uffd_interrupt(void)
{
	uint64_t one = 1;
	if (interrupt >= 0)
		sys3(SYS_write, interrupt, &one, sizeof one);
}

bool uffd_unprotect(const struct range *r, uintptr_t addr)
{
	uint64_t at = r->at + (addr - r->base);
	uintptr_t page = addr & ~(ranges_page() - 1);
	int flight = flight_begin(r, addr, at, at);
	if (flight < 0)
		return false;
	unprotect(page, ranges_page());
	flight_end(flight);
	return true;
}

/* ---- fork ---- */

static void let_fork(struct range *r, void *arg)
{
	(void)arg;
	if (!r->no_fork)
		sys3(SYS_madvise, r->base, r->len, MADV_DOFORK);
}

static void keep_from_fork(struct range *r, void *arg)
{
	(void)arg;
	sys3(SYS_madvise, r->base, r->len, MADV_DONTFORK);
}

void uffd_fork_before(void)
{
	int n = atomic_load(&forking);
	while (n < 0 || !atomic_compare_exchange_weak(&forking, &n, n + 1)) {
		if (n < 0)
			sys0(SYS_sched_yield);
		n = atomic_load(&forking);
	}
	ranges_each(let_fork, NULL);
}

/* With signals blocked: a handler that forks would wait for the end of this. */
void uffd_fork_after(void)
{
	lock_saved saved = lock_signals();
	int n = atomic_load(&forking);
	while (n > 0 && !atomic_compare_exchange_weak(&forking, &n, n == 1 ? -1 : n - 1))
		;
	if (n == 1) {
		ranges_each(keep_from_fork, NULL);
		atomic_store(&forking, 0);
	}
	lock_signals_restore(saved);
}

static void watch_again(struct range *r, void *arg)
{
	(void)arg;
	if (r->no_fork)
		return;
	if (watch(r->base, r->len) < 0) { /* not inherited: mapped while the fork went on, or the kernel refuses what it gave the parent */
		sys2(SYS_munmap, r->base, r->len);
		if (uffd_reserve(r) < 0) {
			sys2(SYS_munmap, r->base, r->len);
			config_log(LOG_ERROR, "%s: a mapping is lost in a child process: no userfaultfd there", r->m->v->name);
		}
	}
	keep_from_fork(r, NULL);
}

void uffd_fork_child(void)
{
	ranges_each(watch_again, NULL);
}
