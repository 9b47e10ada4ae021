/*
 * base64: strict RFC 4648. One spelling per value: unused bits must be zero, no white space.
 * Thread safe; all but base64_put() pure and signal safe.
 */
#ifndef CT_BASE64_H
#define CT_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum base64_kind {
	BASE64_STD, /* '+' '/', padding required: what files carry */
	BASE64_URL, /* '-' '_', no padding: RFC 7517 key files */
};

/* Length in characters of n encoded bytes. n <= SIZE_MAX / 2. */
size_t base64_encoded_len(enum base64_kind kind, size_t n);

/* Writes base64_encoded_len() characters, no NUL. */
void base64_encode(enum base64_kind kind, const void *src, size_t n, char *dst);

/*
 * Decodes src[0 .. len) into dst (cap bytes). Returns the number of bytes, or -1: not that spelling, or more than cap bytes.
 * dst may be src (decoding in place).
 */
ptrdiff_t base64_decode(enum base64_kind kind, const char *src, size_t len, void *dst, size_t cap);

/* Appends a JSON string: the n bytes in BASE64_STD. */
void base64_put(struct buf *b, const void *src, size_t n);

#endif
