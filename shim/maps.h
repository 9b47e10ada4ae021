/*
 * maps: mmap of a view.
 *
 * A mapping is one of a memfd that holds plaintext: to the application the same as a mapping of a file that nobody writes
 * (copy-on-write, MADV_DONTNEED, mremap, mprotect, fork, SIGBUS behind the end are the kernel's own). It is filled whole before mmap()
 * returns (fill.h). The unit of damage is the page: a page with a byte of a damaged chunk is an empty memfd's, so that touching it
 * is a true SIGBUS (EFAULT for the kernel's accesses); all other pages are right. Left out of core dumps.
 *
 * This is the interface that other ways of filling will stand behind: who maps sees none of them.
 */
#ifndef SHIM_MAPS_H
#define SHIM_MAPS_H

#include <sys/types.h>

#include "views.h"

/* As mmap(): MAP_FAILED and errno, or the address. `v` is pinned by the caller for the call's time. */
void *maps_map(struct view *v, int fd, void *addr, size_t len, int prot, int flags, off_t at);

/*
 * How a first mapping would be filled here, found by trying: "userfaultfd", "userfaultfd-user", "sigsegv" or "eager" (static storage).
 * why: one line with the reasons for which better methods are not in use; "" if there are none.
 */
const char *maps_method(char *why, size_t cap);

#endif
