#include "method.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "memfd.h"
#include "sys.h"

static const struct method *_Atomic now;

const struct method *method_now(void)
{
	return now;
}

void method_use(const struct method *m)
{
	now = m;
}

long method_map_empty(uintptr_t base, size_t len, int prot, uint64_t at)
{
	long fd = memfd_empty();
	if (fd < 0)
		return fd;
	long p = sys6(SYS_mmap, base, len, prot, MAP_PRIVATE | MAP_FIXED, fd, at);
	if (sys_failed(p))
		return p;
	sys3(SYS_madvise, base, len, MADV_DONTDUMP);
	return 0;
}
