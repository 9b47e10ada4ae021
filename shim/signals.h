/*
 * signals: a fault handler of ours that lives with the application's own.
 *
 * signals_take() puts ours in front; from then on what the application installs, blocks or asks for with sigaction(), signal(),
 * sigprocmask() … is kept here and told back as it was set, and is called as the kernel would have called it for every fault that is
 * not ours. The signal itself stays open in every mask, since a fault while it is blocked ends the process. Untouched until taken.
 *
 * Thread safety: all. Signal safety: all, no allocation by malloc, no lock held while the application's handler runs.
 */
#ifndef SHIM_SIGNALS_H
#define SHIM_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * A fault (si_code > 0) at info->si_addr. Runs with all signals blocked, on a stack of its own (256 KiB), errno kept. true: handled, the
 * instruction is run again. false: the application's disposition decides.
 */
typedef bool (*signals_fault)(int signo, const siginfo_t *info, const void *ucontext);

/*
 * For SIGSEGV or SIGBUS. 0, or -errno with *why (a static text): another thread has it blocked (EBUSY), no memory. Taken once: a second call
 * with the same handler does nothing.
 */
int signals_take(int signo, signals_fault fault, const char **why);

/* In a child of fork(), before it makes any of its own: it inherits all that was taken. */
void signals_fork_child(void);

/* The kernel still calls ours: nobody (Go's runtime) has installed his own past our hooks. */
bool signals_held(int signo);

/* The access that faulted was a store; true where the machine does not tell. */
bool signals_is_write(const void *ucontext);

#endif
