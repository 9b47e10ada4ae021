#include "memfd.h"

#include <errno.h>
#include <linux/memfd.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "guard.h"
#include "sys.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

static _Atomic int empty = -1;

long memfd_new(const char *name)
{
	long fd = sys2(SYS_memfd_create, name, MFD_CLOEXEC | MFD_NOEXEC_SEAL); /* vm.memfd_noexec=2 insists on it */
	return fd == -EINVAL ? sys2(SYS_memfd_create, name, MFD_CLOEXEC) : fd; /* Linux < 6.3 does not know it */
}

long memfd_write(int fd, const void *p, size_t len, uint64_t at)
{
	while (len > 0) {
		long n = sys4(SYS_pwrite64, fd, p, len, at);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? n : -ENOSPC;
		p = (const char *)p + n;
		at += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

long memfd_empty(void)
{
	int fd = empty, none = -1;
	if (fd >= 0)
		return fd;
	long made = memfd_new("ctshim-empty");
	if (made >= 0)
		made = guard_add((int)made);
	if (made < 0)
		return made;
	if (!atomic_compare_exchange_strong(&empty, &none, (int)made)) {
		guard_close((int)made);
		return none;
	}
	return made;
}
