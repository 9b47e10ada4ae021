#include "input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "header.h"
#include "json.h"
#include "text.h"

/* A sorted list of an object's keys. Each has one spelling only, since \u and \/ are refused: raw text is compared. */
struct keys {
	struct str *at;
	size_t count, cap;
};

static int compare(const void *a, const void *b)
{
	const struct str *x = a, *y = b;
	size_t n = x->len < y->len ? x->len : y->len;
	int r = n ? memcmp(x->p, y->p, n) : 0;

	return r ? r : (x->len > y->len) - (x->len < y->len);
}

static int add(struct keys *k, const struct json *j, int key, struct err *err)
{
	if (k->count == k->cap) {
		size_t cap = k->cap ? 2 * k->cap : 16;
		struct str *at = realloc(k->at, cap * sizeof *at);

		if (!at)
			return err_sys(err, ENOMEM, "an object of the input");
		k->at = at;
		k->cap = cap;
	}
	k->at[k->count].p = json_raw(j, key, &k->at[k->count].len);
	k->count++;
	return 0;
}

static int no_duplicates(struct keys *k, struct err *err)
{
	if (k->count)
		qsort(k->at, k->count, sizeof *k->at, compare);
	for (size_t i = 1; i < k->count; i++)
		if (!compare(&k->at[i - 1], &k->at[i]))
			return err_set(err, ERR_FORMAT, "the member \"%s\" is there twice", TEXT(k->at[i].p, k->at[i].len));
	return 0;
}

/* The value and what is in it; json.c bounds the depth. */
static int check_value(const struct json *j, int tok, struct err *err)
{
	enum json_type type = json_type(j, tok);
	struct keys keys = { NULL, 0, 0 };
	int r = 0;

	if (type != JSON_OBJECT && type != JSON_ARRAY)
		return 0;
	for (int c = json_first(j, tok); c >= 0 && !r; c = json_sibling(j, c)) {
		r = type == JSON_OBJECT ? add(&keys, j, c, err) : 0;
		if (!r)
			r = check_value(j, type == JSON_OBJECT ? json_value(j, c) : c, err);
	}
	if (!r)
		r = no_duplicates(&keys, err);
	free(keys.at);
	return r;
}

/* Before anybody parses it: escapes, and a depth at which json.c's time is no question yet. */
static int check_spelling(const char *text, size_t len, struct input_traits *traits, struct err *err)
{
	unsigned int depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		traits->non_ascii |= (unsigned char)c >= 0x80;
		quoted ^= c == '"';
		if (!quoted && (c == '[' || c == '{') && ++depth > JSON_DEPTH_MAX)
			return err_set(err, ERR_FORMAT, "nested too deeply");
		if (!quoted && (c == ']' || c == '}') && depth)
			depth--;
		if (c != '\\')
			continue;
		traits->escapes = true;
		i++;
		if (i < len && (text[i] == 'u' || text[i] == '/'))
			return err_set(err, ERR_FORMAT, "the escape \\%c, which the engine does not decode", text[i]);
	}
	return 0;
}

int input_check(const char *text, size_t len, struct input_traits *traits, struct err *err)
{
	struct json j;
	struct json_member m;
	struct keys keys = { NULL, 0, 0 };
	int r, more;

	*traits = (struct input_traits){ false, false };
	if (check_spelling(text, len, traits, err))
		return -1;
	json_begin(&j, text, len);
	do {
		more = json_next(&j, &m, err);
		r = more < 0 ? -1 : 0;
		if (more > 0)
			r = add(&keys, &j, m.key, err) || check_value(&j, m.value, err) ? -1 : 0;
	} while (!r && more > 0);
	if (!r)
		r = no_duplicates(&keys, err);
	json_release(&j);
	free(keys.at);
	return r;
}
