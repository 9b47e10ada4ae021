#include "source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "header.h"
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

int source_header(int fd, uint64_t size, uint8_t **raw, size_t *len, struct err *err)
{
	uint8_t first[HEADER_PREFIX];
	uint64_t n;

	if (size < HEADER_PREFIX + 2)
		return err_set(err, ERR_FORMAT, "is not a safetensors file: %" PRIu64 " bytes are too short", size);
	if (source_read(fd, first, sizeof first, 0, err) < 0)
		return -1;
	n = header_n(first);
	if (n > HEADER_MAX || n > size - HEADER_PREFIX)
		return err_set(err, ERR_FORMAT, "is not a safetensors file, or is cut short: it says its header has %" PRIu64 " bytes", n);
	*len = (size_t)(HEADER_PREFIX + n);
	*raw = malloc(*len);
	if (!*raw)
		return err_sys(err, ENOMEM, "a header of %" PRIu64 " bytes", n);
	if (source_read(fd, *raw, *len, 0, err) == 0)
		return 0;
	free(*raw);
	*raw = NULL;
	return -1;
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
