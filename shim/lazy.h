/*
 * lazy: memory of the host on its way to the kernel (write, send, read into it, pinning …), where a mapping of a view may have pages that are not
 * filled.
 *
 * lazy_prepare() fills pages of ours in [p, p + len) that the kernel could not fault in by itself; for_write: the kernel will write to
 * them. Memory that is not ours costs a compare. It does nothing where the method in use serves the kernel's faults. errno is kept;
 * signal safe; no failure: a page that cannot be right stays as it is, and the system call gives EFAULT as it should.
 */
#ifndef SHIM_LAZY_H
#define SHIM_LAZY_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* Fills what is ours of [p, p + len), on all cores, as far as it can be right. */
void lazy_fill(const void *p, size_t len);

extern _Atomic bool lazy_unserved; /* some mapping has pages that the kernel cannot fault in */

/* The memory itself is not looked at: what a read is to fill need not be initialized. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#define LAZY_ADDRESS __attribute__((access(none, 1)))
#else
#define LAZY_ADDRESS
#endif

LAZY_ADDRESS void lazy_fill_for_kernel(const void *p, size_t len, bool for_write);

/* A byte of [p, p + len) lies in a mapping with such pages, filled or not. Signal safe, errno is kept. */
LAZY_ADDRESS bool lazy_is(const void *p, size_t len);

/*
 * As much of such memory as should be prepared at once, in bytes, a multiple of the page size and never 0: longer writes go in pieces of it, each
 * filled just before it is written. Well below what may be held at once, since another thread may need as much at the same moment.
 */
size_t lazy_at_once(void);

#define LAZY_TRIES 8

static inline bool lazy_any(void)
{
	return atomic_load_explicit(&lazy_unserved, memory_order_relaxed);
}

LAZY_ADDRESS static inline void lazy_prepare(const void *p, size_t len, bool for_write)
{
	if (lazy_any())
		lazy_fill_for_kernel(p, len, for_write);
}

static inline void lazy_prepare_iov(const struct iovec *iov, size_t count, bool for_write)
{
	for (size_t i = 0; lazy_any() && i < count; i++)
		lazy_fill_for_kernel(iov[i].iov_base, iov[i].iov_len, for_write);
}

/* A call has failed (errno); is it worth to prepare its memory again and repeat it? tries: counts, from 0. */
static inline bool lazy_again(int *tries)
{
	return errno == EFAULT && lazy_any() && ++*tries < LAZY_TRIES;
}

#endif
