#include "maps.h"

#include <errno.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "reads.h"
#include "real.h"
#include "sys.h"

/* Pages [from, to) of a mapping that cannot be right, in order. */
struct bad {
	size_t from, to;
};

/* A mapping while it is made. */
struct making {
	char *p;
	size_t len; /* whole pages */
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

/* Plaintext from `at` on to m->p, as far as the file goes. -1: out of memory. */
static int fill(struct making *m, struct view *v, int fd, uint64_t at)
{
	size_t page = page_size(), done = 0;
	uint64_t size = file_size(v->file);
	size_t len = at >= size ? 0 : size - at < m->len ? (size_t)(size - at) : m->len;
	while (done < len) {
		struct err err = { 0 };
		struct file_extent e;
		ssize_t n = file_read(v->file, fd, at + done, m->p + done, len - done, &err);
		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		reads_report(v, at + done, &err);
		file_extent(v->file, at + done, &e);
		size_t end = e.end - at < len ? (size_t)(e.end - at) : len;
		size_t to = (end + page - 1) / page * page;
		if (add_bad(m, done / page * page, to) < 0)
			return -1;
		done = to;
	}
	size_t whole = (len + page - 1) / page * page;
	return whole < m->len ? add_bad(m, whole, m->len) : 0;
}

/* Moves [from, to) to `target` (NULL: it stays) with its final protection; bad pages become an empty memfd's. 0 or -errno. */
static long place(const struct making *m, char *target, size_t from, size_t to, int prot, bool good)
{
	if (from == to)
		return 0;
	char *dst = (target ? target : m->p) + from;
	long r;
	if (!good) {
		long fd = sys2(SYS_memfd_create, "ctshim-damaged", MFD_CLOEXEC);
		if (fd < 0)
			return fd;
		r = sys6(SYS_mmap, dst, to - from, prot, MAP_SHARED | MAP_FIXED, fd, 0);
		sys_close((int)fd);
		if (target && !failed(r))
			sys2(SYS_munmap, m->p + from, to - from);
		return failed(r) ? r : 0;
	}
	if (prot != (PROT_READ | PROT_WRITE)) {
		r = sys3(SYS_mprotect, m->p + from, to - from, prot);
		if (r < 0)
			return r;
	}
	if (!target)
		return 0;
	r = sys5(SYS_mremap, m->p + from, to - from, to - from, MREMAP_MAYMOVE | MREMAP_FIXED, dst);
	return failed(r) ? r : 0;
}

/* *done: up to where m->p is no longer ours to unmap, if there is a target. */
static long place_all(const struct making *m, char *target, int prot, size_t *done)
{
	long r = 0;
	*done = 0;
	for (size_t i = 0; i <= m->bad_count && r == 0; i++) {
		bool last = i == m->bad_count;
		size_t from = last ? m->len : m->bad[i].from, to = last ? m->len : m->bad[i].to;
		r = place(m, target, *done, from, prot, true);
		if (r == 0) {
			*done = from;
			r = place(m, target, from, to, prot, false);
		}
		if (r == 0)
			*done = to;
	}
	return r;
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
	size_t page = page_size();
	struct making m = { .len = (len + page - 1) / page * page };
	int keep = flags & (MAP_32BIT | MAP_NORESERVE | MAP_FIXED_NOREPLACE);
	/* What MAP_FIXED replaces must stay until the new pages are whole. */
	long r = sys6(SYS_mmap, fixed ? NULL : addr, m.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | keep, -1, 0);
	if (failed(r))
		goto out;
	m.p = (char *)r; /* NOLINT(performance-no-int-to-ptr): the kernel's answer */
	sys3(SYS_madvise, m.p, m.len, MADV_HUGEPAGE);
	sys3(SYS_madvise, m.p, m.len, MADV_DONTDUMP);
	size_t moved = 0;
	r = fill(&m, v, fd, (uint64_t)at) < 0 ? -ENOMEM : place_all(&m, fixed ? addr : NULL, prot, &moved);
	if (!fixed)
		moved = 0;
	if (r < 0)
		sys2(SYS_munmap, m.p + moved, m.len - moved);
	if (r == 0 && (flags & MAP_LOCKED))
		sys2(SYS_mlock, fixed ? addr : m.p, m.len);
	if (r == 0)
		config_log(LOG_DEBUG, "%s: mapped %zu bytes at offset %lld, filled at once", v->name, len, (long long)at);
out:
	free(m.bad);
	errno = r < 0 ? (int)-r : saved;
	return r < 0 ? MAP_FAILED : fixed ? addr : m.p;
}
