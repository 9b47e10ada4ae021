/*
 * scan: the tokens of a Rego policy, for the questions that screen.c asks of its text.
 *
 * Not a parser. Where the engine's reader might see other tokens than this one does (a lone carriage return, control characters, non-ASCII
 * outside of strings, template strings, blanks beside a dot), the text is refused, so that nothing hides in a comment or a string that
 * is none for the engine. Pure, thread safe.
 */
#ifndef CT_ENGINE_SCAN_H
#define CT_ENGINE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define SCAN_DEPTH_MAX 200 /* brackets in brackets */
#define SCAN_NONE UINT32_MAX

enum scan_kind { SCAN_NAME, SCAN_NUMBER, SCAN_STRING, SCAN_RAW, SCAN_SIGN };

struct scan_token {
	uint32_t at, len; /* in the text; strings with their quotes */
	uint32_t in;      /* the innermost bracket around it: token number of the opening one, or SCAN_NONE */
	uint32_t pair;    /* of a bracket: the other one */
	uint8_t kind;
	bool glued; /* nothing stands between it and the token before */
	bool first; /* the first one of its line */
};

/*
 * tokens has room for len of them. Returns how many there are, or -1 with ERR_FORMAT: not UTF-8, a NUL, brackets that do not match or
 * stand deeper than SCAN_DEPTH_MAX, a string without an end, an escape that the engine does not decode, what is named above.
 */
long scan_policy(const char *text, size_t len, struct scan_token *tokens, struct err *err);

/*
 * Blanks in place of all that is no token: the engine stumbles over comments in some places, and sees none where we saw none. Line ends stay.
 */
void scan_blank(char *text, size_t len, const struct scan_token *tokens, long count);

#endif
