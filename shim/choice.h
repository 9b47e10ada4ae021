/*
 * choice: by which method mappings of this process are filled when they are touched.
 *
 * Chosen when the first mapping is made, by trying: userfaultfd in full mode, in user mode, SIGSEGV; none of them, or CTSHIM_MMAP=eager:
 * mappings are filled at once. A child keeps its parent's kind for what it inherited, and chooses anew if that was nothing.
 */
#ifndef SHIM_CHOICE_H
#define SHIM_CHOICE_H

#include "method.h"

/* The method; NULL: none. Chooses at the first call, which makes threads and uses malloc: for mmap(). */
const struct method *choice_method(void);
const char *choice_name(void); /* of what was chosen so far: "none", "eager", "userfaultfd" … */
const char *choice_why(void);  /* why better methods are not in use; "" */

/* A store to a mapping that only looks writable (mapping.store) is to leave a line before its SIGSEGV. */
void choice_explain_stores(void);

/* Before tables are used, where a child may have come past our hooks (clone by an inline system call): makes them sound. Signal safe. */
void choice_check(void);

/* Around fork(), _Fork() and clone(), without any lock. threads: the child may have threads made (not one of _Fork() or clone()). */
void choice_fork_before(void);
void choice_fork_after(void);
void choice_fork_child(bool threads);

#endif
