/* mmap. */
#include <sys/mman.h>

#include "config.h"
#include "hooks.h"
#include "maps.h"
#include "real.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

HOOK void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
	struct view *v;
	if (!real_ready)
		return (void *)real_answer(sys6(SYS_mmap, addr, len, prot, flags, fd, at)); /* NOLINT(performance-no-int-to-ptr) */
	if ((flags & MAP_ANONYMOUS) || fd < 0 || views_plain(fd) || config.off)
		return real.mmap(addr, len, prot, flags, fd, at);
	if (views_get(fd, &v) < 0)
		return MAP_FAILED;
	if (!v)
		return real.mmap(addr, len, prot, flags, fd, at);
	void *p = maps_map(v, fd, addr, len, prot, flags, at);
	views_put(v);
	return p;
}

HOOK_ALIAS(void *, mmap64, mmap, (void *, size_t, int, int, int, off_t))
