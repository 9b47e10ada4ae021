#include "scan.h"

#include <string.h>

#include "text.h"

struct scanner {
	const char *text;
	size_t len, pos;
	struct scan_token *tokens;
	uint32_t count;
	uint32_t open[SCAN_DEPTH_MAX];
	size_t depth;
};

static int bad(const struct scanner *s, size_t at, struct err *err, const char *what)
{
	size_t line = 1;

	for (size_t i = 0; i < at && i < s->len; i++)
		line += s->text[i] == '\n';
	return err_set(err, ERR_FORMAT, "line %zu: %s", line, what);
}

static bool name_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Everywhere, in comments and strings too. */
static int check_bytes(const struct scanner *s, struct err *err)
{
	for (size_t i = 0; i < s->len;) {
		uint32_t cp;
		size_t n = text_utf8_decode(s->text + i, s->len - i, &cp);

		if (!n)
			return bad(s, i, err, "not UTF-8");
		if (cp == '\r' && (i + 1 == s->len || s->text[i + 1] != '\n'))
			return bad(s, i, err, "a carriage return that does not end a line");
		if ((cp < 0x20 && cp != '\t' && cp != '\n' && cp != '\r') || cp == 0x7f)
			return bad(s, i, err, cp ? "a control character" : "a NUL");
		i += n;
	}
	return 0;
}

/* The length of the string that starts at pos, quotes included, or -1. */
static long string_length(const struct scanner *s, struct err *err)
{
	size_t i = s->pos + 1;
	char quote = s->text[s->pos];

	for (; i < s->len && s->text[i] != quote; i++) {
		char c = s->text[i], next = i + 1 < s->len ? s->text[i + 1] : '\0';

		if (quote == '"' && (c == '\n' || c == '\r'))
			break;
		if (c != '\\')
			continue;
		if (next == 'u')
			return bad(s, i, err, "\\u, which this engine does not decode: write the character itself");
		if (quote == '`')
			continue;
		if (next == '/')
			return bad(s, i, err, "\\/, which this engine does not decode: write /");
		if (!next || !strchr("\"\\bfnrt", next))
			return bad(s, i, err, "an escape that does not exist");
		i++;
	}
	if (i >= s->len || s->text[i] != quote)
		return bad(s, s->pos, err, "a string without an end");
	return (long)(i + 1 - s->pos);
}

/* Digits with fraction and exponent. A name glued to it is a token of its own, so that none hides in a number. */
static size_t number_length(const struct scanner *s)
{
	const char *p = s->text + s->pos, *end = s->text + s->len, *exponent;

	while (p < end && digit(*p))
		p++;
	if (end - p >= 2 && *p == '.' && digit(p[1]))
		for (p++; p < end && digit(*p); p++)
			;
	if (p < end && (*p == 'e' || *p == 'E')) {
		exponent = p + 1;
		if (exponent < end && (*exponent == '+' || *exponent == '-'))
			exponent++;
		if (exponent < end && digit(*exponent))
			for (p = exponent; p < end && digit(*p); p++)
				;
	}
	return (size_t)(p - s->text) - s->pos;
}

static size_t sign_length(const struct scanner *s)
{
	static const char *const two[] = { ":=", "==", "!=", "<=", ">=" };

	for (size_t i = 0; i < sizeof two / sizeof *two; i++)
		if (s->len - s->pos >= 2 && !memcmp(s->text + s->pos, two[i], 2))
			return 2;
	return 1;
}

/* The token's place in the tree of brackets. */
static int place(struct scanner *s, struct scan_token *t, struct err *err)
{
	static const char opens[] = "([{", closes[] = ")]}";
	char c = s->text[t->at];
	const char *o = t->kind == SCAN_SIGN ? strchr(opens, c) : NULL;
	const char *e = t->kind == SCAN_SIGN ? strchr(closes, c) : NULL;

	t->pair = SCAN_NONE;
	if (e) {
		struct scan_token *other = s->depth ? &s->tokens[s->open[s->depth - 1]] : NULL;

		if (!other || s->text[other->at] != opens[e - closes])
			return bad(s, t->at, err, "brackets that do not match");
		t->pair = s->open[--s->depth];
		other->pair = s->count;
	}
	t->in = s->depth ? s->open[s->depth - 1] : SCAN_NONE;
	if (o) {
		if (s->depth == SCAN_DEPTH_MAX)
			return bad(s, t->at, err, "brackets nested too deeply");
		s->open[s->depth++] = s->count;
	}
	return 0;
}

static int token(struct scanner *s, struct scan_token *t, struct err *err)
{
	char c = s->text[s->pos];
	long n;

	if (name_char(c, true)) {
		t->kind = SCAN_NAME;
		for (n = 1; s->pos + (size_t)n < s->len && name_char(s->text[s->pos + (size_t)n], false); n++)
			;
	} else if (digit(c)) {
		t->kind = SCAN_NUMBER;
		n = (long)number_length(s);
	} else if (c == '"' || c == '`') {
		t->kind = c == '"' ? SCAN_STRING : SCAN_RAW;
		n = string_length(s, err);
		if (n < 0)
			return -1;
	} else if (strchr("()[]{}<>=!:+-*/%&|.,;", c)) {
		t->kind = SCAN_SIGN;
		n = (long)sign_length(s);
	} else {
		return bad(s, s->pos, err, "a character that Rego does not have there");
	}
	t->at = (uint32_t)s->pos;
	t->len = (uint32_t)n;
	s->pos += (size_t)n;
	return place(s, t, err);
}

/* Over blanks and comments. Stores whether a line ended. */
static void skip(struct scanner *s, bool *line)
{
	for (; s->pos < s->len; s->pos++) {
		char c = s->text[s->pos];

		if (c == '#')
			while (s->pos < s->len && s->text[s->pos] != '\n')
				s->pos++;
		if (s->pos == s->len || !strchr(" \t\r\n", s->text[s->pos]))
			break;
		*line |= s->text[s->pos] == '\n';
	}
}

long scan_policy(const char *text, size_t len, struct scan_token *tokens, struct err *err)
{
	struct scanner s = { .text = text, .len = len, .tokens = tokens };

	if (check_bytes(&s, err))
		return -1;
	for (bool line = true;; line = false) {
		struct scan_token *t = &tokens[s.count];
		size_t before = s.pos;
		bool dot;

		skip(&s, &line);
		if (s.pos == len)
			break;
		t->glued = s.pos == before && before > 0;
		t->first = line;
		dot = text[s.pos] == '.' || (s.count && text[tokens[s.count - 1].at] == '.');
		if (dot && !t->glued)
			return bad(&s, s.pos, err, "a dot with blanks beside it");
		if (token(&s, t, err))
			return -1;
		s.count++;
	}
	if (s.depth)
		return bad(&s, tokens[s.open[s.depth - 1]].at, err, "a bracket that is never closed");
	return (long)s.count;
}

void scan_blank(char *text, size_t len, const struct scan_token *tokens, long count)
{
	size_t at = 0;

	for (long i = 0; i <= count; i++) {
		size_t end = i < count ? tokens[i].at : len;

		for (; at < end; at++)
			if (text[at] != '\n')
				text[at] = ' ';
		at = i < count ? end + tokens[i].len : len;
	}
}
