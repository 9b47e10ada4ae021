#include "rego_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* The names of one object, as they are spelled in the buffer. */
struct names {
	struct {
		size_t at, len;
	} *all; /* malloc'ed */
	size_t count, cap;
};

static int no_memory(struct err *err)
{
	return err_sys(err, ENOMEM, "JSON for a policy");
}

static int put_string(struct buf *b, const struct json *j, int tok, struct err *err)
{
	size_t raw, len, n;
	uint32_t cp;
	char *plain;
	int ret = -1;

	json_raw(j, tok, &raw);
	plain = malloc(raw + 1);
	if (!plain)
		return no_memory(err);
	len = json_unescape(j, tok, plain);
	for (size_t at = 0; at < len; at += n) {
		n = text_utf8_decode(plain + at, len - at, &cp);
		if (n == 0 || cp < 0x20 || cp == 0x7f) {
			err_set(err, ERR_FORMAT, "a control character in a string");
			goto out;
		}
	}
	buf_put_json_string(b, plain, len);
	ret = 0;
out:
	free(plain);
	return ret;
}

static int put_name(struct buf *b, struct names *names, const struct json *j, int tok, struct err *err)
{
	size_t at, len;

	if (names->count > 0)
		buf_putc(b, ',');
	at = b->len;
	if (put_string(b, j, tok, err) < 0)
		return -1;
	if (b->failed)
		return no_memory(err);
	len = b->len - at;
	for (size_t i = 0; i < names->count; i++)
		if (names->all[i].len == len && memcmp(b->data + names->all[i].at, b->data + at, len) == 0)
			return err_set(err, ERR_FORMAT, "a name is there twice");
	if (names->count == names->cap) {
		size_t cap = names->cap ? 2 * names->cap : 16;
		void *more = realloc(names->all, cap * sizeof *names->all);
		if (!more)
			return no_memory(err);
		names->all = more;
		names->cap = cap;
	}
	names->all[names->count].at = at;
	names->all[names->count++].len = len;
	buf_putc(b, ':');
	return 0;
}

/* As deep as json.h allows. */
static int put_value(struct buf *b, const struct json *j, int tok, struct err *err)
{
	enum json_type type = json_type(j, tok);
	struct names names = { 0 };
	const char *raw;
	size_t len;
	int ret = 0;

	switch (type) {
	case JSON_STRING:
		return put_string(b, j, tok, err);
	case JSON_OBJECT:
		buf_putc(b, '{');
		for (int k = json_first(j, tok); k >= 0 && ret == 0; k = json_sibling(j, k)) {
			ret = put_name(b, &names, j, k, err);
			if (ret == 0)
				ret = put_value(b, j, json_value(j, k), err);
		}
		buf_putc(b, '}');
		free(names.all);
		return ret;
	case JSON_ARRAY:
		buf_putc(b, '[');
		for (int i = json_first(j, tok), first = i; i >= 0 && ret == 0; i = json_sibling(j, i)) {
			if (i != first)
				buf_putc(b, ',');
			ret = put_value(b, j, i, err);
		}
		buf_putc(b, ']');
		return ret;
	default:
		raw = json_raw(j, tok, &len);
		buf_put(b, raw, len);
		return 0;
	}
}

int rego_json_text(struct buf *b, const char *text, size_t len, struct err *err)
{
	struct names names = { 0 };
	struct json_member m;
	struct json j;
	int r;

	json_begin(&j, text, len);
	buf_putc(b, '{');
	while ((r = json_next(&j, &m, err)) > 0)
		if (put_name(b, &names, &j, m.key, err) < 0 || put_value(b, &j, m.value, err) < 0) {
			r = -1;
			break;
		}
	buf_putc(b, '}');
	json_release(&j);
	free(names.all);
	return r == 0 && b->failed ? no_memory(err) : r;
}

int rego_json_flat(struct buf *b, const struct json *j, int tok, struct err *err)
{
	if (json_type(j, tok) != JSON_OBJECT)
		return err_set(err, ERR_FORMAT, "not an object");
	for (int k = json_first(j, tok); k >= 0; k = json_sibling(j, k)) {
		enum json_type type = json_type(j, json_value(j, k));
		if (type == JSON_OBJECT || type == JSON_ARRAY || type == JSON_NULL)
			return err_set(err, ERR_FORMAT, "a value that is no string, number or boolean");
	}
	if (put_value(b, j, tok, err) < 0)
		return -1;
	return b->failed ? no_memory(err) : 0;
}
