/*
 * signals_mask: signal masks in two languages, the application's and the kernel's.
 *
 * A taken signal is never blocked in the kernel, since a fault while it is blocked ends the process. That the application has it blocked is written
 * into the kernel's own mask instead, by a stand-in that nobody uses: SIGRTMAX for SIGSEGV, SIGRTMAX - 1 for SIGBUS. So the kernel saves, restores
 * and hands it on with the rest, whatever way the mask goes: siglongjmp(), return from a handler, swapcontext(), new threads, fork; nothing is
 * kept by us that could disagree. A signal that is sent meanwhile waits in the kernel as well, as its stand-in (signals.c).
 *
 * A thread that blocks everything but the faults has the stand-ins blocked, too, and means it. What tells the two apart is SIGSTKFLT, which no
 * kernel sends: a stand-in stands for its signal only while SIGSTKFLT is open.
 *
 *	application                      kernel
 *	SIGSEGV                          SIGRTMAX
 *	all                              all but SIGSEGV, SIGSTKFLT
 *	all but SIGSEGV                  the same
 *	SIGRTMAX                         SIGRTMAX, SIGSTKFLT
 *
 * Lost on the way: whether the application blocks these three as well while it blocks a taken signal. It is told that it does if it blocks the signal
 * next to them.
 *
 * Masks are the kernel's 64 bits: bit n - 1 is signal n. All functions are thread and signal safe and keep errno.
 */
#ifndef SHIM_SIGNALS_MASK_H
#define SHIM_SIGNALS_MASK_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SIGNALS_BIT(signo) (UINT64_C(1) << ((signo) - 1))

#define SIGNALS_FOR_SEGV 64
#define SIGNALS_FOR_BUS 63

extern _Atomic uint64_t signals_mask_taken_bits;

/* The bits of SIGSEGV and SIGBUS that are taken; 0: hooks forward. */
static inline uint64_t signals_mask_taken(void)
{
	return atomic_load_explicit(&signals_mask_taken_bits, memory_order_acquire);
}

/* The stand-in of SIGSEGV or SIGBUS, and back; 0 for other signals. */
int signals_mask_stand_in(int signo);
int signals_mask_stands_for(int signo);

/* All bits in which the two languages differ while `taken` is. */
uint64_t signals_mask_special(uint64_t taken);

uint64_t signals_mask_to_kernel(uint64_t application, uint64_t taken);
uint64_t signals_mask_to_application(uint64_t kernel, uint64_t taken);

/* This thread's mask, which was set while `old` was taken, said anew for what is taken now. */
void signals_mask_adopt(uint64_t old);

/*
 * This thread's mask as the application means it, for exec; signals_mask_adopt(0) undoes it. What waits as a stand-in goes on waiting.
 */
void signals_mask_bare(void);

/*
 * Does another thread of this process block signo, or its stand-in alone? 0; -EBUSY: it stays so for 50 ms (all is blocked for moments, as in
 * pthread_create()); another -errno: /proc does not tell. *why is set then. Our own threads, "ctshim", touch no views and don't count.
 */
long signals_mask_scan(int signo, const char **why);

#endif
