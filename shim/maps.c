#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "reads.h"
#include "real.h"
#include "stats.h"
#include "sys.h"

/* Pages [from, to) of a mapping that cannot be right, in order. */
struct bad {
	size_t from, to;
};

/* A mapping while it is made. */
struct making {
	int memfd;
	size_t len; /* bytes of plaintext */
	struct bad *bad;
	size_t bad_count;
};

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static bool failed(long p)
{
	return p < 0 && p > -4096;
}

static int add_bad(struct making *m, size_t from, size_t to)
{
	if (m->bad_count && m->bad[m->bad_count - 1].to >= from) {
		m->bad[m->bad_count - 1].to = to;
		return 0;
	}
	struct bad *bad = realloc(m->bad, (m->bad_count + 1) * sizeof *bad);
	if (!bad)
		return -1;
	m->bad = bad;
	m->bad[m->bad_count++] = (struct bad){ from, to };
	return 0;
}

/* Plaintext from `at` on to p; bad pages are noted. -1: out of memory. */
static int fill(struct making *m, char *p, struct view *v, int fd, uint64_t at)
{
	size_t page = page_size(), done = 0;
	while (done < m->len) {
		struct err err = { 0 };
		struct file_extent e;
		ssize_t n = file_read(v->file, fd, at + done, p + done, m->len - done, &err);
		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		reads_report(v, at + done, &err);
		file_extent(v->file, at + done, &e);
		size_t end = e.end - at < m->len ? (size_t)(e.end - at) : m->len;
		size_t to = (end + page - 1) / page * page;
		if (add_bad(m, done / page * page, to) < 0)
			return -1;
		done = to;
	}
	return 0;
}

/* Makes the memfd: filled through a mapping that nobody else knows, then sealed. 0 or -errno. */
static long make(struct making *m, struct view *v, int fd, uint64_t at)
{
	long r = sys2(SYS_memfd_create, "ctshim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (r < 0)
		return r;
	m->memfd = (int)r;
	r = sys2(SYS_ftruncate, m->memfd, m->len);
	if (r == 0 && m->len > 0) {
		long p = sys6(SYS_mmap, NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->memfd, 0);
		if (failed(p))
			return p;
		sys3(SYS_madvise, p, m->len, MADV_DONTDUMP);
		sys3(SYS_madvise, p, m->len, MADV_DONTFORK);
		r = fill(m, (char *)p, v, fd, at) < 0 ? -ENOMEM : 0; /* NOLINT(performance-no-int-to-ptr): the kernel's answer */
		sys2(SYS_munmap, p, m->len);
	}
	/* Against a store through mprotect() on a shared mapping. EBUSY if another thread forked just above: then it stays possible. */
	if (r == 0)
		sys3(SYS_fcntl, m->memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	return r;
}

/* Maps [from, to) at base + from. */
static long place(int memfd, char *base, size_t from, size_t to, int prot, int flags)
{
	if (from == to)
		return 0;
	long r = sys6(SYS_mmap, base + from, to - from, prot, flags | MAP_FIXED, memfd, from);
	return failed(r) ? r : 0;
}

/* The whole mapping, at an address that is ours to fill. No page is wrong at any time, also where MAP_FIXED replaces a mapping in use. */
static long place_all(const struct making *m, char *base, size_t len, int prot, int flags)
{
	size_t at = 0;
	long r = 0, empty = -1;
	if (m->bad_count > 0) {
		empty = sys2(SYS_memfd_create, "ctshim-damaged", MFD_CLOEXEC);
		r = empty < 0 ? empty : 0;
	}
	for (size_t i = 0; i < m->bad_count && r == 0; i++) {
		r = place(m->memfd, base, at, m->bad[i].from, prot, flags);
		at = m->bad[i].to < len ? m->bad[i].to : len;
		if (r == 0)
			r = place((int)empty, base, m->bad[i].from, at, prot, flags);
	}
	if (empty >= 0)
		sys_close((int)empty);
	return r ? r : place(m->memfd, base, at, len, prot, flags);
}

/*
 * Kernel's rules for a file mapping, where anonymous memory would be laxer. The prot of the memory is stored in *prot: a shared
 * writable mapping of a descriptor that was asked for with O_RDWR can be read only, a store to it is a SIGSEGV.
 */
static int check(struct view *v, int fd, size_t len, int flags, off_t at, int *prot)
{
	int type = flags & MAP_TYPE;
	uint64_t end;
	if (len == 0 || at < 0 || (size_t)at % page_size() || (type != MAP_SHARED && type != MAP_PRIVATE && type != MAP_SHARED_VALIDATE))
		return EINVAL;
	if (__builtin_add_overflow((uint64_t)at, len, &end) || end > INT64_MAX)
		return EOVERFLOW;
	if (len > SIZE_MAX - page_size())
		return ENOMEM;
	if (type != MAP_PRIVATE && (*prot & PROT_WRITE)) {
		if (!views_asked_write(fd))
			return EACCES;
		config_log(LOG_WARN, "%s: mapped shared and writable: it can only be read, a store to it raises SIGSEGV", v->name);
		*prot &= ~PROT_WRITE;
	}
	return 0;
}

void *maps_map(struct view *v, int fd, void *addr, size_t len, int prot, int flags, off_t at)
{
	int why = check(v, fd, len, flags, at, &prot);
	if (why) {
		errno = why;
		return MAP_FAILED;
	}
	int saved = errno;
	bool fixed = (flags & MAP_FIXED) && !(flags & MAP_FIXED_NOREPLACE);
	int type = (flags & MAP_TYPE) == MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	size_t page = page_size(), whole = (len + page - 1) / page * page;
	uint64_t size = file_size(v->file), from = (uint64_t)at;
	struct making m = { .memfd = -1, .len = from >= size ? 0 : size - from < whole ? (size_t)(size - from) : whole };
	char *base = MAP_FAILED;
	long r = make(&m, v, fd, from);
	if (r == 0) {
		int reserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (flags & (MAP_32BIT | MAP_FIXED_NOREPLACE));
		r = fixed ? (long)addr : sys6(SYS_mmap, addr, whole, PROT_NONE, reserve, -1, 0);
	}
	if (!failed(r)) {
		base = (char *)r; /* NOLINT(performance-no-int-to-ptr): the kernel's answer */
		r = place_all(&m, base, whole, prot, type | (flags & (MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE)));
		if (r < 0 && !fixed)
			sys2(SYS_munmap, base, whole);
	}
	if (r == 0) {
		sys3(SYS_madvise, base, whole, MADV_DONTDUMP);
		stats_mapped();
		config_log(LOG_DEBUG, "%s: mapped %zu bytes at offset %lld, filled at once", v->name, len, (long long)at);
	}
	if (m.memfd >= 0)
		sys_close(m.memfd);
	free(m.bad);
	errno = r < 0 ? (int)-r : saved;
	return r < 0 ? MAP_FAILED : base;
}
