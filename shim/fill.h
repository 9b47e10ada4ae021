/*
 * fill: a range of a view as plaintext into a memfd, on all cores.
 *
 * The threads are made for one fill and joined before it returns: none outlives a call, all signals are blocked in them. Each window is
 * decrypted and verified in staging, then written with pwrite(): no page is ever seen half, and none is zeroed only to be overwritten.
 * Windows end where chunks end, so that each chunk is decrypted once.
 */
#ifndef SHIM_FILL_H
#define SHIM_FILL_H

#include <stddef.h>
#include <stdint.h>

#include "views.h"

/* Pages [from, to) that cannot be right: bytes, relative to the range, whole pages. */
struct fill_bad {
	size_t from, to;
};

struct fill_result {
	struct fill_bad *bad; /* in order, disjoint; malloc'ed, the caller's */
	size_t count;
};

/* Writes plaintext of [at, at + len) of the view to memfd from its offset 0 on. 0, or -errno (ENOMEM …). Bad pages are no failure. */
long fill_memfd(struct view *v, int fd, uint64_t at, size_t len, int memfd, struct fill_result *result);

#endif
