/*
 * source: ciphertext out of a descriptor, and staging for it, by raw system calls (sys.h). Signal safe; errno is kept.
 */
#ifndef CT_SOURCE_H
#define CT_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* Reads exactly len bytes at `at`. -1: ERR_SYSTEM, or ERR_DAMAGED where the file ends before (it was cut short under us). */
int source_read(int fd, void *buf, size_t len, uint64_t at, struct err *err);

/*
 * The 8 + N header bytes of a file of `size` bytes, not parsed yet: *raw[0 .. *len), which the caller frees (malloc: not signal safe). -1:
 * ERR_FORMAT (no header fits), ERR_DAMAGED, ERR_SYSTEM.
 */
int source_header(int fd, uint64_t size, uint8_t **raw, size_t *len, struct err *err);

/* A private zeroed mapping, left out of core dumps; NULL: no memory. free: NULL is allowed. */
void *source_alloc(size_t len);
void source_free(void *p, size_t len);

#endif
