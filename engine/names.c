#include "names.h"

#include <errno.h>
#include <stdlib.h>

#include "text.h"
#include "tokens.h"

#define EVERYWHERE 0u /* else the number of a rule */

struct name {
	const char *text;
	uint32_t len, rule;
};

struct names {
	struct tokens t;
	struct name *defined;
	size_t count;
};

static const char *const keywords[] = { "package", "import", "default", "not", "some", "every", "in", "with", "as", "if", "contains", "else",
	                                "true", "false", "null", "input", "data", "_", NULL };

/* The same name of the same rule: equal. */
static int compare(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	int r = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);

	if (r || x->len != y->len)
		return r ? r : (x->len > y->len) - (x->len < y->len);
	return (x->rule > y->rule) - (x->rule < y->rule);
}

static void define(struct names *n, size_t i, uint32_t rule)
{
	n->defined[n->count++] = (struct name){ n->t.text + n->t.at[i].at, n->t.at[i].len, rule };
}

static bool assigns(const struct tokens *t, size_t i)
{
	return token_is(t, i, ":=") || token_is(t, i, "=");
}

/* A rule starts here: a name at the start of a line, outside of brackets, where no expression goes on; or one that only a head can be. */
static bool head(const struct tokens *t, size_t i)
{
	static const char *const goes_on[] = { "if", "in", "not", "with", "as", "else", "contains", "some", "every", "import", "package", NULL };
	const struct scan_token *k = &t->at[i];
	bool closes = token_is(t, i - 1, ")") || token_is(t, i - 1, "]") || token_is(t, i - 1, "}");
	bool after_sign = token_kind(t, i - 1, SCAN_SIGN) && !closes;

	if (k->kind != SCAN_NAME || k->in != SCAN_NONE || token_field(t, i) || token_any(t, i, keywords))
		return false;
	if (token_is(t, i - 1, "default"))
		return true;
	if (after_sign || (token_any(t, i - 1, goes_on) && !token_field(t, i - 1)))
		return false;
	return k->first || token_is(t, i + 1, "if") || assigns(t, i + 1);
}

/*
 * The head at i has neither a value nor a body: Rego v0 takes it for true, v1 refuses it. What follows a head's brackets, if any, counts.
 */
static bool bare(const struct tokens *t, size_t i)
{
	static const char *const goes_on[] = { "if", ":=", "=", "contains", NULL };

	for (i = token_path_end(t, i); token_is(t, i + 1, "[") || token_is(t, i + 1, "("); i = token_path_end(t, i))
		i = t->at[i + 1].pair;
	return !token_any(t, i + 1, goes_on);
}

/* some a, b in …; some a; every k, v in … */
static bool declared(const struct tokens *t, size_t i)
{
	while (token_is(t, i - 1, ",") && token_kind(t, i - 2, SCAN_NAME) && !token_field(t, i - 2))
		i -= 2;
	return token_is(t, i - 1, "some") || token_is(t, i - 1, "every");
}

/* What stands in this bracket may get its value there. */
static bool bracket_defines(const struct tokens *t, size_t open)
{
	while (open != SCAN_NONE) {
		const struct scan_token *k = &t->at[open];
		bool named = token_kind(t, open - 1, SCAN_NAME);

		if (assigns(t, (size_t)k->pair + 1) || (k->in != SCAN_NONE && token_is(t, open - 1, "=")) || declared(t, open))
			return true;
		if (token_is(t, open, "(") && named && (head(t, open - 1) || token_is(t, open - 1, "walk")))
			return true;
		open = k->in;
	}
	return false;
}

static bool index_of(const struct tokens *t, size_t i)
{
	uint32_t open = t->at[i].in;
	bool whole = token_is(t, i - 1, "[") && token_is(t, i + 1, "]");

	return whole && open > 0 && t->at[open].glued && (!token_kind(t, open - 1, SCAN_SIGN) || !strchr("(,:{[=", t->text[t->at[open - 1].at]));
}

static bool local(const struct tokens *t, size_t i)
{
	bool unified = t->at[i].in != SCAN_NONE && token_is(t, i - 1, "="); /* outside of brackets it is a head's value */

	return assigns(t, i + 1) || unified || declared(t, i) || index_of(t, i) || bracket_defines(t, t->at[i].in);
}

/* i is at `import` or `package`: the last token of that statement. Stores whether it defines that one. */
static size_t statement(const struct tokens *t, size_t i, bool *defines)
{
	size_t last = token_path_end(t, i + 1);

	*defines = token_kind(t, i + 1, SCAN_NAME) && token_is(t, i, "import");
	if (*defines && token_is(t, last + 1, "as") && token_kind(t, last + 2, SCAN_NAME))
		last += 2;
	return token_kind(t, i + 1, SCAN_NAME) ? last : i;
}

/* A builtin's name, or a function's, where it stands as a value: with f as g. */
static bool mocked(const struct tokens *t, size_t i)
{
	return token_is(t, i - 1, "with") || token_is(t, i - 1, "as");
}

static bool known(const struct names *n, struct name name)
{
	struct name anywhere = name;

	anywhere.rule = EVERYWHERE;
	return bsearch(&name, n->defined, n->count, sizeof name, compare) ||
	       bsearch(&anywhere, n->defined, n->count, sizeof name, compare);
}

/* One walk collects definitions, the next asks for them; both look at heads. */
static int walk(struct names *n, bool ask, struct err *err)
{
	const struct tokens *t = &n->t;
	uint32_t rule = EVERYWHERE + 1;

	for (size_t i = 0; i < t->count; i++) {
		const struct scan_token *k = &t->at[i];
		struct name name = { t->text + k->at, k->len, rule };

		if (k->kind != SCAN_NAME || token_field(t, i))
			continue;
		if (k->in == SCAN_NONE && (token_is(t, i, "package") || token_is(t, i, "import"))) {
			bool defines;

			i = statement(t, i, &defines);
			if (!ask && defines)
				define(n, i, EVERYWHERE);
		} else if (head(t, i)) {
			name.rule = ++rule;
			if (bare(t, i))
				return err_set(err, ERR_REJECTED, "the rule %s has no value and no `if`", TEXT(name.text, name.len));
			if (!ask)
				define(n, i, EVERYWHERE);
		} else if (token_any(t, i, keywords) || token_called(t, token_path_end(t, i)) || mocked(t, i)) {
			continue;
		} else if (!ask && local(t, i)) {
			define(n, i, rule);
		} else if (ask && !known(n, name)) {
			return err_set(err, ERR_REJECTED, "the name %s is used, but nothing defines it there", TEXT(name.text, name.len));
		}
	}
	return 0;
}

int names_defined(const char *text, const struct scan_token *tokens, size_t count, struct err *err)
{
	struct names n = { .t = { text, tokens, count } };
	int r;

	n.defined = calloc(count + 1, sizeof *n.defined);
	if (!n.defined)
		return err_sys(err, ENOMEM, "the policy's names");
	r = walk(&n, false, err);
	qsort(n.defined, n.count, sizeof *n.defined, compare);
	if (!r)
		r = walk(&n, true, err);
	free(n.defined);
	return r;
}
