/*
 * secret: key bytes, and the only type that holds them.
 *
 * A secret lives in pages of its own: locked into memory where the limits allow, left out of core dumps, and wiped by
 * secret_free(), which is the only way to release one. Never copy its bytes into another kind of memory that outlives the
 * call; never log them. Owner: whoever called secret_new(), unless a header says that ownership passes.
 */
#ifndef CT_SECRET_H
#define CT_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct secret {
	uint8_t *data; /* len bytes, zeroed at first */
	size_t len;
	bool locked; /* mlock succeeded */
};

/* A zeroed secret of len bytes (len 0 is allowed). NULL: no memory. */
struct secret *secret_new(size_t len);

/* secret_new() plus a copy of src[0 .. len). The caller wipes src. */
struct secret *secret_copy(const void *src, size_t len);

/* Wipes and releases. NULL is allowed. errno is kept. */
void secret_free(struct secret *s);

/* Wipes plain memory in a way that the compiler keeps (keys on the stack, parser buffers). */
void secret_wipe(void *p, size_t len);

/* True if a and b hold the same bytes; constant time for equal lengths. */
bool secret_equal(const struct secret *a, const struct secret *b);

#endif
