/*
 * syscall(): libuv, Rust, libaio and others make some of the hooked calls through it.
 *
 * The function itself is assembly: system calls that we don't care for must reach the real one with stack and registers
 * untouched (vfork and clone return twice, or on another stack). `ours` says which numbers go to hooks_syscall().
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "async.h"
#include "config.h"
#include "forks.h"
#include "hooks.h"
#include "lazy.h"
#include "real.h"
#include "signals_app.h"
#include "sys.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define OURS_MAX 512
#define OUT 2 /* only while there is memory that must be filled first (lazy.h) */

/* Used by the assembly below, hence not static. */
const uint8_t hooks_syscall_ours[OURS_MAX] = {
#ifdef SYS_open
	[SYS_open] = 1,
#endif
#ifdef SYS_dup2
	[SYS_dup2] = 1,
#endif
	[SYS_openat] = 1,  [SYS_read] = 1,    [SYS_pread64] = 1,  [SYS_readv] = 1,           [SYS_preadv] = 1,
	[SYS_preadv2] = 1, [SYS_mmap] = 1,     [SYS_dup] = 1,             [SYS_dup3] = 1,
	[SYS_fcntl] = 1,   [SYS_ioctl] = 1,   [SYS_close] = 1,    [SYS_close_range] = 1,     [SYS_sendfile] = 1,
	[SYS_splice] = 1,  [SYS_copy_file_range] = 1,
	[SYS_munmap] = 1,  [SYS_mprotect] = 1, [SYS_mremap] = 1,  [SYS_madvise] = 1,         [SYS_mlock] = 1,
	[SYS_mlock2] = 1,  [SYS_clone] = 1,    [SYS_clone3] = 1,
#ifdef SYS_fork
	[SYS_fork] = 1,
#endif
	[SYS_write] = OUT, [SYS_pwrite64] = OUT, [SYS_writev] = OUT, [SYS_pwritev] = OUT, [SYS_pwritev2] = OUT,
	[SYS_vmsplice] = OUT, [SYS_sendto] = OUT, [SYS_sendmsg] = OUT, [SYS_sendmmsg] = OUT, [SYS_recvfrom] = OUT,
	[SYS_recvmsg] = 1, [SYS_recvmmsg] = 1, [SYS_getrandom] = OUT, [SYS_process_vm_readv] = OUT, [SYS_process_vm_writev] = OUT,
	[SYS_openat2] = 1, [SYS_open_by_handle_at] = 1, [SYS_pidfd_getfd] = 1, [SYS_io_submit] = 1,
	[SYS_io_uring_setup] = 1,
	[SYS_rt_sigaction] = 1, [SYS_rt_sigprocmask] = 1,
};

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl syscall\n"
        ".type syscall, @function\n"
        "syscall:\n"
        "	cmpq	$512, %rdi\n"
        "	jae	1f\n"
        "	leaq	hooks_syscall_ours(%rip), %rax\n"
        "	cmpb	$0, (%rax,%rdi)\n"
        "	je	1f\n"
        "	cmpq	$435, %rdi\n" /* clone3 and clone: with CLONE_VM, or a stack of its own, it would return where our frame is not */
        "	je	2f\n"
        "	cmpq	$56, %rdi\n"
        "	jne	hooks_syscall\n"
        "	testq	$0x100, %rsi\n"
        "	jne	3f\n"
        "	testq	%rdx, %rdx\n"
        "	je	hooks_syscall\n"
        "	jmp	1f\n"
        "2:	testq	%rsi, %rsi\n" /* struct clone_args: flags, …, stack; who only asks whether there is such a call gives none */
        "	je	1f\n"
        "	cmpq	$64, %rdx\n"
        "	jb	1f\n"
        "	testq	$0x100, (%rsi)\n"
        "	jne	3f\n"
        "	cmpq	$0, 40(%rsi)\n"
        "	je	hooks_syscall\n"
        "	jmp	1f\n"
        "3:	movb	$1, views_shared(%rip)\n" /* views.h */
        "1:	movq	real_syscall(%rip), %rax\n"
        "	testq	%rax, %rax\n"
        "	je	hooks_syscall\n"
        "	jmp	*%rax\n"
        ".size syscall, .-syscall\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl syscall\n"
        ".type syscall, %function\n"
        "syscall:\n"
        "	cmp	x0, #512\n"
        "	b.hs	1f\n"
        "	adrp	x16, hooks_syscall_ours\n"
        "	add	x16, x16, :lo12:hooks_syscall_ours\n"
        "	ldrb	w16, [x16, x0]\n"
        "	cbz	w16, 1f\n"
        "	cmp	x0, #435\n" /* clone3 and clone, as above */
        "	b.eq	2f\n"
        "	cmp	x0, #220\n"
        "	b.ne	hooks_syscall\n"
        "	tbnz	x1, #8, 3f\n"
        "	cbz	x2, hooks_syscall\n"
        "	b	1f\n"
        "2:	cbz	x1, 1f\n" /* struct clone_args: flags, …, stack; who only asks whether there is such a call gives none */
        "	cmp	x2, #64\n"
        "	b.lo	1f\n"
        "	ldr	x16, [x1]\n"
        "	tbnz	x16, #8, 3f\n"
        "	ldr	x16, [x1, #40]\n"
        "	cbz	x16, hooks_syscall\n"
        "	b	1f\n"
        "3:	adrp	x17, views_shared\n" /* views.h */
        "	mov	w16, #1\n"
        "	strb	w16, [x17, :lo12:views_shared]\n"
        "1:	adrp	x16, real_syscall\n"
        "	ldr	x16, [x16, :lo12:real_syscall]\n"
        "	cbz	x16, hooks_syscall\n"
        "	br	x16\n"
        ".size syscall, .-syscall\n");
#endif

/* A child that goes on here, on a copy of this stack. */
static long forked(long nr, long a, long b, long c, long d, long e)
{
	forks_before();
	long pid = sys_call6(nr, a, b, c, d, e, 0);
	if (pid == 0)
		forks_child(false);
	else
		forks_after();
	return real_answer(pid);
}

static long out(long nr, long a, long b, long c, long d, long e, long f)
{
	/* NOLINTBEGIN(performance-no-int-to-ptr): system calls take pointers as words */
	switch (nr) {
	case SYS_write:
		return write((int)a, (const void *)b, (size_t)c);
	case SYS_pwrite64:
		return pwrite((int)a, (const void *)b, (size_t)c, d);
	case SYS_writev:
		return writev((int)a, (const struct iovec *)b, (int)c);
	case SYS_pwritev:
		return pwritev((int)a, (const struct iovec *)b, (int)c, d);
	case SYS_pwritev2:
		return pwritev2((int)a, (const struct iovec *)b, (int)c, d, (int)f);
	case SYS_vmsplice:
		return vmsplice((int)a, (const struct iovec *)b, (size_t)c, (unsigned int)d);
	case SYS_sendto:
		return sendto((int)a, (const void *)b, (size_t)c, (int)d, (const struct sockaddr *)e, (socklen_t)f);
	case SYS_sendmsg:
		return sendmsg((int)a, (const struct msghdr *)b, (int)c);
	case SYS_sendmmsg:
		return sendmmsg((int)a, (struct mmsghdr *)b, (unsigned int)c, (int)d);
	case SYS_recvfrom:
		return recvfrom((int)a, (void *)b, (size_t)c, (int)d, (struct sockaddr *)e, (socklen_t *)f);
	case SYS_getrandom:
		return getrandom((void *)a, (size_t)b, (unsigned int)c);
	case SYS_process_vm_readv:
	case SYS_process_vm_writev:
		return (nr == SYS_process_vm_readv ? process_vm_readv : process_vm_writev)(
		        (pid_t)a, (const struct iovec *)b, (unsigned long)c, (const struct iovec *)d, (unsigned long)e, (unsigned long)f);
	default:
		return real_syscall(nr, a, b, c, d, e, f);
	}
	/* NOLINTEND(performance-no-int-to-ptr) */
}

/* Arguments as the caller passed them; those it did not pass are whatever the registers held. */
long hooks_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	/* NOLINTBEGIN(performance-no-int-to-ptr): system calls take pointers as words */
	if (!real_ready)
		return real_answer(sys_call6(nr, a, b, c, d, e, f));
	if (real_interposer(__builtin_return_address(0))) /* the assembly jumped: this is syscall()'s caller */
		return real_syscall(nr, a, b, c, d, e, f);
	if (hooks_syscall_ours[nr] == OUT)
		return lazy_any() ? out(nr, a, b, c, d, e, f) : real_syscall(nr, a, b, c, d, e, f);
	switch (nr) {
#ifdef SYS_fork
	case SYS_fork:
		return forked(nr, a, b, c, d, e);
#endif
	case SYS_clone3:
	case SYS_clone: /* those that share memory, or go on on another stack, went to the real one */
		return forked(nr, a, b, c, d, e);
#ifdef SYS_open
	case SYS_open:
		return open((const char *)a, (int)b, (mode_t)c);
#endif
#ifdef SYS_dup2
	case SYS_dup2:
		return dup2((int)a, (int)b);
#endif
	case SYS_openat:
		return openat((int)a, (const char *)b, (int)c, (mode_t)d);
	case SYS_openat2:
		return hooks_openat2((int)a, (const char *)b, (const void *)c, (size_t)d);
	case SYS_open_by_handle_at:
		return open_by_handle_at((int)a, (struct file_handle *)b, (int)c);
	case SYS_pidfd_getfd:
		return pidfd_getfd((int)a, (int)b, (unsigned int)c);
	case SYS_io_submit:
		return config.off ? real_syscall(nr, a, b, c) : async_submit((unsigned long)a, b, (void *const *)c);
	case SYS_io_uring_setup:
		return config.off ? real_syscall(nr, a, b) : hooks_no_uring();
	case SYS_read:
		return read((int)a, (void *)b, (size_t)c);
	case SYS_pread64:
		return pread((int)a, (void *)b, (size_t)c, d);
	case SYS_readv:
		return readv((int)a, (const struct iovec *)b, (int)c);
	case SYS_preadv:
		return preadv((int)a, (const struct iovec *)b, (int)c, d);
	case SYS_preadv2:
		return preadv2((int)a, (const struct iovec *)b, (int)c, d, (int)f);
	case SYS_mmap:
		return (long)mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);
	case SYS_dup:
		return dup((int)a);
	case SYS_dup3:
		return dup3((int)a, (int)b, (int)c);
	case SYS_fcntl:
		return fcntl((int)a, (int)b, c);
	case SYS_ioctl:
		return ioctl((int)a, (unsigned long)b, c);
	case SYS_close:
		return close((int)a);
	case SYS_close_range:
		return close_range((unsigned int)a, (unsigned int)b, (int)c);
	case SYS_sendfile:
		return sendfile((int)a, (int)b, (off_t *)c, (size_t)d);
	case SYS_splice:
		return splice((int)a, (off_t *)b, (int)c, (off_t *)d, (size_t)e, (unsigned int)f);
	case SYS_copy_file_range:
		return copy_file_range((int)a, (off_t *)b, (int)c, (off_t *)d, (size_t)e, (unsigned int)f);
	case SYS_recvmsg:
		return recvmsg((int)a, (struct msghdr *)b, (int)c);
	case SYS_recvmmsg:
		return recvmmsg((int)a, (struct mmsghdr *)b, (unsigned int)c, (int)d, (struct timespec *)e);
	case SYS_munmap:
		return munmap((void *)a, (size_t)b);
	case SYS_mprotect:
		return mprotect((void *)a, (size_t)b, (int)c);
	case SYS_mremap:
		return (long)mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e);
	case SYS_madvise:
		return madvise((void *)a, (size_t)b, (int)c);
	case SYS_mlock:
		return mlock((const void *)a, (size_t)b);
	case SYS_mlock2:
		return mlock2((const void *)a, (size_t)b, (unsigned int)c);
	case SYS_rt_sigaction:
		return hooks_rt_sigaction((int)a, (const struct signals_action *)b, (struct signals_action *)c, (size_t)d);
	case SYS_rt_sigprocmask:
		return hooks_rt_sigprocmask((int)a, (const uint64_t *)b, (uint64_t *)c, (size_t)d);
	default:
		return real_answer(sys_call6(nr, a, b, c, d, e, f));
	}
	/* NOLINTEND(performance-no-int-to-ptr) */
}
