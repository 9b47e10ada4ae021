/*
 * method: a way to have memory that is filled on touch.
 *
 * A method says when a touch of an unfilled page is noticed, and puts verified pages in place whole: no thread ever sees a page half, zero, or
 * as ciphertext. What is decrypted when is the same for all (touch.h). Which one is in use is decided once a process (choice.h).
 *
 * All may be called by any thread, and but for start() in a signal handler.
 */
#ifndef SHIM_METHOD_H
#define SHIM_METHOD_H

#include "ranges.h"

struct method {
	const char *name;     /* as CTSHIM_STATS and ct doctor say it */
	bool serves_kernel;   /* the kernel's own accesses fault pages in */
	bool kernel_drops;    /* the kernel takes pages back that the application has not written */

	/* Windows should have as many bytes at least; NULL: a page. */
	size_t (*least)(void);

	/*
	 * Unfilled memory for r (base, len, prot, mapping) in place of what is there, which is a reservation of ours or what MAP_FIXED
	 * replaces. 0 or -errno.
	 */
	long (*reserve)(const struct range *r);

	/* Puts pages [from, to) of the file (src: their plaintext) into r. Pages that are there already stay as they are. Returns
	 * the bytes that are new, or -errno. */
	long (*place)(const struct range *r, uint64_t from, uint64_t to, const uint8_t *src);

	/* The pages of [from, to) are all there already. */
	bool (*present)(const struct range *r, uint64_t from, uint64_t to);

	/* A flight over these pages ended: who waits for one of them looks again. */
	void (*wake)(const struct range *r, uint64_t from, uint64_t to);

	/* Gives pages of [from, to) back that the application has not written; they fault again. all: written ones too (MADV_DONTNEED). */
	long (*drop)(const struct range *r, uint64_t from, uint64_t to, bool all);

	/* mprotect() of the whole of r (r->prot is the new one). 0 or -errno. */
	long (*protect)(const struct range *r);

	/* The application stores to the page: makes filled pages of [from, to) writable where the method keeps them from being so. */
	void (*writable)(const struct range *r, uint64_t from, uint64_t to);

	/* Makes memory at `to`, a reservation of ours, what r is: what the application has written moves there. r is unmapped, by each part once:
	 * another thread may have the addresses at once. 0 or -errno. */
	long (*move)(const struct range *r, const struct range *to);
};

/* The method in use; NULL: none. choice.c sets it, before there are ranges or threads. */
const struct method *method_now(void);
void method_use(const struct method *m);

/* Maps an empty file there: touching it is a true SIGBUS (BUS_ADRERR), EFAULT for the kernel. 0 or -errno. */
long method_map_empty(uintptr_t base, size_t len, int prot, uint64_t at);

#endif
