#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

struct real real;
bool real_ready;
long (*real_syscall)(long, ...);

void real_resolve(void)
{
	/* POSIX lets dlsym's answer become a function only through memory. */
#define REAL_RESOLVE(ret, name, params) \
	do { \
		void *p = dlsym(RTLD_NEXT, #name); \
		memcpy(&real.name, &p, sizeof p); \
	} while (0);
	REAL_FUNCTIONS(REAL_RESOLVE)
#undef REAL_RESOLVE
	real_syscall = real.syscall;
}

long real_answer(long r)
{
	if (r < 0 && r > -4096) {
		errno = (int)-r;
		return -1;
	}
	return r;
}
