/*
 * uffd: memory filled on touch by userfaultfd(2).
 *
 * A mapping is private anonymous memory, registered for missing pages. Pages are put in place by UFFDIO_COPY, whole, and are the kernel's to
 * drop (MADV_FREE) as long as the application does not write them: they do not go to swap, and fault again. Where they could be written
 * in between, they are write-protected until MADV_FREE is done.
 *
 * Three kinds: full (the kernel's own accesses fault as well: root, CAP_SYS_PTRACE, /dev/userfaultfd, vm.unprivileged_userfaultfd=1); user
 * mode (any user; the kernel's accesses to unfilled pages get EFAULT); and without threads, for children of _Fork() and clone(): the
 * touch raises SIGBUS and the faulting thread fills the page itself.
 *
 * Such memory is not inherited (MADV_DONTFORK), except by the children that our hooks see: a child without a handler would read zeros.
 */
#ifndef SHIM_UFFD_H
#define SHIM_UFFD_H

#include "method.h"

extern const struct method uffd_full, uffd_user;

/*
 * Opens it and tries it on a page. 0, or -errno. threads: false for the kind without. *not_full: 0, the kernel's accesses are served; else why they
 * are not (-errno).
 */
int uffd_start(bool threads, int *not_full);

/* Faults to answer, read by a thread of ours. Waits until there are some, or uffd_interrupt(). Returns their number, -errno when it is over. */
struct uffd_fault {
	uintptr_t addr;
	bool protected; /* a store to a page that is protected until it stands */
};
int uffd_read(struct uffd_fault *faults, int cap, int timeout_ms);
void uffd_interrupt(void);

/* Lets a store to the page go on. false: a flight is over it, which may not have made it clean yet. */
bool uffd_unprotect(const struct range *r, uintptr_t addr);

/* Around a fork that our hooks see, without any lock; in the child after uffd_start(). */
void uffd_fork_before(void);
void uffd_fork_after(void);
void uffd_fork_child(void);

#endif
