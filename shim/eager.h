/*
 * eager: a mapping that is filled whole before mmap() returns: the last resort where nothing notices a touch, and CTSHIM_MMAP=eager.
 *
 * It is one of a memfd that holds plaintext, with an empty memfd's pages where a chunk is damaged. Copy-on-write, MADV_DONTNEED, mremap,
 * mprotect, fork and the kernel's accesses are the kernel's own business from then on. Uses malloc and makes threads (fill.h): only in mmap().
 */
#ifndef SHIM_EAGER_H
#define SHIM_EAGER_H

#include "views.h"

/* A memfd with len bytes of plaintext from byte `at` of the file on. */
struct eager {
	int memfd;
	size_t len;
	struct fill_bad *bad; /* malloc'ed */
	size_t bad_count;
};

/* Fills. 0 or -errno (a line was printed where the remedy is not obvious); release either way. */
long eager_make(struct eager *e, struct view *v, int fd, uint64_t at, size_t len);
void eager_release(struct eager *e);

/*
 * Maps it at `base`, an address that is ours to fill, over `whole` bytes (pages behind len raise SIGBUS). No page is wrong at any time, also
 * where MAP_FIXED replaces a mapping in use. 0 or -errno.
 */
long eager_place(const struct eager *e, uintptr_t base, size_t whole, int prot, int flags);

#endif
