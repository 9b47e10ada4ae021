/*
 * lock: a mutex that a signal handler may meet.
 *
 * All signals are blocked while it is held, so that a handler that calls read() on the same file cannot wait for the thread it
 * interrupted. Hold it for a few instructions; never touch the caller's memory, allocate, or call out while holding it. errno
 * is kept.
 *
 * fork(): nobody takes these locks around it. (Held over fork they would wait for malloc's, which it takes as well, while a signal handler
 * that interrupted malloc waits for them.) The child makes them new instead, at a moment when another thread of the parent may have been inside:
 * so every section must leave its data sound after each of its steps, in the order of lock_step().
 */
#ifndef CT_LOCK_H
#define CT_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "sys.h"

struct lock {
	pthread_mutex_t mutex;
};

#define LOCK_INIT { PTHREAD_MUTEX_INITIALIZER }

typedef uint64_t lock_saved; /* the kernel's signal mask */

/* What was stored before this is seen before what is stored after it, also by a fork child. */
static inline void lock_step(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

static inline lock_saved lock_signals(void)
{
	lock_saved all = ~(lock_saved)0, saved = 0;
	sys4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &saved, sizeof all);
	return saved;
}

static inline void lock_signals_restore(lock_saved saved)
{
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &saved, 0, sizeof saved);
}

static inline lock_saved lock_acquire(struct lock *l)
{
	lock_saved saved = lock_signals();
	pthread_mutex_lock(&l->mutex);
	return saved;
}

static inline void lock_release(struct lock *l, lock_saved saved)
{
	pthread_mutex_unlock(&l->mutex);
	lock_signals_restore(saved);
}

#endif
