/*
 * io_uring: refused (ENOSYS), as by an older kernel or by the profile that Docker uses. What is read through a ring is read by the kernel, from memory
 * that no hook sees: it would be ciphertext, and nobody would know. Programs fall back. These are liburing's functions; hooks_syscall.c refuses the
 * system call. Who makes it inline is out of reach.
 */
#include <dlfcn.h>
#include <errno.h>

#include "config.h"
#include "hooks.h"
#include "real.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

struct io_uring;
struct io_uring_params;

static int refused(void)
{
	config_log(LOG_INFO, "io_uring is refused: what it reads cannot be decrypted");
	return -ENOSYS;
}

long hooks_no_uring(void)
{
	return real_answer(refused());
}

/* With CTSHIM_DISABLE=1: the real function, also of a library that is known to its caller alone. */
static void *behind(const char *name, const void *caller)
{
	void *volatile p = real_dlsym()(RTLD_NEXT, name);
	Dl_info info;
	if (p || !dladdr(caller, &info) || !info.dli_fname)
		return p;
	void *handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	if (!handle)
		return NULL;
	p = real_dlsym()(handle, name);
	dlclose(handle);
	return p;
}

#define REFUSED(name, params, args) \
	HOOK int name params \
	{ \
		union { \
			void *p; \
			int(*f) params; \
		} next = { config.off ? behind(#name, __builtin_return_address(0)) : NULL }; \
		return next.p && next.f != name ? next.f args : refused(); \
	}

REFUSED(io_uring_queue_init, (unsigned int entries, struct io_uring *ring, unsigned int flags), (entries, ring, flags))
REFUSED(io_uring_queue_init_params, (unsigned int entries, struct io_uring *ring, struct io_uring_params *p), (entries, ring, p))
REFUSED(io_uring_queue_init_mem, (unsigned int entries, struct io_uring *ring, struct io_uring_params *p, void *buf, size_t size),
        (entries, ring, p, buf, size))
REFUSED(io_uring_setup, (unsigned int entries, struct io_uring_params *p), (entries, p))
