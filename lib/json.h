/*
 * json: strict, streaming reading of one JSON object (RFC 8259), on top of jsmn's tokens.
 *
 * jsmn finds the tokens; this layer refuses what jsmn lets through: anything but white space between tokens and their
 * punctuation, bad UTF-8, raw control characters, lone surrogates, numbers like 03, unknown literals, depth over
 * JSON_DEPTH_MAX, text after the object, NUL bytes. The top-level object is walked member by member through a window of tokens
 * that holds one member at a time, so a header of 100,000,000 bytes needs no memory in proportion to its tokens.
 *
 *     struct json j;
 *     struct json_member m;
 *     int r;
 *     json_begin(&j, text, len);
 *     while ((r = json_next(&j, &m, err)) > 0)
 *             … m.key is a string token, m.value its value: valid until the next json_next() …
 *     json_release(&j);
 *
 * Duplicate keys: at the top level the caller's business (the number of members has no bound here); in nested objects
 * json_get() refuses a second member of the name that is asked for. Not thread safe per struct; text stays the caller's and
 * must outlive the struct.
 */
#ifndef CT_JSON_H
#define CT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define JSON_DEPTH_MAX 64          /* nesting below the top-level object */
#define JSON_MEMBER_TOKENS_MAX (1u << 22) /* values inside one top-level member */
#define JSON_LEN_MAX 0x7ffffff0u   /* bytes: jsmn counts in int */

enum json_type { JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL };

struct json_token; /* jsmn's, seen by json.c alone */

struct json {
	const char *text;
	size_t len, pos;           /* pos: everything before it is checked */
	struct json_token *tokens; /* the window; token 0 is the top-level object */
	unsigned int cap;          /* tokens allocated */
	unsigned int member, limit; /* first token of the current member, first one behind it */
	struct {
		unsigned int pos, toknext;
		int toksuper;
	} jsmn;         /* the tokenizer's state between two windows */
	bool tokenized; /* the whole text was seen */
};

struct json_member {
	int key, value; /* token numbers, for the functions below */
};

void json_begin(struct json *j, const char *text, size_t len);
void json_release(struct json *j);

/* Next member of the top-level object: 1, or 0 at its (clean) end, or -1 with ERR_FORMAT / ERR_SYSTEM (ENOMEM). */
int json_next(struct json *j, struct json_member *m, struct err *err);

enum json_type json_type(const struct json *j, int tok);

/* The raw text of a token: of a string without its quotes, escapes as they stand. */
const char *json_raw(const struct json *j, int tok, size_t *len);

/*
 * Unescapes a string token to dst, which must have room for its raw length (unescaping never grows). Returns the length.
 * dst may be NULL to ask for the length alone. The token was validated before: this cannot fail.
 */
size_t json_unescape(const struct json *j, int tok, char *dst);

/* True if the string token's value is exactly s. */
bool json_is(const struct json *j, int tok, const char *s);

/* A number token as u64: plain decimal digits without sign, fraction, exponent or leading zero. false: anything else. */
bool json_u64(const struct json *j, int tok, uint64_t *v);

/* Number of elements of an array, or of members of an object. */
size_t json_size(const struct json *j, int tok);

/*
 * Children: first element of an array / first key of an object, or -1. The sibling after a child, or -1. For objects these
 * walk the keys; json_value() gives a key's value.
 */
int json_first(const struct json *j, int tok);
int json_sibling(const struct json *j, int tok);
int json_value(const struct json *j, int key);

/* The value of member `name` in object `tok`: its token, -1 if there is none, -2 if it is there twice. */
int json_get(const struct json *j, int tok, const char *name);

#endif
