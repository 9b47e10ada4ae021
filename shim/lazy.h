/*
 * lazy: memory of views that is filled when it is touched.
 *
 * lazy_prepare() is for who hands memory of the host to the kernel (write, send, read into it, pinning …): pages of ours in
 * [p, p + len) that the kernel could not fault in by itself are filled first; for_write: the kernel will write to them. Memory that is not
 * ours costs a compare. It does nothing where the method in use serves the kernel's faults. errno is kept; signal safe; no
 * failure: a page that cannot be right stays as it is, and the system call gives EFAULT as it should.
 */
#ifndef SHIM_LAZY_H
#define SHIM_LAZY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

extern _Atomic bool lazy_unserved; /* some mapping has pages that the kernel cannot fault in */

void lazy_fill_for_kernel(const void *p, size_t len, bool for_write);

static inline void lazy_prepare(const void *p, size_t len, bool for_write)
{
	if (atomic_load_explicit(&lazy_unserved, memory_order_relaxed))
		lazy_fill_for_kernel(p, len, for_write);
}

#endif
