#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "objects.h"
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

/* ---- other interposers behind us ---- */

#define INTERPOSERS_MAX 8

static struct {
	uintptr_t start, end;
} interposers[INTERPOSERS_MAX];
static size_t interposers_count;

/* The object that has the function, if it is not libc. */
static void note(const void *function, const struct object *libc)
{
	struct object o;
	uintptr_t at = (uintptr_t)function;
	if (!function || at - libc->start < libc->end - libc->start || real_interposer(function))
		return;
	if (interposers_count < INTERPOSERS_MAX && objects_find(function, &o)) {
		interposers[interposers_count].start = o.start;
		interposers[interposers_count++].end = o.end;
	}
}

bool real_interposer(const void *code)
{
	for (size_t i = 0; i < interposers_count; i++)
		if ((uintptr_t)code - interposers[i].start < interposers[i].end - interposers[i].start)
			return true;
	return false;
}

/* ---- all of them ---- */

void real_resolve(void)
{
	real_dlsym_fn find = real_dlsym();
	struct object libc = { 0 };
	objects_find((const void *)(uintptr_t)gnu_get_libc_version, &libc);
	/* POSIX lets dlsym's answer become a function only through memory. */
#define REAL_RESOLVE(ret, name, params) \
	do { \
		void *p = find(RTLD_NEXT, #name); \
		memcpy(&real.name, &p, sizeof p); \
		note(p, &libc); \
	} while (0);
	REAL_STREAMS(REAL_RESOLVE)
	REAL_HOOKED(REAL_RESOLVE)
#undef REAL_RESOLVE
	real_syscall = real.syscall;
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* siginterrupt() */

/* The hooks' addresses, as the program sees them: our own symbols of these names. */
void *real_hook_of(void *p)
{
	void *to = p;
#define REAL_HOOK_OF(ret, name, params) \
	if (memcmp(&p, &real.name, sizeof p) == 0) { \
		ret (*hook) params = name; \
		memcpy(&to, &hook, sizeof to); \
	}
	REAL_HOOKED(REAL_HOOK_OF)
#undef REAL_HOOK_OF
	return to;
}

long real_answer(long r)
{
	if (sys_failed(r)) {
		errno = (int)-r;
		return -1;
	}
	return r;
}
