/*
 * signals_app: what the application's calls about signals mean while some are taken. For the hooks; signals.h is for the rest of the shim.
 *
 * Thread and signal safe; errno is kept, errors are -errno.
 */
#ifndef SHIM_SIGNALS_APP_H
#define SHIM_SIGNALS_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "signals_mask.h"

/* As the kernel has it: struct kernel_sigaction of x86-64 and aarch64. The mask is the application's, unless said otherwise. */
struct signals_action {
	union {
		void (*plain)(int);
		void (*info)(int, siginfo_t *, void *);
		uintptr_t word;
	} handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

/* Its disposition is kept by us: SIGSEGV or SIGBUS once taken, and its stand-in. */
bool signals_kept(int signo);

/*
 * rt_sigaction for any signal, taken or not; set and old may be NULL. Where the kernel wants a restorer and set has none it gets ours. In a child
 * that shares this memory but not the handlers (vfork) the kernel alone is told.
 */
long signals_action(int signo, const struct signals_action *set, struct signals_action *old);

/* After the kernel alone was told of signo's action, and something was taken meanwhile: what signals_action() would have done. */
void signals_action_late(int signo);

/*
 * A siginfo that the kernel gave to a waiter (sigtimedwait): where it is of a stand-in that was sent for its signal, it becomes the signal's own
 * again. Returns its signal.
 */
int signals_unwrap(siginfo_t *info);

/* The same for records read from a signalfd: looks at what read() left in buf, n its answer, and returns n. */
ssize_t signals_read_records(int fd, void *buf, ssize_t n);

extern _Atomic bool signals_fd_made; /* by signalfd(), for a taken signal */

static inline ssize_t signals_read(int fd, void *buf, ssize_t n)
{
	return atomic_load_explicit(&signals_fd_made, memory_order_relaxed) ? signals_read_records(fd, buf, n) : n;
}

#endif
