/*
 * secret: key bytes, and the only type that holds them.
 *
 * A secret lives in pages of its own: locked into memory where the limits allow, left out of core dumps, and wiped by
 * secret_free(), which is the only way to release one. A hidden one (memfd_secret) has pages that the kernel itself does not map: neither
 * /proc/PID/mem nor ptrace reads them, for root neither. Never copy its bytes into another kind of memory that outlives the
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
	bool locked; /* never swapped: mlock succeeded, or hidden */
	bool hidden;
};

/* A zeroed secret of len bytes (len 0 is allowed). NULL: no memory. */
struct secret *secret_new(size_t len);

/*
 * The same in hidden pages where the kernel has them and RLIMIT_MEMLOCK allows it, else as secret_new() makes it. For few, long-lived ones: each takes
 * pages out of the kernel's own map, and while there is one the machine does not hibernate.
 */
struct secret *secret_new_hidden(size_t len);

/* Moves s to hidden pages and releases it; where there are none, returns s as it was. Ownership of s passes. */
struct secret *secret_hide(struct secret *s);

/* secret_new() plus a copy of src[0 .. len). The caller wipes src. */
struct secret *secret_copy(const void *src, size_t len);

/* Wipes and releases. NULL is allowed. errno is kept. */
void secret_free(struct secret *s);

/* Wipes plain memory in a way that the compiler keeps (keys on the stack, parser buffers). */
void secret_wipe(void *p, size_t len);

/* True if a and b hold the same bytes; constant time for equal lengths. */
bool secret_equal(const struct secret *a, const struct secret *b);

#endif
