/* mmap, and the calls that change what mapped addresses mean. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>

#include "config.h"
#include "hooks.h"
#include "lazy.h"
#include "maps.h"
#include "ranges.h"
#include "real.h"
#include "remaps.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

/* Memory of a view may be concerned: real_ready is implied. */
static bool near(const void *addr, size_t len)
{
	return ranges_near((uintptr_t)addr, len ? len : 1) && lazy_is(addr, len ? len : 1);
}

static void *plain(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
	if ((flags & MAP_FIXED) && !(flags & MAP_FIXED_NOREPLACE) && near(addr, len))
		return remaps_mmap_over(addr, len, prot, flags, fd, at);
	return real.mmap(addr, len, prot, flags, fd, at);
}

HOOK void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
	struct view *v;
	if (!real_ready)
		return (void *)real_answer(sys6(SYS_mmap, addr, len, prot, flags, fd, at)); /* NOLINT(performance-no-int-to-ptr) */
	if ((flags & MAP_ANONYMOUS) || fd < 0 || views_plain(fd) || config.off)
		return plain(addr, len, prot, flags, fd, at);
	if (views_get(fd, &v) < 0)
		return MAP_FAILED;
	if (!v)
		return plain(addr, len, prot, flags, fd, at);
	void *p = maps_map(v, fd, addr, len, prot, flags, at);
	views_put(v);
	return p;
}

HOOK_ALIAS(void *, mmap64, mmap, (void *, size_t, int, int, int, off_t))

HOOK int munmap(void *addr, size_t len)
{
	return near(addr, len) ? remaps_munmap(addr, len) : (int)real_answer(sys2(SYS_munmap, addr, len));
}

HOOK int mprotect(void *addr, size_t len, int prot)
{
	return near(addr, len) ? remaps_mprotect(addr, len, prot) : (int)real_answer(sys3(SYS_mprotect, addr, len, prot));
}

HOOK void *mremap(void *old, size_t old_len, size_t len, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	void *to = flags & MREMAP_FIXED ? va_arg(ap, void *) : NULL;
	va_end(ap);
	if (near(old, old_len))
		return remaps_mremap(old, old_len, len, flags, to);
	if ((flags & MREMAP_FIXED) && near(to, len))
		return remaps_mremap_over(old, old_len, len, flags, to);
	return (void *)real_answer(sys5(SYS_mremap, old, old_len, len, flags, to)); /* NOLINT(performance-no-int-to-ptr) */
}

HOOK int madvise(void *addr, size_t len, int advice)
{
	return near(addr, len) ? remaps_madvise(addr, len, advice) : (int)real_answer(sys3(SYS_madvise, addr, len, advice));
}

HOOK int mlock(const void *addr, size_t len)
{
	return near(addr, len) ? remaps_mlock(addr, len, false) : (int)real_answer(sys2(SYS_mlock, addr, len));
}

HOOK int mlock2(const void *addr, size_t len, unsigned int flags)
{
	return near(addr, len) && flags <= 1 ? remaps_mlock(addr, len, flags) : (int)real_answer(sys3(SYS_mlock2, addr, len, flags));
}

/* Returns its error; glibc ignores POSIX_MADV_DONTNEED. */
HOOK int posix_madvise(void *addr, size_t len, int advice)
{
	if (advice == POSIX_MADV_DONTNEED)
		return 0;
	long r = near(addr, len) ? remaps_madvise(addr, len, advice) == 0 ? 0 : -errno : sys3(SYS_madvise, addr, len, advice);
	return (int)-r;
}
