/*
 * touch: what follows when a page that is not filled is touched, by whoever notices it: a thread that reads userfaultfd, a signal handler, or
 * somebody who fills for the kernel (lazy.h).
 *
 * Thread and signal safe. What may wait (touch_wait, touch_store, touch_fault) is for the host's threads, never for a thread that has a flight.
 */
#ifndef SHIM_TOUCH_H
#define SHIM_TOUCH_H

#include <signal.h>

#include "ranges.h"
#include "window.h"

/* Answers a touch of a page that r holds: once. again: reading ahead need not follow it, or did already. */
enum window_end touch_once(const struct range *r, uintptr_t addr, bool again);

/* Fills the page of a tensor's first byte before it is touched, where that is to be expected. false: nowhere. */
bool touch_first(void);

/* Until the page is there, or given up, or isn't ours any more. false: it is neither and never will be, another touch would be the same again. */
bool touch_wait(uintptr_t addr, bool again);

/* sigsegv method: stores to the filled page become possible, and to more where they come in order or pieces of memory run short. */
void touch_store(uintptr_t addr);

/*
 * A fault of the host: SIGSEGV of a page that is not filled or not to be written yet; SIGBUS in a child without threads (uffd.h). false: it is
 * not ours. For signals_take().
 */
bool touch_fault(int signo, const siginfo_t *info, const void *context);

uint64_t touch_faults(void); /* that touch_fault() answered, in this process */
void touch_fork_child(void);

#endif
