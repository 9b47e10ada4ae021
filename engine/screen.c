#include "screen.h"

#include <stdint.h>
#include <stdio.h>

#include "names.h"
#include "text.h"
#include "tokens.h"

/* What a builtin cannot stand. All but ALWAYS are properties of strings, in the policy or in the input. */
#define ALWAYS 1u
#define NON_ASCII 2u
#define ESCAPES 4u       /* in the policy: \" \n …, and in raw strings what the engine keeps as such */
#define REGEX_ESCAPES 8u /* in the policy: \d \. and other escapes of regular expressions that are read rightly */
#define INPUT_ESCAPES 16u
#define PATTERN 32u /* syntax of regular expressions that is read otherwise */
#define VERB 64u    /* of sprintf */

#define INSIDE (ESCAPES | INPUT_ESCAPES) /* looks at characters, and sees two where an escape stands for one */

static const char as_text[] = "it compares numbers as text";
static const char bytes[] = "it works on bytes, with syntax of its own, and sees strings as they are spelled, with their escapes";
static const char spelled[] = "it sees strings as they are spelled, with their escapes";

/* A row stands for the name and everything below it: "semver" for semver.compare too. */
static const struct row {
	const char *name;
	unsigned int not_with;
	const char *why;
} table[] = {
	{ "semver", ALWAYS, as_text },
	{ "max", ALWAYS, as_text },
	{ "min", ALWAYS, as_text },
	{ "sort", ALWAYS, as_text },
	{ "sum", ALWAYS, "it is undefined, and no error, where something is no number" },
	{ "product", ALWAYS, "it is undefined, and no error, where something is no number" },
	{ "to_number", ALWAYS, "it takes for numbers what begins like one" },
	{ "format_int", ALWAYS, "it rounds otherwise and does not know base 2" },
	{ "round", ALWAYS, "it is wrong for numbers beyond 2^63" },
	{ "ceil", ALWAYS, "it is wrong for numbers beyond 2^63" },
	{ "floor", ALWAYS, "it is wrong for numbers beyond 2^63" },
	{ "bits.lsh", ALWAYS, "it is wrong beyond 2^63" },
	{ "object.union", ALWAYS, "it replaces nested objects, which should be merged" },
	{ "object.union_n", ALWAYS, "it replaces nested objects, which should be merged" },
	{ "urlquery", ALWAYS, "it encodes blanks otherwise and does not decode +" },
	{ "base64.decode", ALWAYS, "it takes text without its padding" },
	{ "base64.is_valid", ALWAYS, "it takes text without its padding" },
	{ "yaml", ALWAYS, "it reads some numbers and words otherwise" },
	{ "time.diff", ALWAYS, "its hours, minutes and seconds are wrong" },
	{ "time.format", ALWAYS, "it writes fractions otherwise" },
	{ "time.parse_duration_ns", ALWAYS, "it takes units that do not exist" },
	{ "regex", NON_ASCII | INSIDE | PATTERN, bytes },
	{ "glob", INSIDE | REGEX_ESCAPES, spelled },
	{ "sprintf", VERB, "it knows %s %d %v %x %X %o %e %f %g %t %% only, and of widths those of digits, few of them" },
	{ "lower", NON_ASCII | INSIDE, "it knows ASCII only" },
	{ "upper", NON_ASCII | INSIDE, "it knows ASCII only" },
	{ "count", INPUT_ESCAPES, spelled },
	{ "contains", INSIDE, spelled },
	{ "endswith", INSIDE, spelled },
	{ "indexof", INSIDE, spelled },
	{ "indexof_n", INSIDE, spelled },
	{ "replace", INSIDE, spelled },
	{ "split", INSIDE, spelled },
	{ "strings", INSIDE, spelled },
	{ "substring", INSIDE, spelled },
	{ "trim", INSIDE, spelled },
	{ "trim_left", INSIDE, spelled },
	{ "trim_right", INSIDE, spelled },
	{ "trim_space", INSIDE, spelled },
	{ "trim_suffix", INSIDE, spelled },
	{ "base64", INSIDE, spelled },
	{ "base64url", INSIDE, spelled },
	{ "crypto", INSIDE, spelled },
	{ "hex", INSIDE, spelled },
	{ "json.marshal", INSIDE, spelled },
};

/* How a property is told to people. */
static const struct {
	unsigned int bit;
	const char *text;
} causes[] = {
	{ ALWAYS, "" },
	{ NON_ASCII, "a character outside of ASCII" },
	{ ESCAPES, "an escape, a quote or a line end in a string" },
	{ REGEX_ESCAPES, "a backslash in a string" },
	{ INPUT_ESCAPES, "an escape in the input" },
	{ PATTERN, "(?, [], or an escape other than \\d \\w \\s \\b and those of punctuation" },
	{ VERB, "another verb" },
};

/* --- what the policy's strings hold --- */

static unsigned int verb_at(const char *p, const char *end)
{
	const char *from = ++p;

	while (p < end && strchr("+0123456789.", *p))
		p++;
	return p < end && p - from <= 4 && strchr("sdvxXoefgt%", *p) ? 0 : VERB;
}

/* A backslash of a regular expression, before `next`. */
static unsigned int regex_escape(char next)
{
	return next && strchr("dDwWsSbB.*+?()[]{}|^$-/", next) ? REGEX_ESCAPES : ESCAPES | PATTERN;
}

static unsigned int string_traits(const char *p, size_t len, bool raw)
{
	const char *end = p + len - 1; /* the closing quote */
	unsigned int has = 0;

	for (p++; p < end; p++) {
		if (*p == '\\' && raw) {
			has |= regex_escape(p + 1 < end ? p[1] : '\0');
			p++;
		} else if (*p == '\\' && p[1] == '\\') {
			has |= regex_escape(p + 2 < end ? p[2] : '\0');
			p += p + 2 < end && p[2] != '\\' ? 2 : 1;
		} else if (*p == '\\') {
			has |= ESCAPES;
			p++;
		} else if (*p == '"' || *p == '\n' || *p == '\r' || *p == '\t') {
			has |= ESCAPES;
		} else if (*p == '(' && p + 1 < end && p[1] == '?') {
			has |= p + 2 < end && p[2] == ':' ? 0 : PATTERN;
		} else if (*p == '[' && p + 1 < end && (p[1] == ']' || (p[1] == '^' && p + 2 < end && p[2] == ']'))) {
			has |= PATTERN;
		} else if (*p == '%') {
			has |= verb_at(p, end);
			p += p + 1 < end && p[1] == '%';
		}
		has |= (unsigned char)*p >= 0x80 ? NON_ASCII : 0;
	}
	return has;
}

/* The line of the first string that has it, or 0: it is in the input alone. */
static size_t line_of(const struct tokens *t, unsigned int bit)
{
	size_t line = 1, at = 0;

	for (size_t i = 0; i < t->count; i++) {
		const struct scan_token *k = &t->at[i];

		for (; at < k->at; at++)
			line += t->text[at] == '\n';
		if ((k->kind == SCAN_STRING || k->kind == SCAN_RAW) && (string_traits(t->text + k->at, k->len, k->kind == SCAN_RAW) & bit))
			return line;
	}
	return 0;
}

/* --- names --- */

static const struct row *find(const char *path, size_t len)
{
	const struct row *found = NULL;

	for (size_t i = 0; i < sizeof table / sizeof *table; i++) { /* the longest one */
		size_t n = strlen(table[i].name);

		if (n <= len && !memcmp(table[i].name, path, n) && (n == len || path[n] == '.') && (!found || n > strlen(found->name)))
			found = &table[i];
	}
	return found;
}

static int refuse(const struct tokens *t, const struct row *row, unsigned int bit, const char *cause, struct err *err)
{
	size_t line = line_of(t, bit);
	char where[32] = "";

	if (line)
		snprintf(where, sizeof where, " in line %zu", line);
	return err_set(err, ERR_REJECTED, "the policy mentions %s, which this engine gets wrong: %s%s%s%s%s", row->name, row->why,
	               *cause ? " (here: " : "", cause, *cause ? where : "", *cause ? ")" : "");
}

static int check_name(const struct tokens *t, size_t i, unsigned int has, struct err *err)
{
	size_t last = token_path_end(t, i);
	const char *path = t->text + t->at[i].at;
	const struct row *row = find(path, t->at[last].at + t->at[last].len - t->at[i].at);

	if (!row || !(row->not_with & has))
		return 0;
	if (token_is(t, i, "contains") && !token_called(t, i)) /* the keyword */
		return 0;
	for (size_t k = 0; k < sizeof causes / sizeof *causes; k++)
		if (row->not_with & has & causes[k].bit)
			return refuse(t, row, causes[k].bit, causes[k].text, err);
	return 0;
}

/* Where a bracket opens outside of any other, Rego v1 has an operator or `if` before it; a value or a name there is v0's. */
static int check_body(const struct tokens *t, size_t i, struct err *err)
{
	static const char *const before[] = { "if", "in", "not", "as", "some", "contains", NULL };
	bool closed = token_is(t, i - 1, "}") || token_is(t, i - 1, "]") || token_is(t, i - 1, ")");
	bool value = i > 0 && (closed || !token_kind(t, i - 1, SCAN_SIGN));

	if (!token_is(t, i, "{") || t->at[i].in != SCAN_NONE || !value || token_any(t, i - 1, before))
		return 0;
	return err_set(err, ERR_REJECTED, "a rule's body needs `if` before it (this is Rego v0)");
}

int screen_policy(const char *text, const struct scan_token *tokens, size_t count, const struct input_traits *input, struct err *err)
{
	const struct tokens t = { text, tokens, count };
	unsigned int has = ALWAYS | (input->escapes ? INPUT_ESCAPES : 0) | (input->non_ascii ? NON_ASCII : 0);

	for (size_t i = 0; i < count; i++)
		if (tokens[i].kind == SCAN_STRING || tokens[i].kind == SCAN_RAW)
			has |= string_traits(text + tokens[i].at, tokens[i].len, tokens[i].kind == SCAN_RAW);
	for (size_t i = 0; i < count; i++) {
		if (tokens[i].kind == SCAN_NAME && !token_field(&t, i) && check_name(&t, i, has, err))
			return -1;
		if (check_body(&t, i, err))
			return -1;
		if ((token_is(&t, i, "input") || token_is(&t, i, "data")) && !token_field(&t, i) && token_is(&t, i + 1, ":="))
			return err_set(err, ERR_REJECTED, "input and data cannot be assigned");
	}
	return names_defined(text, tokens, count, err);
}
