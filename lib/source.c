#include "source.h"

#include <errno.h>
#include <sys/mman.h>

#include "sys.h"

int source_read(int fd, void *buf, size_t len, uint64_t at, struct err *err)
{
	for (size_t done = 0; done < len;) {
		long r = sys_pread(fd, (char *)buf + done, len - done, at + done);
		if (r == -EINTR)
			continue;
		if (r < 0)
			return err_sys(err, (int)-r, "reading the file");
		if (r == 0)
			return err_set(err, ERR_DAMAGED, "the file was cut short while it was open");
		done += (size_t)r;
	}
	return 0;
}

void *source_alloc(size_t len)
{
	long p = sys6(SYS_mmap, 0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_failed(p))
		return NULL;
	sys3(SYS_madvise, p, len, MADV_DONTDUMP);
	return (void *)p; /* NOLINT(performance-no-int-to-ptr): the kernel's answer */
}

void source_free(void *p, size_t len)
{
	if (p)
		sys2(SYS_munmap, p, len);
}
