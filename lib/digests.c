#include "digests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "chunk.h"
#include "json.h"
#include "text.h"

uint64_t digests_count(uint64_t len, uint64_t step)
{
	return len == 0 ? 0 : chunk_count(len, step);
}

/* ---- parsing ---- */

struct reader {
	struct digests *d;
	const struct header *h;
	const struct crypto_info *c;
	struct json json;
	size_t len, cap; /* of d->bytes */
	char *name;  /* room for any name */
	struct err *err;
};

static int bad(const struct reader *r, const char *what)
{
	return err_set(r->err, ERR_FORMAT, "header: __digests__: %s", what);
}

static int bad_tensor(const struct reader *r, struct str name, const char *what)
{
	return err_set(r->err, ERR_FORMAT, "header: __digests__: %s: %s", TEXT(name.p, name.len), what);
}

static int parse_tensor(struct reader *r, int key)
{
	const struct json *j = &r->json;
	struct str name = { r->name, json_unescape(j, key, r->name) };
	ptrdiff_t t = header_find(r->h, name);
	int value = json_value(j, key);
	size_t len;

	if (t < 0)
		return bad_tensor(r, name, "no tensor of the file");
	struct digests_of *of = &r->d->by_tensor[t];
	if (of->bytes)
		return bad_tensor(r, name, "there twice");
	if (json_type(j, value) != JSON_STRING)
		return bad_tensor(r, name, "not a string");
	const char *raw = json_raw(j, value, &len);
	ptrdiff_t n = base64_decode(BASE64_STD, raw, len, r->d->bytes + r->len, r->cap - r->len);
	if (n < 0 || n % SHA256_LEN)
		return bad_tensor(r, name, "not base64 of n times 32 bytes");
	*of = (struct digests_of){ r->d->bytes + r->len, (uint64_t)n / SHA256_LEN };
	r->len += (size_t)n;
	return 0;
}

static int parse_tensors(struct reader *r, int value)
{
	if (json_type(&r->json, value) != JSON_OBJECT)
		return bad(r, "tensors is not an object");
	for (int k = json_first(&r->json, value); k >= 0; k = json_sibling(&r->json, k))
		if (parse_tensor(r, k) < 0)
			return -1;
	return 0;
}

static int parse_chunk_size(struct reader *r, int value)
{
	uint64_t size;

	if (!json_u64(&r->json, value, &size) || size == 0 || size > DIGESTS_CHUNK_MAX)
		return bad(r, "chunk_size is not a whole number from 1 to 4194304");
	r->d->chunk_size = size;
	return 0;
}

static int parse_members(struct reader *r)
{
	static const char *const names[] = { "alg", "chunk_size", "tensors" };
	struct json_member m;
	unsigned int seen = 0, i;
	int more, ret = 0;

	while (ret == 0 && (more = json_next(&r->json, &m, r->err)) > 0) {
		for (i = 0; i < 3 && !json_is(&r->json, m.key, names[i]); i++)
			;
		/* Another member might ask for a check that is not made here. */
		if (i == 3 || seen & 1u << i)
			return bad(r, "a member that is unknown or there twice");
		seen |= 1u << i;
		if (i == 0)
			ret = json_is(&r->json, m.value, "sha256") ? 0 : bad(r, "alg is not sha256");
		else
			ret = i == 1 ? parse_chunk_size(r, m.value) : parse_tensors(r, m.value);
	}
	if (ret < 0)
		return -1;
	if (more < 0) {
		char why[sizeof r->err->text] = "";
		if (r->err && r->err->code == ERR_FORMAT) {
			memcpy(why, r->err->text, sizeof why);
			err_set(r->err, ERR_FORMAT, "header: __digests__: %.200s", why);
		}
		return -1;
	}
	return seen == 7 ? 0 : bad(r, "alg, chunk_size or tensors is missing");
}

/* Every plain tensor is listed, and every list is as long as its tensor. */
static int check(const struct reader *r)
{
	for (size_t t = 0; t < r->h->count; t++) {
		const struct header_tensor *x = &r->h->tensors[t];
		const struct digests_of *of = &r->d->by_tensor[t];
		bool plain = r->c->by_tensor[t] == CRYPTO_ABSENT;
		if (!of->bytes && plain)
			return bad_tensor(r, x->name, "a plain tensor, not listed");
		if (of->bytes && of->count != digests_count(x->end - x->begin, plain ? r->d->chunk_size : r->c->chunk_size))
			return bad_tensor(r, x->name, "not exactly one digest a chunk");
	}
	return 0;
}

int digests_parse(struct digests *d, const struct header *h, const struct crypto_info *c, struct err *err)
{
	const struct str *text = header_meta_get(h, "__digests__");
	struct reader r = { .d = d, .h = h, .c = c, .err = err };
	int ret = -1;

	*d = (struct digests){ 0 };
	if (!text)
		return 0;
	d->present = true;
	/* No name and no digest is longer than the value that it stands in. */
	r.cap = text->len;
	d->bytes = malloc(text->len + 1);
	d->by_tensor = calloc(h->count + 1, sizeof *d->by_tensor);
	r.name = malloc(text->len + 1);
	if (!d->bytes || !d->by_tensor || !r.name) {
		err_sys(err, ENOMEM, "reading the header");
		goto out;
	}
	json_begin(&r.json, text->p, text->len);
	ret = parse_members(&r);
	json_release(&r.json);
	if (ret == 0)
		ret = check(&r);
out:
	free(r.name);
	if (ret < 0)
		digests_release(d);
	return ret;
}

void digests_release(struct digests *d)
{
	free(d->by_tensor);
	free(d->bytes);
	*d = (struct digests){ 0 };
}

bool digests_cover_all(const struct digests *d, const struct header *h)
{
	for (size_t t = 0; t < h->count; t++)
		if (!d->present || !d->by_tensor[t].bytes)
			return false;
	return true;
}

/* ---- writing ---- */

void digests_put(struct buf *b, const struct header *h, const struct digests *d)
{
	bool first = true;

	buf_puts(b, "{\"alg\":\"sha256\",\"chunk_size\":");
	buf_put_u64(b, d->chunk_size);
	buf_puts(b, ",\"tensors\":{");
	for (size_t i = 0; i < h->count; i++) {
		uint32_t t = h->by_name[i];
		const struct digests_of *of = &d->by_tensor[t];
		if (!of->bytes)
			continue;
		if (!first)
			buf_putc(b, ',');
		first = false;
		buf_put_json_string(b, h->tensors[t].name.p, h->tensors[t].name.len);
		buf_puts(b, ":");
		base64_put(b, of->bytes, (size_t)of->count * SHA256_LEN);
	}
	buf_puts(b, "}}");
}
