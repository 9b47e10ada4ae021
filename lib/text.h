/*
 * text: UTF-8 and foreign strings made harmless for people's eyes.
 *
 * Pure functions: no allocation, thread and signal safe.
 */
#ifndef CT_TEXT_H
#define CT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/*
 * Decodes one code point of UTF-8 from s[0 .. len). Returns its length in bytes (1..4) and stores it in *cp, or 0 if the
 * bytes are not well-formed (overlong, surrogate, > U+10FFFF, truncated; RFC 3629).
 */
size_t text_utf8_decode(const void *s, size_t len, uint32_t *cp);

/* Encodes cp (<= U+10FFFF, no surrogate) to dst, which has room for 4 bytes. Returns the length. */
size_t text_utf8_encode(uint32_t cp, void *dst);

/* Length of the run at s[0 .. len) that a JSON string spells as it is: ASCII without control characters, quotes and backslashes. */
size_t text_plain_run(const char *s, size_t len);

/*
 * Writes s[0 .. len) to dst (cap bytes, > 0; always NUL-terminated) so that a terminal or a log cannot be fooled: C0, DEL, C1,
 * bidi controls, line separators and invalid UTF-8 become \xNN or \u{N}, a backslash is doubled. What does not fit is cut and
 * ends in "...". Returns dst.
 */
const char *text_escape(char *dst, size_t cap, const void *s, size_t len);

/* The same with a compound literal's storage, for a printf argument: TEXT(s, len). Lives until the end of the block. */
#define TEXT_MAX 256
#define TEXT(s, len) text_escape((char[TEXT_MAX]){0}, TEXT_MAX, (s), (len))

/* Neither a control character nor one that moves text about on a terminal. */
bool text_is_harmless(uint32_t cp);

/*
 * Appends a JSON string whose value is exactly s, spelled so that a terminal is not fooled: what text_escape() would escape comes as
 * \uXXXX. Bytes that are not UTF-8 (names of files) become \\xNN. This one allocates (buf.h).
 */
void text_json(struct buf *b, const void *s, size_t len);

#endif
