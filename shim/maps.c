#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "fill.h"
#include "real.h"
#include "stats.h"
#include "sys.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef MAP_32BIT
#define MAP_32BIT 0 /* x86-64 only */
#endif

/* A mapping while it is made. */
struct making {
	int memfd;
	size_t len; /* bytes of plaintext */
	struct fill_result filled;
};

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static bool failed(long p)
{
	return p < 0 && p > -4096;
}

static long new_memfd(const char *name)
{
	long fd = sys2(SYS_memfd_create, name, MFD_CLOEXEC | MFD_NOEXEC_SEAL); /* vm.memfd_noexec=2 insists on it */
	return fd == -EINVAL ? sys2(SYS_memfd_create, name, MFD_CLOEXEC) : fd; /* Linux < 6.3 does not know it */
}

/*
 * Makes the memfd, filled. It is mapped through a descriptor that can only read, as a file's would be: a shared mapping of it cannot become
 * writable. (Seals do the same, but before Linux 6.7 a write-sealed memfd cannot be mapped shared at all.) 0 or -errno.
 */
static long make(struct making *m, struct view *v, int fd, uint64_t at)
{
	struct rlimit limit;
	char proc[32];
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < m->len) { /* else ftruncate() raises SIGXFSZ in the host */
		config_log(LOG_ERROR, "%s: ENOMEM: mapping %zu bytes needs a file size limit of as many (ulimit -f)", v->name, m->len);
		return -ENOMEM;
	}
	long r = new_memfd("ctshim");
	if (r < 0)
		return r;
	m->memfd = (int)r;
	r = sys2(SYS_ftruncate, m->memfd, m->len);
	if (r == 0 && m->len > 0)
		r = fill_memfd(v, fd, at, m->len, m->memfd, &m->filled);
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", m->memfd);
	long ro = r < 0 ? r : sys4(SYS_openat, AT_FDCWD, proc, O_RDONLY | O_CLOEXEC, 0);
	if (ro >= 0) { /* without /proc the memfd itself will do */
		sys_close(m->memfd);
		m->memfd = (int)ro;
	}
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
	const struct fill_result *filled = &m->filled;
	if (filled->count > 0) {
		empty = new_memfd("ctshim-damaged");
		r = empty < 0 ? empty : 0;
	}
	for (size_t i = 0; i < filled->count && r == 0; i++) {
		r = place(m->memfd, base, at, filled->bad[i].from, prot, flags);
		at = filled->bad[i].to < len ? filled->bad[i].to : len;
		if (r == 0)
			r = place((int)empty, base, filled->bad[i].from, at, prot, flags);
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
	free(m.filled.bad);
	errno = r < 0 ? (int)-r : saved;
	return r < 0 ? MAP_FAILED : base;
}

const char *maps_method(char *why, size_t cap)
{
	snprintf(why, cap, "%s", "");
	return "eager";
}
