/*
 * New processes and the end of main(). fork() itself comes by pthread_atfork(). A vfork() child shares our memory and threads: only that there may be
 * one is noted. posix_spawn() needs nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "forks.h"
#include "hooks.h"
#include "pool.h"
#include "real.h"
#include "sys.h"
#include "views.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

HOOK pid_t _Fork(void)
{
	if (!real_ready || config.off || !real._Fork)
		return real._Fork ? real._Fork() : (pid_t)real_answer(sys5(SYS_clone, 17 /* SIGCHLD */, 0, 0, 0, 0));
	forks_before();
	pid_t pid = real._Fork();
	if (pid == 0)
		forks_child(false);
	else
		forks_after();
	return pid;
}

struct start {
	int (*run)(void *);
	void *arg;
};

static int run_child(void *arg)
{
	struct start *s = arg; /* in the caller's frame, of which the child has a copy */
	forks_child(false);
	return s->run(s->arg);
}

HOOK int clone(int (*run)(void *), void *stack, int flags, void *arg, ...)
{
	va_list ap;
	va_start(ap, arg);
	pid_t *parent_tid = va_arg(ap, pid_t *);
	void *tls = va_arg(ap, void *);
	pid_t *child_tid = va_arg(ap, pid_t *);
	va_end(ap);
	if (!real_ready)
		real_resolve();
	if (flags & CLONE_VM)
		views_shared = true;
	if (config.off || (flags & CLONE_VM) || !run || !stack)
		return real.clone(run, stack, flags, arg, parent_tid, tls, child_tid);
	struct start s = { run, arg };
	forks_before();
	int pid = real.clone(run_child, stack, flags, &s, parent_tid, tls, child_tid);
	forks_after();
	return pid;
}

HOOK_ALIAS(int, __clone, clone, (int (*)(void *), void *, int, void *, ...))

/* Returns twice, on one stack: it must reach the real one with that as it was. */
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl vfork\n"
        ".type vfork, @function\n"
        "vfork:\n"
        "	.cfi_startproc\n"
        "	subq	$8, %rsp\n"
        "	.cfi_adjust_cfa_offset 8\n"
        "	call	hooks_vfork_target\n"
        "	addq	$8, %rsp\n"
        "	.cfi_adjust_cfa_offset -8\n"
        "	jmp	*%rax\n"
        "	.cfi_endproc\n"
        ".size vfork, .-vfork\n"
        ".globl __vfork\n"
        ".set __vfork, vfork\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl vfork\n"
        ".type vfork, %function\n"
        "vfork:\n"
        "	.cfi_startproc\n"
        "	stp	x29, x30, [sp, #-16]!\n"
        "	.cfi_def_cfa_offset 16\n"
        "	.cfi_offset 29, -16\n"
        "	.cfi_offset 30, -8\n"
        "	bl	hooks_vfork_target\n"
        "	mov	x16, x0\n"
        "	ldp	x29, x30, [sp], #16\n"
        "	.cfi_restore 30\n"
        "	.cfi_restore 29\n"
        "	.cfi_def_cfa_offset 0\n"
        "	br	x16\n"
        "	.cfi_endproc\n"
        ".size vfork, .-vfork\n"
        ".globl __vfork\n"
        ".set __vfork, vfork\n");
#endif

/* Used by the assembly above, hence not static. */
void *hooks_vfork_target(void)
{
	void *to;
	if (!real.vfork)
		real_resolve();
	views_shared = true;
	memcpy(&to, &real.vfork, sizeof to);
	return to;
}

/* Threads of ours would keep a process alive whose main() has left. */
HOOK void pthread_exit(void *result)
{
	if (!real.pthread_exit)
		real_resolve();
	if (real_ready && sys0(SYS_gettid) == sys0(SYS_getpid))
		pool_main_leaves();
	real.pthread_exit(result);
	__builtin_unreachable();
}
