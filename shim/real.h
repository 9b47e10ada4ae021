/*
 * real: the functions that ours stand in front of.
 *
 * Resolved once, in the constructor, by dlsym(RTLD_NEXT): so another interposer behind us is called as if we were not there. A
 * hook that runs earlier (other constructors, malloc's own start) finds real_ready false and makes the system call itself: no
 * dlsym, no malloc, no lock before ready.
 */
#ifndef SHIM_REAL_H
#define SHIM_REAL_H

#include <aio.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/* libc's own part of a stream, which has no hook but other names in its tables (streams.h). X(return type, name, parameters) */
#define REAL_STREAMS(X) \
	X(ssize_t, _IO_file_read, (FILE *, void *, ssize_t)) \
	X(ssize_t, _IO_file_write, (FILE *, const void *, ssize_t)) \
	X(off64_t, _IO_file_seek, (FILE *, off64_t, int))

/* What has a hook of that name. */
#define REAL_HOOKED(X) \
	X(int, open, (const char *, int, ...)) \
	X(int, openat, (int, const char *, int, ...)) \
	X(FILE *, fopen, (const char *, const char *)) \
	X(FILE *, fdopen, (int, const char *)) \
	X(FILE *, freopen, (const char *, const char *, FILE *)) \
	X(ssize_t, read, (int, void *, size_t)) \
	X(ssize_t, pread, (int, void *, size_t, off_t)) \
	X(ssize_t, readv, (int, const struct iovec *, int)) \
	X(ssize_t, preadv, (int, const struct iovec *, int, off_t)) \
	X(ssize_t, preadv2, (int, const struct iovec *, int, off_t, int)) \
	X(ssize_t, write, (int, const void *, size_t)) \
	X(ssize_t, pwrite, (int, const void *, size_t, off_t)) \
	X(ssize_t, writev, (int, const struct iovec *, int)) \
	X(ssize_t, pwritev, (int, const struct iovec *, int, off_t)) \
	X(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int)) \
	X(ssize_t, vmsplice, (int, const struct iovec *, size_t, unsigned int)) \
	X(ssize_t, send, (int, const void *, size_t, int)) \
	X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t)) \
	X(ssize_t, sendmsg, (int, const struct msghdr *, int)) \
	X(int, sendmmsg, (int, struct mmsghdr *, unsigned int, int)) \
	X(ssize_t, recv, (int, void *, size_t, int)) \
	X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *)) \
	X(ssize_t, recvmsg, (int, struct msghdr *, int)) \
	X(int, recvmmsg, (int, struct mmsghdr *, unsigned int, int, struct timespec *)) \
	X(ssize_t, getrandom, (void *, size_t, unsigned int)) \
	X(ssize_t, process_vm_readv, \
	  (pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long, unsigned long)) \
	X(ssize_t, process_vm_writev, \
	  (pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long, unsigned long)) \
	X(void *, mmap, (void *, size_t, int, int, int, off_t)) \
	X(int, dup, (int)) \
	X(int, dup2, (int, int)) \
	X(int, dup3, (int, int, int)) \
	X(int, fcntl, (int, int, ...)) \
	X(int, ioctl, (int, unsigned long, ...)) \
	X(int, close, (int)) \
	X(int, close_range, (unsigned int, unsigned int, int)) \
	X(void, closefrom, (int)) \
	X(ssize_t, sendfile, (int, int, off_t *, size_t)) \
	X(ssize_t, copy_file_range, (int, off_t *, int, off_t *, size_t, unsigned int)) \
	X(ssize_t, splice, (int, off_t *, int, off_t *, size_t, unsigned int)) \
	X(int, execve, (const char *, char *const *, char *const *)) \
	X(int, execvpe, (const char *, char *const *, char *const *)) \
	X(int, fexecve, (int, char *const *, char *const *)) \
	X(int, posix_spawn, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const *, char *const *)) \
	X(int, posix_spawnp, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const *, char *const *)) \
	X(pid_t, _Fork, (void)) \
	X(pid_t, vfork, (void)) \
	X(int, clone, (int (*)(void *), void *, int, void *, ...)) \
	X(void, pthread_exit, (void *)) \
	X(int, sigaction, (int, const struct sigaction *, struct sigaction *)) \
	X(sighandler_t, signal, (int, sighandler_t)) \
	X(int, siginterrupt, (int, int)) \
	X(int, pthread_sigmask, (int, const sigset_t *, sigset_t *)) \
	X(int, sigprocmask, (int, const sigset_t *, sigset_t *)) \
	X(int, sigsuspend, (const sigset_t *)) \
	X(int, sigpending, (sigset_t *)) \
	X(int, sigwait, (const sigset_t *, int *)) \
	X(int, sigtimedwait, (const sigset_t *, siginfo_t *, const struct timespec *)) \
	X(int, signalfd, (int, const sigset_t *, int)) \
	X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)) \
	X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *)) \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *)) \
	X(int, epoll_pwait2, (int, struct epoll_event *, int, const struct timespec *, const sigset_t *)) \
	X(int, pthread_attr_setsigmask_np, (pthread_attr_t *, const sigset_t *)) \
	X(int, pthread_attr_getsigmask_np, (const pthread_attr_t *, sigset_t *)) \
	X(int, aio_read, (struct aiocb *)) \
	X(int, lio_listio, (int, struct aiocb *const *, int, struct sigevent *)) \
	X(int, open_by_handle_at, (int, struct file_handle *, int)) \
	X(int, pidfd_getfd, (int, int, unsigned int)) \
	X(long, syscall, (long, ...))

struct real {
#define REAL_MEMBER(ret, name, params) ret (*name) params;
	REAL_STREAMS(REAL_MEMBER)
	REAL_HOOKED(REAL_MEMBER)
#undef REAL_MEMBER
};

extern struct real real;
extern bool real_ready; /* set once, by the constructor, when everything is in place */

extern long (*real_syscall)(long, ...); /* real.syscall once more, for assembly */

void real_resolve(void);

/*
 * The code is in an object behind us that one of these functions was found in, and not libc's. Where such a function is made of syscall() (tcmalloc's
 * mmap), that is our forward on its way to the kernel: to look at it again would never end. Signal safe.
 */
bool real_interposer(const void *code);

/*
 * dlsym() itself, which has a hook as well (hooks_dlsym.c): the next one in line. Works at any time, before the constructor too, without
 * malloc. What RTLD_NEXT and RTLD_DEFAULT mean to it depends on where it is called from: do not let a compiler make a jump of the call.
 */
typedef void *(*real_dlsym_fn)(void *handle, const char *name);
real_dlsym_fn real_dlsym(void);

/*
 * The hook of libc's function at p, if it has one, else p. All that is exported, also what is never called through `real`: who has our mmap() must not
 * have libc's munmap(). Not for signal handlers.
 */
void *real_hook_of(void *p);

/* A raw system call's answer as libc gives it: -1 and errno. */
long real_answer(long r);

#endif
