#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "sandbox.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))
#define ALLOW SANDBOX_ALLOW
#define KILL SANDBOX_KILL
#define NO_EXEC(nr) SANDBOX_ALLOW_IF(nr, 2, PROT_EXEC, 0), SANDBOX_FAIL(nr, EACCES)
/* open() flags, in that argument: what neither writes nor makes a file. */
#define READING(nr, arg) SANDBOX_ALLOW_IF(nr, arg, O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND, O_RDONLY), SANDBOX_FAIL(nr, EACCES)
#define NEW_NAMESPACE (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

/*
 * What neither our code nor a library ever calls here: it is somebody else's code that does. The process ends, and its keys with it, before he tries the
 * next thing.
 */
static const struct sandbox_row hostile[] = {
	KILL(SYS_execve), KILL(SYS_execveat),
	KILL(SYS_ptrace), KILL(SYS_process_vm_readv), KILL(SYS_process_vm_writev), KILL(SYS_kcmp),
	KILL(SYS_unshare), KILL(SYS_setns), KILL(SYS_mount), KILL(SYS_umount2), KILL(SYS_pivot_root), KILL(SYS_chroot),
	KILL(SYS_bpf), KILL(SYS_perf_event_open), KILL(SYS_userfaultfd),
	KILL(SYS_io_uring_setup), KILL(SYS_io_uring_enter), KILL(SYS_io_uring_register),
	KILL(SYS_add_key), KILL(SYS_request_key), KILL(SYS_keyctl),
	KILL(SYS_init_module), KILL(SYS_finit_module), KILL(SYS_delete_module), KILL(SYS_kexec_load), KILL(SYS_reboot),
	KILL(SYS_swapon), KILL(SYS_swapoff),
#ifdef SYS_pidfd_getfd
	KILL(SYS_pidfd_getfd),
#endif
};

/* What is in no row says ENOSYS, as if the kernel were older: a library's update that tries something new goes on without it. */
static const struct sandbox_row front[] = {
	ALLOW(SYS_poll), ALLOW(SYS_ppoll), ALLOW(SYS_accept4), ALLOW(SYS_getsockopt),
	ALLOW(SYS_read), ALLOW(SYS_readv), ALLOW(SYS_pread64), ALLOW(SYS_write), ALLOW(SYS_writev), ALLOW(SYS_lseek),
	ALLOW(SYS_recvfrom), ALLOW(SYS_recvmsg), ALLOW(SYS_sendto), ALLOW(SYS_sendmsg), ALLOW(SYS_shutdown),
	ALLOW(SYS_close), ALLOW(SYS_fcntl), ALLOW(SYS_flock),
	/* /proc, and whatever OpenSSL or libc look into */
	READING(SYS_openat, 2), ALLOW(SYS_readlinkat), ALLOW(SYS_newfstatat), ALLOW(SYS_fstat), ALLOW(SYS_statx), ALLOW(SYS_faccessat),
	ALLOW(SYS_pwrite64), ALLOW(SYS_ftruncate), /* the latest time that was seen (licence_clock.h) */
	/* questions to the policy engine; the end of the keeper */
	ALLOW(SYS_memfd_create), ALLOW(SYS_pipe2),
	ALLOW(SYS_wait4), ALLOW(SYS_pidfd_open),
	NO_EXEC(SYS_mmap), NO_EXEC(SYS_mprotect),
	ALLOW(SYS_munmap), ALLOW(SYS_mremap), ALLOW(SYS_madvise), ALLOW(SYS_brk), ALLOW(SYS_mlock),
	ALLOW(SYS_futex), ALLOW(SYS_sched_yield), ALLOW(SYS_sched_getaffinity), ALLOW(SYS_nanosleep), ALLOW(SYS_clock_nanosleep),
	ALLOW(SYS_clock_gettime), ALLOW(SYS_gettimeofday), ALLOW(SYS_getrandom),
	ALLOW(SYS_getpid), ALLOW(SYS_gettid), ALLOW(SYS_getuid), ALLOW(SYS_geteuid), ALLOW(SYS_getgid), ALLOW(SYS_getegid), ALLOW(SYS_uname),
	ALLOW(SYS_sysinfo),
	ALLOW(SYS_rt_sigaction), ALLOW(SYS_rt_sigprocmask), ALLOW(SYS_rt_sigreturn), ALLOW(SYS_restart_syscall),
	ALLOW(SYS_exit), ALLOW(SYS_exit_group),
	SANDBOX_FAIL(SYS_ioctl, ENOTTY), /* stdio asks for a terminal */
#ifdef SYS_open
	READING(SYS_open, 1), ALLOW(SYS_readlink), ALLOW(SYS_stat), ALLOW(SYS_lstat), ALLOW(SYS_access), ALLOW(SYS_time),
#endif
};

/* Where a JWK set comes in and data keys go out; hidden memory is made at any time. What OpenSSL and libc do in memory is all that is left besides. */
static const struct sandbox_row keeper[] = {
	ALLOW(SYS_poll), ALLOW(SYS_ppoll), ALLOW(SYS_recvmsg), ALLOW(SYS_recvfrom), ALLOW(SYS_sendmsg), ALLOW(SYS_close),
	NO_EXEC(SYS_mmap), NO_EXEC(SYS_mprotect),
	ALLOW(SYS_munmap), ALLOW(SYS_mremap), ALLOW(SYS_madvise), ALLOW(SYS_brk), ALLOW(SYS_mlock), ALLOW(SYS_ftruncate),
#ifdef SYS_memfd_secret
	ALLOW(SYS_memfd_secret),
#endif
	ALLOW(SYS_futex), ALLOW(SYS_sched_yield), ALLOW(SYS_clock_gettime), ALLOW(SYS_gettimeofday), ALLOW(SYS_getrandom), ALLOW(SYS_getpid),
	ALLOW(SYS_rt_sigprocmask), ALLOW(SYS_rt_sigreturn), ALLOW(SYS_restart_syscall),
	ALLOW(SYS_exit), ALLOW(SYS_exit_group),
};

static size_t put(struct sandbox_row *to, size_t at, const struct sandbox_row *rows, size_t count)
{
	memcpy(to + at, rows, count * sizeof *rows);
	return at + count;
}

int calls_front(int syslog, pid_t its_keeper, struct err *err)
{
	struct sandbox_row rows[COUNT(front) + COUNT(hostile) + 2];
	size_t n = put(rows, 0, front, COUNT(front));

	if (syslog >= 0)
		rows[n++] = (struct sandbox_row)SANDBOX_ALLOW_IF(SYS_connect, 0, ~0u, (uint32_t)syslog);
	rows[n++] = (struct sandbox_row)SANDBOX_ALLOW_IF(SYS_kill, 0, ~0u, (uint32_t)its_keeper);
	n = put(rows, n, hostile, COUNT(hostile));
	return sandbox_calls(rows, n, SANDBOX_ERRNO(ENOSYS), err);
}

int calls_keeper(struct err *err)
{
	struct sandbox_row rows[COUNT(keeper) + COUNT(hostile)];
	size_t n = put(rows, 0, keeper, COUNT(keeper));

	n = put(rows, n, hostile, COUNT(hostile));
	return sandbox_calls(rows, n, SANDBOX_ERRNO(ENOSYS), err);
}

int calls_modules(struct err *err)
{
	static const struct sandbox_row threads_only[] = {
		SANDBOX_ALLOW_IF(SYS_clone, 0, NEW_NAMESPACE, 0), SANDBOX_FAIL(SYS_clone, EPERM),
		SANDBOX_FAIL(SYS_clone3, ENOSYS), /* its flags are out of sight; clone() follows */
	};
	struct sandbox_row rows[COUNT(hostile) + COUNT(threads_only)];
	size_t n = put(rows, 0, hostile, COUNT(hostile));

	n = put(rows, n, threads_only, COUNT(threads_only));
	return sandbox_calls(rows, n, SECCOMP_RET_ALLOW, err);
}
