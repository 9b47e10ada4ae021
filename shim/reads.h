/*
 * reads: the read family on any descriptor: the kernel's own files go to the real function, views give plaintext.
 *
 * Semantics are the kernel's: full counts short of the end of the file, EFAULT for bad memory, EINVAL for bad arguments. On a damaged
 * chunk the read returns what lies before it, the next one EIO.
 *
 * The offset of an open file description stays the kernel's. read() claims its range by moving it (a relative lseek, which the kernel does in one
 * step) and decrypts after that: sequential reads through one description are disjoint and complete, by threads, by dup'ed descriptors and by
 * processes that share it.
 */
#ifndef SHIM_READS_H
#define SHIM_READS_H

#include <sys/types.h>
#include <sys/uio.h>

#include "views.h"

#define READS_MAX 0x7ffff000u /* bytes that one read of Linux moves at most */

ssize_t reads_read(int fd, void *buf, size_t len);
ssize_t reads_pread(int fd, void *buf, size_t len, off_t at);
ssize_t reads_readv(int fd, const struct iovec *iov, int count);
/* preadv2; at == -1 with by_offset false reads from (and moves) the offset. */
ssize_t reads_preadv(int fd, const struct iovec *iov, int count, off_t at, int flags, int version);

/* For who has the view already: plaintext at `at`; errno and a line on failure. */
ssize_t reads_at(struct view *v, int fd, void *buf, size_t len, uint64_t at);

/* The same at the descriptor's offset, which moves. */
ssize_t reads_next(struct view *v, int fd, void *buf, size_t len);

/* A claim on the next len bytes of the descriptor's offset: returns how many there are, *at where; giving back what was not used, if it can be. */
ssize_t reads_claim(struct view *v, int fd, size_t len, uint64_t *at);
void reads_unclaim(int fd, uint64_t end, uint64_t used_end);

/* One line for a failure in a view; a damaged chunk is reported once. */
void reads_report(struct view *v, uint64_t at, const struct err *err);

#endif
