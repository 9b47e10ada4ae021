/*
 * remaps: the calls that change what addresses mean, on memory of views: as on a mapping of a file that nobody writes.
 *
 * Each is the system call's with its errno, for any range of addresses; what isn't a view's is the kernel's own business. Called
 * only where ranges_near() says so.
 */
#ifndef SHIM_REMAPS_H
#define SHIM_REMAPS_H

#include <stddef.h>
#include <stdbool.h>
#include <sys/types.h>

int remaps_munmap(void *addr, size_t len);
int remaps_mprotect(void *addr, size_t len, int prot);
void *remaps_mremap(void *old, size_t old_len, size_t len, int flags, void *to);
int remaps_madvise(void *addr, size_t len, int advice);
int remaps_mlock(const void *addr, size_t len, bool on_fault);

/* mmap() with MAP_FIXED of something that is no view, over a part. */
void *remaps_mmap_over(void *addr, size_t len, int prot, int flags, int fd, off_t at);

/* mremap() with MREMAP_FIXED of something that is no view's, over a part. */
void *remaps_mremap_over(void *old, size_t old_len, size_t len, int flags, void *to);

#endif
