#include "eager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "config.h"
#include "fill.h"
#include "memfd.h"
#include "stats.h"
#include "sys.h"

/*
 * It is mapped through a descriptor that can only read, as a file's would be: a shared mapping of it cannot become writable. (Seals do
 * the same, but before Linux 6.7 a write-sealed memfd cannot be mapped shared at all.)
 */
long eager_make(struct eager *e, struct view *v, int fd, uint64_t at, size_t len)
{
	struct rlimit limit;
	struct fill_result filled = { 0 };
	char proc[32];
	*e = (struct eager){ .memfd = -1, .len = len };
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < len) { /* else ftruncate() raises SIGXFSZ in the host */
		config_log(LOG_ERROR, "%s: ENOMEM: mapping %zu bytes needs a file size limit of as many (ulimit -f)", v->name, len);
		return -ENOMEM;
	}
	if (config.memory_max && stats_held() + len > config.memory_max) {
		config_log(LOG_ERROR, "%s: ENOMEM: mapping %zu bytes at once goes beyond CTSHIM_MEMORY_MAX; ct doctor says why not lazily",
		           v->name, len);
		return -ENOMEM;
	}
	long r = memfd_new("ctshim");
	if (r < 0)
		return r;
	e->memfd = (int)r;
	r = sys2(SYS_ftruncate, e->memfd, len);
	if (r == 0 && len > 0)
		r = fill_memfd(v, fd, at, len, e->memfd, &filled);
	e->bad = filled.bad;
	e->bad_count = filled.count;
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", e->memfd);
	long ro = r < 0 ? r : sys4(SYS_openat, AT_FDCWD, proc, O_RDONLY | O_CLOEXEC, 0);
	if (ro >= 0) { /* without /proc the memfd itself will do */
		sys_close(e->memfd);
		e->memfd = (int)ro;
	}
	return r;
}

void eager_release(struct eager *e)
{
	if (e->memfd >= 0)
		sys_close(e->memfd);
	free(e->bad);
}

/* Maps [from, to) at base + from. */
static long place(int memfd, uintptr_t base, size_t from, size_t to, int prot, int flags)
{
	if (from == to)
		return 0;
	long r = sys6(SYS_mmap, base + from, to - from, prot, flags | MAP_FIXED, memfd, from);
	return sys_failed(r) ? r : 0;
}

long eager_place(const struct eager *e, uintptr_t base, size_t whole, int prot, int flags)
{
	size_t at = 0;
	long empty = e->bad_count > 0 ? memfd_empty() : 0, r = empty < 0 ? empty : 0;
	for (size_t i = 0; i < e->bad_count && r == 0; i++) {
		r = place(e->memfd, base, at, e->bad[i].from, prot, flags);
		at = e->bad[i].to < whole ? e->bad[i].to : whole;
		if (r == 0)
			r = place((int)empty, base, e->bad[i].from, at, prot, flags);
	}
	if (r == 0)
		r = place(e->memfd, base, at, whole, prot, flags);
	if (r == 0)
		sys3(SYS_madvise, base, whole, MADV_DONTDUMP);
	return r;
}
