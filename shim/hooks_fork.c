/*
 * New processes and the end of main(). fork() itself comes by pthread_atfork(); vfork() and posix_spawn() share our memory and threads and need
 * nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <unistd.h>

#include "config.h"
#include "forks.h"
#include "hooks.h"
#include "pool.h"
#include "real.h"
#include "sys.h"

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
	if (config.off || (flags & CLONE_VM) || !run || !stack)
		return real.clone(run, stack, flags, arg, parent_tid, tls, child_tid);
	struct start s = { run, arg };
	forks_before();
	int pid = real.clone(run_child, stack, flags, &s, parent_tid, tls, child_tid);
	forks_after();
	return pid;
}

HOOK_ALIAS(int, __clone, clone, (int (*)(void *), void *, int, void *, ...))

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
