/*
 * maps: mmap of a view.
 *
 * A mapping is private anonymous memory that holds plaintext: the same to the application as a mapping of a file that nobody writes.
 * It is filled whole, before mmap() returns (eager). The unit of damage is the page: a page with a byte of a damaged chunk, or
 * beyond the end of the file, is an empty memfd's, so that touching it is a true SIGBUS (EFAULT for the kernel's accesses); all other
 * pages are right. Left out of core dumps.
 *
 * This is the interface that other ways of filling will stand behind: who maps sees none of them.
 */
#ifndef SHIM_MAPS_H
#define SHIM_MAPS_H

#include <sys/types.h>

#include "views.h"

/* As mmap(): MAP_FAILED and errno, or the address. `v` is pinned by the caller for the call's time. */
void *maps_map(struct view *v, int fd, void *addr, size_t len, int prot, int flags, off_t at);

#endif
