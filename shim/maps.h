/*
 * maps: mmap of a view.
 *
 * Pages are filled when they are touched (choice.h); where no method for that works, or CTSHIM_MMAP=eager, the mapping is one of a memfd that is
 * filled whole before mmap() returns (eager.h). Either way it is to the application what a mapping of a file is that nobody writes. The
 * unit of damage is the page: one with a byte of a damaged chunk is an empty file's, so that touching it is a true SIGBUS (EFAULT for the
 * kernel's accesses); all other pages are right. Left out of core dumps.
 */
#ifndef SHIM_MAPS_H
#define SHIM_MAPS_H

#include <sys/types.h>

#include "views.h"

/* As mmap(): MAP_FAILED and errno, or the address. `v` is pinned by the caller for the call's time. */
void *maps_map(struct view *v, int fd, void *addr, size_t len, int prot, int flags, off_t at);

/*
 * How mappings of this process are filled, or the first one would be, found by trying: "userfaultfd", "userfaultfd-user", "sigsegv" or "eager"
 * (static storage). why: one line with the reasons for which better methods are not in use; "" if there are none.
 */
const char *maps_method(char *why, size_t cap);

#endif
