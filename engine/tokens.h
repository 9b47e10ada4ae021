/* tokens: small questions about scan.h's tokens. i may be any token's number; what lies outside is no token and matches nothing. */
#ifndef CT_ENGINE_TOKENS_H
#define CT_ENGINE_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "scan.h"

struct tokens {
	const char *text;
	const struct scan_token *at;
	size_t count;
};

static inline const struct scan_token *token_at(const struct tokens *t, size_t i)
{
	return i < t->count ? &t->at[i] : NULL;
}

/* The token is exactly this text (no string is: theirs have quotes). */
static inline bool token_is(const struct tokens *t, size_t i, const char *text)
{
	const struct scan_token *k = token_at(t, i);

	return k && k->len == strlen(text) && !memcmp(t->text + k->at, text, k->len);
}

static inline bool token_kind(const struct tokens *t, size_t i, enum scan_kind kind)
{
	return i < t->count && t->at[i].kind == kind;
}

static inline bool token_any(const struct tokens *t, size_t i, const char *const *texts)
{
	for (; *texts; texts++)
		if (token_is(t, i, *texts))
			return true;
	return false;
}

/* A name behind a dot. */
static inline bool token_field(const struct tokens *t, size_t i)
{
	return token_is(t, i - 1, ".");
}

/* The last token of the dotted name that starts at i: a.b.c has c. */
static inline size_t token_path_end(const struct tokens *t, size_t i)
{
	while (token_is(t, i + 1, ".") && token_kind(t, i + 2, SCAN_NAME))
		i += 2;
	return i;
}

static inline bool token_called(const struct tokens *t, size_t last)
{
	return token_is(t, last + 1, "(");
}

#endif
