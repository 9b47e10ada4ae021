/*
 * What a program sees of CUDA's driver when it registers memory, without a GPU: registering makes the kernel read all of the memory past every
 * hook, and fails where the kernel cannot, as pinning would. The numbers are CUresult's.
 */
#define _GNU_SOURCE
#include <linux/memfd.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../lib/sys.h"

#define INVALID_VALUE 1
#define NOT_FOUND 500

unsigned int standin_calls;    /* of cuMemHostRegister_v2 */
unsigned int standin_old;      /* of cuMemHostRegister */
unsigned long long standin_seen; /* a hash of the bytes that the kernel found in the last registered memory */

static int pin(const unsigned char *p, size_t len)
{
	static unsigned char page[4096];
	uint64_t h = 14695981039346656037u;
	long fd = sys2(SYS_memfd_create, "pinned", MFD_CLOEXEC), r = fd < 0 ? fd : 0;
	for (size_t at = 0; at < len && r >= 0; at += (size_t)r) { /* a write reads the memory inside the kernel */
		size_t n = len - at < sizeof page ? len - at : sizeof page;
		r = sys4(SYS_pwrite64, fd, p + at, n, 0);
		if (r <= 0 || sys4(SYS_pread64, fd, page, r, 0) != r) {
			r = -1;
			break;
		}
		for (long i = 0; i < r; i++)
			h = (h ^ page[i]) * 1099511628211u;
	}
	if (fd >= 0)
		sys_close((int)fd);
	standin_seen = h;
	return r < 0 ? INVALID_VALUE : 0;
}

int cuMemHostRegister_v2(void *p, size_t len, unsigned int flags)
{
	(void)flags;
	standin_calls++;
	return pin(p, len);
}

int cuMemHostRegister(void *p, size_t len, unsigned int flags)
{
	(void)flags;
	standin_old++;
	return pin(p, len);
}

/* A way to pin that nobody knows of. */
int standin_unseen(void *p, size_t len, unsigned int flags)
{
	(void)flags;
	return pin(p, len);
}

int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status);

int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
	(void)flags;
	*function = NULL;
	if (strcmp(symbol, "cuMemHostRegister") == 0)
		*function = version < 4000 ? (void *)cuMemHostRegister : (void *)cuMemHostRegister_v2;
	if (strcmp(symbol, "cuGetProcAddress") == 0)
		*function = version < 12000 ? (void *)cuGetProcAddress : (void *)cuGetProcAddress_v2;
	return *function ? 0 : NOT_FOUND;
}

int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status)
{
	int r = cuGetProcAddress(symbol, function, version, flags);
	if (status)
		*status = r == 0 ? 0 : 1;
	return r;
}
