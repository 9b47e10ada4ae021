/*
 * memfd: files in memory that mappings are made of. Raw system calls: signal safe.
 */
#ifndef SHIM_MEMFD_H
#define SHIM_MEMFD_H

#include <stddef.h>
#include <stdint.h>

/* A new one, empty, close on exec. The caller closes it. -errno. */
long memfd_new(const char *name);

/* All of [p, p + len) to byte `at`. 0 or -errno. */
long memfd_write(int fd, const void *p, size_t len, uint64_t at);

/* An empty one of the shim's own, opened once (guard.h). -errno. */
long memfd_empty(void);

#endif
