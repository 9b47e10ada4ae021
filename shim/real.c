#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "sys.h"

struct real real;
bool real_ready;
long (*real_syscall)(long, ...);

/* A symbol whose version names it exactly, so that dlvsym() does not fail (and allocate its message) where it is found. */
#if __GLIBC_PREREQ(2, 34)
#define DLSYM_VERSION "GLIBC_2.34"
#elif defined(__aarch64__)
#define DLSYM_VERSION "GLIBC_2.17"
#else
#define DLSYM_VERSION "GLIBC_2.2.5"
#endif

/* A sanitizer asks for its functions before it is ready to watch ours. */
__attribute__((no_sanitize_address, no_sanitize_undefined)) real_dlsym_fn real_dlsym(void)
{
	static real_dlsym_fn found;
	real_dlsym_fn f = __atomic_load_n(&found, __ATOMIC_RELAXED);
	if (!f) {
		union {
			void *p;
			real_dlsym_fn f;
		} u = { dlvsym(RTLD_NEXT, "dlsym", DLSYM_VERSION) };
		f = u.f;
		__atomic_store_n(&found, f, __ATOMIC_RELAXED);
	}
	return f;
}

void real_resolve(void)
{
	real_dlsym_fn find = real_dlsym();
	/* POSIX lets dlsym's answer become a function only through memory. */
#define REAL_RESOLVE(ret, name, params) \
	do { \
		void *p = find(RTLD_NEXT, #name); \
		memcpy(&real.name, &p, sizeof p); \
	} while (0);
	REAL_FUNCTIONS(REAL_RESOLVE)
#undef REAL_RESOLVE
	real_syscall = real.syscall;
}

long real_answer(long r)
{
	if (sys_failed(r)) {
		errno = (int)-r;
		return -1;
	}
	return r;
}
