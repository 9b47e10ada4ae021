/*
 * pool: the shim's threads: one that reads faults (userfaultfd), and some that decrypt: touched pages first, then what is read ahead.
 *
 * Started with the first lazy mapping, never at load. All signals are blocked in them, they are named "ctshim", they sleep without a
 * timeout when there is nothing to do (under sigsegv, half a second while something is held: who else would see that memory runs short?), and leave when the program's own threads are gone (main() ended by pthread_exit()). They make
 * no call that needs the host's malloc after they have begun, since a thread of the host may wait for them while it holds malloc's locks.
 *
 * They wait in flights_wait(): flights_poke() tells them that there is something to read ahead. A fork child has none of them until pool_start().
 */
#ifndef SHIM_POOL_H
#define SHIM_POOL_H

#include "method.h"

/* faults: there's a userfaultfd to read. 0, or -errno: no thread could be made. Idempotent. */
int pool_start(bool faults);

/* main() calls pthread_exit(). */
void pool_main_leaves(void);

uint64_t pool_faults(void); /* answered so far */

void pool_fork_child(void);

#endif
