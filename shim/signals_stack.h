/*
 * signals_stack: stacks of our own for fault handlers, since the thread's own or its alternate one may be nearly full.
 *
 * A fixed number is mapped on demand and used again, each 256 KiB above a guard page and left out of core dumps; beyond it they come and go.
 * In a sanitizer build the call is made on the stack that there is: AddressSanitizer takes others for an overflow.
 *
 * Thread and signal safe, lock-free, no malloc. Whoever calls has all signals blocked and comes back: no longjmp() out of `fn`.
 */
#ifndef SHIM_SIGNALS_STACK_H
#define SHIM_SIGNALS_STACK_H

#include <stdatomic.h>
#include <stdint.h>

#define SIGNALS_STACK_SIZE (256u << 10)
#define SIGNALS_STACKS 256 /* kept; a multiple of 64 */

/*
 * Which are in use: all bits clear at first. Lives in memory that a child with memory of its own finds zeroed, as the threads that used them are
 * not there.
 */
struct signals_stack_use {
	_Atomic uint64_t bits[SIGNALS_STACKS / 64];
};

/* Maps the first few, so that the first faults need no memory. 0 or -ENOMEM. */
long signals_stack_prepare(void);

/* fn(arg) on a stack of ours. Waits while there is no memory for one and all are in use. */
void signals_stack_call(struct signals_stack_use *use, void (*fn)(void *), void *arg);

#endif
