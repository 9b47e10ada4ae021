/*
 * guard: descriptors of our own in the host's process (ciphertext of a mapped file, userfaultfd …), out of its reach.
 *
 * They stand at high numbers, close at exec, and the hooks treat them as not there: close() and dup() of one give EBADF, close_range() and
 * closefrom() go around them, dup2() onto one gives EBADF. (If the host closed one, pages could read as zeros.)
 *
 * Thread and signal safe; a vfork child that closes "everything" closes none of them.
 */
#ifndef SHIM_GUARD_H
#define SHIM_GUARD_H

#include <stdbool.h>

/*
 * Has the kernel make the process's table of descriptors as large as it will have to be, while there is one thread: with more each enlargement
 * waits until all processors have seen it, 10 ms and longer. Without memory or leave, that is so. Some microseconds; for the constructor. A
 * child of a fork inherits the size with the first descriptor of ours; before that a sandbox may forbid it to open anything.
 */
void guard_start(void);

/*
 * Takes fd over: moves it to a high number. Returns the new number, or -errno (EMFILE: the process has all it may have); fd is closed
 * either way. A static table: nothing is allocated, nothing waits. A thread that closes every descriptor at this very moment may
 * still close the new one, as it may close what any open() is about to return.
 */
int guard_add(int fd);
void guard_close(int fd); /* closes one of ours; -1 is allowed */

/* Signal safe and cheap: one atomic load for numbers below all that were ever ours, else two. */
bool guard_is(int fd);

/* One of ours is in [first, last]. */
bool guard_within(unsigned int first, unsigned int last);

/* close_range(first, last, flags) but for ours. As the system call: 0 or -errno. */
long guard_close_range(unsigned int first, unsigned int last, int flags);

#endif
