/*
 * buf: a byte buffer that grows.
 *
 * Invariant: data is NULL or malloc'ed with room for cap bytes; len <= cap. After a failed growth `failed` stays set, further
 * appends do nothing, and the owner checks once at the end. Not for secrets (growing leaves copies behind): see secret.h.
 */
#ifndef CT_BUF_H
#define CT_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *data;
	size_t len, cap;
	bool failed;
};

#define BUF_INIT { NULL, 0, 0, false }

void buf_release(struct buf *b);              /* frees; the struct is as after BUF_INIT */
bool buf_reserve(struct buf *b, size_t more); /* room for `more` bytes after len; false: no memory */
void buf_put(struct buf *b, const void *p, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_put_u64(struct buf *b, uint64_t v); /* plain decimal */

void buf_put_hex(struct buf *b, const void *p, size_t len); /* lower-case, two digits a byte */

/*
 * Appends s[0 .. len) as a JSON string with its quotes. Escapes \" \\ \b \t \n \f \r and other bytes < 0x20 as \u00xx
 * (lower-case hex); '/', 0x7f and non-ASCII stay raw (facts/format.md, "Signature"). s must be valid UTF-8.
 */
void buf_put_json_string(struct buf *b, const void *s, size_t len);

/* A member of a JSON object, up to its colon; the comma before it, unless the object begins here. */
void buf_put_name(struct buf *b, const char *name);

#endif
