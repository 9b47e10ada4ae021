#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS /* without them jsmn is quadratic */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include <jsmn.h>
#pragma GCC diagnostic pop

struct json_token {
	jsmntok_t t;
};

#define FIRST_WINDOW 256u /* tokens */

static int malformed(struct err *err, size_t at, const char *what)
{
	return err_set(err, ERR_FORMAT, "malformed JSON at byte %zu: %s", at, what);
}

void json_begin(struct json *j, const char *text, size_t len)
{
	*j = (struct json){ .text = text, .len = len };
	jsmn_parser p;
	jsmn_init(&p);
	j->jsmn.pos = p.pos;
	j->jsmn.toknext = p.toknext;
	j->jsmn.toksuper = p.toksuper;
}

void json_release(struct json *j)
{
	free(j->tokens);
	j->tokens = NULL;
}

/* ---- the window ---- */

static int grow(struct json *j, struct err *err)
{
	unsigned int cap = j->cap ? j->cap * 2 : FIRST_WINDOW;
	if (cap > JSON_MEMBER_TOKENS_MAX)
		return malformed(err, j->pos, "too many values in one member");
	struct json_token *t = realloc(j->tokens, cap * sizeof *t);
	if (!t)
		return err_sys(err, ENOMEM, "reading JSON");
	j->tokens = t;
	j->cap = cap;
	return 0;
}

/* Drops the tokens of members that were consumed: those from `member` on move down, behind the top-level object. */
static int shift(struct json *j, struct err *err)
{
	unsigned int by = j->member - 1;
	int first = (int)j->member;
	for (unsigned int i = j->member; i < j->jsmn.toknext; i++) {
		struct json_token *t = &j->tokens[i - by];
		*t = j->tokens[i];
		if (t->t.parent >= first)
			t->t.parent -= (int)by;
		else if (t->t.parent > 0)
			return malformed(err, (size_t)t->t.start, "expected a comma");
	}
	if (j->jsmn.toksuper >= first)
		j->jsmn.toksuper -= (int)by;
	else if (j->jsmn.toksuper > 0)
		return malformed(err, j->pos, "expected a comma");
	j->jsmn.toknext -= by;
	j->member = 1;
	return 0;
}

/* Lets jsmn go on: more tokens behind those of the current member. */
static int tokenize(struct json *j, struct err *err)
{
	if (j->tokens && j->member > 1) {
		if (shift(j, err) < 0)
			return -1;
	} else if (grow(j, err) < 0) {
		return -1;
	}
	jsmn_parser p = { j->jsmn.pos, j->jsmn.toknext, j->jsmn.toksuper };
	int r = jsmn_parse(&p, j->text, j->len, (jsmntok_t *)j->tokens, j->cap);
	j->jsmn.pos = p.pos;
	j->jsmn.toknext = p.toknext;
	j->jsmn.toksuper = p.toksuper;
	if (r == JSMN_ERROR_NOMEM)
		return 0;
	if (r == JSMN_ERROR_INVAL)
		return malformed(err, p.pos, "unexpected character");
	if (p.pos < j->len)
		return malformed(err, p.pos, j->text[p.pos] ? "a value that does not end" : "NUL byte");
	if (r < 0)
		return malformed(err, j->len, "the text ends too early");
	j->tokenized = true;
	return 0;
}

/* First token behind the member that begins at j->member, or 0 if the window does not tell yet. */
static unsigned int member_end(const struct json *j)
{
	unsigned int i = j->member + 1;
	while (i < j->jsmn.toknext && j->tokens[i].t.parent > 0)
		i++;
	return i < j->jsmn.toknext || j->tokenized ? i : 0;
}

/* ---- strictness: what stands between and inside the tokens ---- */

static size_t skip_space(const struct json *j, size_t at, size_t end)
{
	while (at < end && (j->text[at] == ' ' || j->text[at] == '\t' || j->text[at] == '\n' || j->text[at] == '\r'))
		at++;
	return at;
}

/* White space, `mark` (0: none), white space must fill [j->pos, end); j->pos moves to end. */
static bool gap(struct json *j, size_t end, char mark)
{
	j->pos = skip_space(j, j->pos, end);
	if (mark) {
		if (j->pos >= end || j->text[j->pos] != mark)
			return false;
		j->pos = skip_space(j, j->pos + 1, end);
	}
	return j->pos == end;
}

static int hex4(const char *s)
{
	int v = 0;
	for (int i = 0; i < 4; i++) {
		char c = s[i];
		int d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* One character of a string, escapes resolved: its raw length, or 0 if malformed. */
static size_t string_char(const char *s, size_t len, uint32_t *cp)
{
	if (s[0] != '\\') {
		if ((unsigned char)s[0] < 0x20)
			return 0;
		return text_utf8_decode(s, len, cp);
	}
	if (len < 2)
		return 0;
	static const char brief[256] = { ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t' };
	*cp = (uint32_t)brief[(unsigned char)s[1]];
	if (*cp)
		return 2;
	int hi = s[1] == 'u' && len >= 6 ? hex4(s + 2) : -1;
	if (hi < 0 || (hi >= 0xdc00 && hi <= 0xdfff))
		return 0;
	*cp = (uint32_t)hi;
	if (hi < 0xd800 || hi > 0xdbff)
		return 6;
	int lo = len >= 12 && s[6] == '\\' && s[7] == 'u' ? hex4(s + 8) : -1;
	if (lo < 0xdc00 || lo > 0xdfff)
		return 0;
	*cp = 0x10000 + (((uint32_t)hi - 0xd800) << 10) + ((uint32_t)lo - 0xdc00);
	return 12;
}

static size_t digits(const char *s, size_t len)
{
	size_t i = 0;
	while (i < len && s[i] >= '0' && s[i] <= '9')
		i++;
	return i;
}

static bool number_valid(const char *s, size_t len)
{
	size_t i = len > 0 && s[0] == '-' ? 1 : 0;
	size_t n = digits(s + i, len - i);
	if (n == 0 || (n > 1 && s[i] == '0'))
		return false;
	i += n;
	if (i < len && s[i] == '.') {
		n = digits(s + i + 1, len - i - 1);
		if (n == 0)
			return false;
		i += 1 + n;
	}
	if (i < len && (s[i] == 'e' || s[i] == 'E')) {
		i++;
		if (i < len && (s[i] == '+' || s[i] == '-'))
			i++;
		n = digits(s + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return i == len;
}

static bool scalar_valid(const struct json *j, const jsmntok_t *t)
{
	const char *s = j->text + t->start;
	size_t len = (size_t)(t->end - t->start);
	if (t->type == JSMN_STRING) /* check_text() */
		return true;
	switch (s[0]) {
	case 't':
		return len == 4 && memcmp(s, "true", 4) == 0;
	case 'f':
		return len == 5 && memcmp(s, "false", 5) == 0;
	case 'n':
		return len == 4 && memcmp(s, "null", 4) == 0;
	default:
		return number_valid(s, len);
	}
}

static const jsmntok_t *tok_at(const struct json *j, int i)
{
	return &j->tokens[i].t;
}

static int container_of(const struct json *j, int i)
{
	int p = tok_at(j, i)->parent;
	return p > 0 && tok_at(j, p)->type == JSMN_STRING ? tok_at(j, p)->parent : p;
}

/*
 * Checks the tokens [member, limit) and everything between them; j->pos moves behind the member. `cur` is the container
 * that the text is in, `filled` whether it has had a child.
 */
static int check_member(struct json *j, struct err *err)
{
	int cur = 0, depth = 0;
	bool filled = j->pos > (size_t)tok_at(j, 0)->start + 1;
	for (int i = (int)j->member; i < (int)j->limit; i++) {
		const jsmntok_t *t = tok_at(j, i);
		bool string = t->type == JSMN_STRING;
		for (; cur && t->start > tok_at(j, cur)->end; cur = container_of(j, cur), depth--) {
			if (!gap(j, (size_t)tok_at(j, cur)->end - 1, 0))
				return malformed(err, j->pos, "expected the end of an object or array");
			j->pos++;
			filled = true;
		}
		size_t start = (size_t)t->start - string;
		bool in_object = tok_at(j, cur)->type == JSMN_OBJECT;
		if (t->parent != cur) { /* the value of a key */
			if (t->parent != i - 1 || !in_object || tok_at(j, i - 1)->parent != cur || !gap(j, start, ':'))
				return malformed(err, j->pos, "expected a key, a colon and one value");
		} else {
			if (!gap(j, start, filled ? ',' : 0))
				return malformed(err, j->pos, filled ? "expected a comma" : "expected a value");
			if (in_object && (!string || i + 1 >= (int)j->limit || tok_at(j, i + 1)->parent != i))
				return malformed(err, j->pos, "expected a key and its value");
		}
		if (t->type == JSMN_OBJECT || t->type == JSMN_ARRAY) {
			if (++depth > JSON_DEPTH_MAX)
				return malformed(err, start, "nested too deeply");
			cur = i;
			filled = false;
			j->pos = start + 1;
		} else {
			if (!scalar_valid(j, t))
				return malformed(err, start, "bad literal");
			filled = true;
			j->pos = (size_t)t->end + string;
		}
	}
	for (; cur; cur = container_of(j, cur)) {
		if (!gap(j, (size_t)tok_at(j, cur)->end - 1, 0))
			return malformed(err, j->pos, "expected the end of an object or array");
		j->pos++;
	}
	return 0;
}

/* The string whose first character is at `at`: the end of it, behind its quote, or 0. One that does not end is left to jsmn. */
static size_t string_end(const struct json *j, size_t at, struct err *err)
{
	while (at < j->len) {
		uint32_t cp;
		size_t n = text_plain_run(j->text + at, j->len - at);
		at += n;
		if (at == j->len || j->text[at] == '"')
			break;
		n = string_char(j->text + at, j->len - at, &cp);
		if (n == 0) {
			malformed(err, at, "bad string (UTF-8, escape or control character)");
			return 0;
		}
		at += n;
	}
	return at + 1;
}

/*
 * What is looked at in the whole text before jsmn sees it. Depth: jsmn walks up from the last token at each closing bracket, so its time goes with
 * the square of it. Strings: what is between their quotes, in one pass and not once more for each token. Where the text is well-formed, strings
 * are the same here and there; what else is wrong with it is found by those who come after.
 */
static int check_text(const struct json *j, struct err *err)
{
	unsigned int depth = 0;

	for (size_t at = 0; at < j->len;) {
		char c = j->text[at++];
		if (c == '[' || c == '{') {
			if (++depth > JSON_DEPTH_MAX + 1)
				return malformed(err, at - 1, "nested too deeply");
		} else if (c == ']' || c == '}') {
			depth -= depth > 0;
		} else if (c == '"') {
			at = string_end(j, at, err);
			if (at == 0)
				return -1;
		}
	}
	return 0;
}

static int check_begin(struct json *j, struct err *err)
{
	if (j->len > JSON_LEN_MAX)
		return malformed(err, 0, "too long");
	j->pos = skip_space(j, 0, j->len);
	if (j->pos == j->len || j->text[j->pos] != '{')
		return malformed(err, j->pos, "expected an object");
	if (check_text(j, err) < 0 || tokenize(j, err) < 0)
		return -1;
	j->pos++;
	j->limit = 1;
	return 0;
}

/* After the last member: the closing brace, white space, nothing else. */
static int check_end(struct json *j, struct err *err)
{
	const jsmntok_t *root = tok_at(j, 0);
	if (j->limit < j->jsmn.toknext)
		return malformed(err, j->pos, "text after the object");
	if (!gap(j, (size_t)root->end - 1, 0))
		return malformed(err, j->pos, "expected the end of the object");
	j->pos++;
	if (!gap(j, j->len, 0))
		return malformed(err, j->pos, "text after the object");
	j->pos = j->len;
	return 0;
}

int json_next(struct json *j, struct json_member *m, struct err *err)
{
	if (!j->tokens && check_begin(j, err) < 0)
		return -1;
	j->member = j->limit;
	unsigned int end;
	while ((end = member_end(j)) == 0)
		if (tokenize(j, err) < 0)
			return -1;
	if (j->member >= j->jsmn.toknext || tok_at(j, (int)j->member)->parent != 0)
		return check_end(j, err);
	j->limit = end;
	if (check_member(j, err) < 0)
		return -1;
	m->key = (int)j->member;
	m->value = m->key + 1;
	return 1;
}

/* ---- looking at tokens ---- */

enum json_type json_type(const struct json *j, int tok)
{
	const jsmntok_t *t = tok_at(j, tok);
	if (t->type == JSMN_OBJECT)
		return JSON_OBJECT;
	if (t->type == JSMN_ARRAY)
		return JSON_ARRAY;
	if (t->type == JSMN_STRING)
		return JSON_STRING;
	char c = j->text[t->start];
	return c == 't' ? JSON_TRUE : c == 'f' ? JSON_FALSE : c == 'n' ? JSON_NULL : JSON_NUMBER;
}

const char *json_raw(const struct json *j, int tok, size_t *len)
{
	const jsmntok_t *t = tok_at(j, tok);
	*len = (size_t)(t->end - t->start);
	return j->text + t->start;
}

size_t json_unescape(const struct json *j, int tok, char *dst)
{
	size_t len, at = 0;
	const char *s = json_raw(j, tok, &len);
	while (len > 0) {
		size_t n = text_plain_run(s, len);
		if (dst)
			memcpy(dst + at, s, n);
		at += n;
		if (n < len) {
			uint32_t cp;
			char utf8[4];
			size_t raw = string_char(s + n, len - n, &cp), w = text_utf8_encode(cp, utf8);
			if (dst)
				memcpy(dst + at, utf8, w);
			at += w;
			n += raw;
		}
		s += n;
		len -= n;
	}
	return at;
}

bool json_is(const struct json *j, int tok, const char *s)
{
	size_t len, want = strlen(s);
	const char *raw = json_raw(j, tok, &len);
	if (json_type(j, tok) != JSON_STRING || len < want)
		return false;
	if (len == want)
		return memcmp(raw, s, want) == 0;
	char plain[512]; /* longer than s: it can only be s if something in it is escaped */
	return len <= sizeof plain && memchr(raw, '\\', len) && json_unescape(j, tok, plain) == want && memcmp(plain, s, want) == 0;
}

bool json_u64(const struct json *j, int tok, uint64_t *v)
{
	size_t len;
	const char *s = json_raw(j, tok, &len);
	if (json_type(j, tok) != JSON_NUMBER || digits(s, len) != len)
		return false;
	*v = 0;
	for (size_t i = 0; i < len; i++)
		if (__builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, (uint64_t)(s[i] - '0'), v))
			return false;
	return true;
}

size_t json_size(const struct json *j, int tok)
{
	return (size_t)tok_at(j, tok)->size;
}

int json_first(const struct json *j, int tok)
{
	return json_size(j, tok) > 0 ? tok + 1 : -1;
}

int json_sibling(const struct json *j, int tok)
{
	int parent = tok_at(j, tok)->parent;
	for (int i = tok + 1; i < (int)j->limit && tok_at(j, i)->parent >= parent; i++)
		if (tok_at(j, i)->parent == parent)
			return i;
	return -1;
}

int json_value(const struct json *j, int key)
{
	(void)j;
	return key + 1;
}

int json_get(const struct json *j, int tok, const char *name)
{
	int found = -1;
	for (int k = json_first(j, tok); k >= 0; k = json_sibling(j, k)) {
		if (!json_is(j, k, name))
			continue;
		if (found >= 0)
			return -2;
		found = json_value(j, k);
	}
	return found;
}
