/*
 * areas: address space becomes memory of a view that is filled on touch, and ceases to be.
 *
 * For mmap() (maps.h) and for the calls that change what is mapped (remaps.h). Only where a method is in use (method.h). Thread safe; none of
 * it is called with a flight or during a change of the same addresses, but areas_forget().
 */
#ifndef SHIM_AREAS_H
#define SHIM_AREAS_H

#include "ranges.h"

/* Address space for len bytes: a reservation at, or near, `at`; with MAP_FIXED in flags `at` itself, untouched. -errno. */
long areas_reserve(uintptr_t at, size_t len, int flags);

/* A mapping of len bytes (whole pages) of the view from byte `at` on, with one reference; its descriptor is views_source()'s. NULL: no memory. */
struct mapping *areas_mapping(struct view *v, int type, uint64_t at, size_t len);

/* len bytes of m's file from byte `at` on come to stand at `base`: a reservation of ours, or what MAP_FIXED replaces. 0 or -errno. */
long areas_put(struct mapping *m, uintptr_t base, uint64_t at, size_t len, int prot);

/* The same as a mapping of its own, at `to` (0: anywhere; else what is there is replaced). The address, or -errno. */
long areas_again(struct mapping *m, uintptr_t to, uint64_t at, size_t len, int prot);

/* During a change: no range is there any more, nothing of it is held. 0 or -ENOMEM: too many pieces, nothing was done. */
long areas_forget(uintptr_t from, uintptr_t to);

#endif
