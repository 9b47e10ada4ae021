#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <stdatomic.h>
#include <string.h>

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

static struct object libc;

/* ---- other interposers behind us ---- */

#define INTERPOSERS_MAX 8

static struct {
	uintptr_t start, end;
} interposers[INTERPOSERS_MAX];
static size_t interposers_count;

/* The object that has the function, if it is not libc. */
static void note(const void *function)
{
	struct object o;
	uintptr_t at = (uintptr_t)function;
	if (!function || at - libc.start < libc.end - libc.start || real_interposer(function))
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
	objects_find((const void *)(uintptr_t)gnu_get_libc_version, &libc);
	/* POSIX lets dlsym's answer become a function only through memory. */
#define REAL_RESOLVE(ret, name, params) \
	do { \
		void *p = find(RTLD_NEXT, #name); \
		memcpy(&real.name, &p, sizeof p); \
		note(p); \
	} while (0);
	REAL_STREAMS(REAL_RESOLVE)
	REAL_HOOKED(REAL_RESOLVE)
#undef REAL_RESOLVE
	real_syscall = real.syscall;
}

/* ---- from libc's function to its hook ---- */

/* All that is exported and libc has as well (exports.map), but for dlsym() and dlopen(), which are asked for their own sake. */
#define HOOKS(X) \
	X(_Exit) X(_Fork) X(_IO_fdopen) X(_IO_fopen) X(__clone) X(__close) X(__dup2) X(__fcntl) X(__open) X(__open64) \
	X(__open64_2) X(__open_2) X(__openat64_2) X(__openat_2) X(__ppoll_chk) X(__pread64) X(__pread64_chk) X(__pread_chk) \
	X(__pwrite64) X(__read) X(__read_chk) X(__recv) X(__recv_chk) X(__recvfrom_chk) X(__send) X(__sendmmsg) X(__sigaction) \
	X(__sigpause) X(__sigsuspend) X(__sysv_signal) X(__vfork) X(__write) X(__xpg_sigpause) X(_exit) X(aio_read) \
	X(aio_read64) X(bsd_signal) X(clone) X(close) X(close_range) X(closefrom) X(copy_file_range) X(dup) X(dup2) X(dup3) \
	X(epoll_pwait) X(epoll_pwait2) X(execv) X(execve) X(execvp) X(execvpe) X(fcntl) X(fcntl64) X(fdopen) X(fexecve) \
	X(fopen) X(fopen64) X(freopen) X(freopen64) X(getrandom) X(ioctl) X(lio_listio) X(lio_listio64) X(madvise) X(mlock) \
	X(mlock2) X(mmap) X(mmap64) X(mprotect) X(mremap) X(munmap) X(open) X(open64) X(open_by_handle_at) X(openat) \
	X(openat64) X(pidfd_getfd) X(posix_madvise) X(posix_spawn) X(posix_spawnp) X(ppoll) X(pread) X(pread64) X(preadv) \
	X(preadv2) X(preadv64) X(preadv64v2) X(process_vm_readv) X(process_vm_writev) X(pselect) X(pthread_attr_getsigmask_np) \
	X(pthread_attr_setsigmask_np) X(pthread_exit) X(pthread_sigmask) X(pwrite) X(pwrite64) X(pwritev) X(pwritev2) \
	X(pwritev64) X(pwritev64v2) X(read) X(readv) X(recv) X(recvfrom) X(recvmmsg) X(recvmsg) X(send) X(sendfile) \
	X(sendfile64) X(sendmmsg) X(sendmsg) X(sendto) X(sigaction) X(sigblock) X(siggetmask) X(sighold) X(sigignore) \
	X(siginterrupt) X(signal) X(signalfd) X(sigpause) X(sigpending) X(sigprocmask) X(sigrelse) X(sigset) X(sigsetmask) \
	X(sigsuspend) X(sigtimedwait) X(sigwait) X(sigwaitinfo) X(splice) X(ssignal) X(syscall) X(sysv_signal) X(vfork) \
	X(vmsplice) X(write) X(writev)

/* Our own symbols of these names, whatever they are: only their addresses are of interest. */
#define HOOK_SYMBOL(name) extern const char hook_of_##name __asm__(#name);
HOOKS(HOOK_SYMBOL)

#define HOOK_ADDRESS(name) &hook_of_##name,
static const void *const hooks[] = { HOOKS(HOOK_ADDRESS) };
#define HOOK_NAME(name) #name,
static const char *const hook_names[] = { HOOKS(HOOK_NAME) };
#define HOOKS_COUNT (sizeof hooks / sizeof hooks[0])

/* What stands behind each; asked for once, when somebody looks for the first time: most programs never do. */
static void *behind[HOOKS_COUNT];
static _Atomic bool behind_known;

void *real_hook_of(void *p)
{
	if ((uintptr_t)p - libc.start >= libc.end - libc.start) /* NULL; others' functions */
		return p;
	if (!atomic_load_explicit(&behind_known, memory_order_acquire)) {
		real_dlsym_fn find = real_dlsym();
		for (size_t i = 0; i < HOOKS_COUNT; i++)
			__atomic_store_n(&behind[i], find(RTLD_NEXT, hook_names[i]), __ATOMIC_RELAXED);
		atomic_store_explicit(&behind_known, true, memory_order_release);
	}
	for (size_t i = 0; i < HOOKS_COUNT; i++)
		if (__atomic_load_n(&behind[i], __ATOMIC_RELAXED) == p)
			return (void *)(uintptr_t)hooks[i];
	return p;
}

long real_answer(long r)
{
	if (sys_failed(r)) {
		errno = (int)-r;
		return -1;
	}
	return r;
}
