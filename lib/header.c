#include "header.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "text.h"

static const struct {
	const char *name;
	unsigned int bits;
} dtypes[] = {
	{ "U64", 64 },    { "I64", 64 },     { "F64", 64 },     { "C64", 64 },        { "F32", 32 },        { "U32", 32 },
	{ "I32", 32 },    { "BF16", 16 },    { "F16", 16 },     { "U16", 16 },        { "I16", 16 },        { "F8_E8M0", 8 },
	{ "F8_E4M3", 8 }, { "F8_E5M2", 8 },  { "I8", 8 },       { "U8", 8 },          { "F6_E3M2", 6 },     { "F6_E2M3", 6 },
	{ "F4", 4 },      { "BOOL", 8 },     { "F8_E4M3FNUZ", 8 }, { "F8_E5M2FNUZ", 8 },
};

#define DTYPES (sizeof dtypes / sizeof dtypes[0])

const char *header_dtype_name(unsigned int dtype)
{
	return dtypes[dtype].name;
}

unsigned int header_dtype_bits(unsigned int dtype)
{
	return dtypes[dtype].bits;
}

int str_cmp(struct str a, struct str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int r = n ? memcmp(a.p, b.p, n) : 0;
	return r ? r : a.len < b.len ? -1 : a.len > b.len;
}

uint64_t header_n(const uint8_t prefix[HEADER_PREFIX])
{
	uint64_t n = 0;
	for (int i = 7; i >= 0; i--)
		n = n << 8 | prefix[i];
	return n;
}

enum header_look header_look(const uint8_t *first, size_t len, uint64_t size, uint64_t *total)
{
	if (len <= HEADER_PREFIX)
		return HEADER_NOT;
	uint64_t n = header_n(first);
	uint8_t c = first[HEADER_PREFIX];
	/* 0xef: a byte order mark, which makes a header malformed but the file no less ours to refuse */
	bool begins = c == '{' || c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0xef;
	if (!begins || n < 2 || n > HEADER_MAX || size < HEADER_PREFIX + n)
		return HEADER_NOT;
	*total = HEADER_PREFIX + n;
	return HEADER_PERHAPS;
}

int header_smells(const uint8_t *raw, size_t len)
{
	static const char *const signs[] = { "__crypto_keys__", "__encryption__", "__signature__", "__policy__", "\\u" };
	for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
		if (memmem(raw, len, signs[i], strlen(signs[i])))
			return 1;
	return 0;
}

bool header_is_marked(const uint8_t *raw, size_t len)
{
	static const char *const keys[] = { "\"__crypto_keys__\"", "\"__encryption__\"", "\"__policy__\"", "\"__signature__\"" };
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (!memmem(raw, len, keys[i], strlen(keys[i])))
			return false;
	return true;
}

/* ---- parsing ---- */

struct parser {
	struct header *h;
	struct json json;
	size_t strings_len, tensors_cap, dims_len, dims_cap;
	bool metadata;
	struct err *err;
};

static int bad(struct parser *p, int tok, const char *what)
{
	size_t len;
	const char *raw = json_raw(&p->json, tok, &len);
	return err_set(p->err, ERR_FORMAT, "header: %s: %s", TEXT(raw, len < 64 ? len : 64), what);
}

static int no_memory(struct parser *p)
{
	return err_sys(p->err, ENOMEM, "reading the header");
}

/* Unescaped strings never need more room than the header itself, so one allocation serves them all. */
static struct str take_string(struct parser *p, int tok)
{
	char *at = p->h->strings + p->strings_len;
	size_t len = json_unescape(&p->json, tok, at);
	p->strings_len += len;
	return (struct str){ at, len };
}

static int parse_dtype(struct parser *p, int key, int tok, uint8_t *dtype)
{
	const struct json *j = &p->json;
	if (json_type(j, tok) == JSON_OBJECT && json_size(j, tok) == 1) { /* {"F32":null}: an enum as serde may spell it */
		int k = json_first(j, tok);
		if (json_type(j, json_value(j, k)) == JSON_NULL)
			tok = k;
	}
	if (json_type(j, tok) == JSON_STRING)
		for (size_t i = 0; i < DTYPES; i++)
			if (json_is(j, tok, dtypes[i].name)) {
				*dtype = (uint8_t)i;
				return 0;
			}
	return bad(p, key, "unknown dtype");
}

static int parse_shape(struct parser *p, int key, int tok, struct header_tensor *t)
{
	const struct json *j = &p->json;
	struct header *h = p->h;
	if (json_type(j, tok) != JSON_ARRAY)
		return bad(p, key, "shape is not an array");
	size_t n = json_size(j, tok);
	if (n > p->dims_cap - p->dims_len) {
		size_t cap = (p->dims_cap + n) * 2;
		uint64_t *dims = realloc(h->dims, cap * sizeof *dims);
		if (!dims)
			return no_memory(p);
		h->dims = dims;
		p->dims_cap = cap;
	}
	t->ndim = (uint32_t)n;
	t->shape = (const uint64_t *)(p->dims_len * sizeof *h->dims); /* an offset until dims stops moving */
	for (int d = json_first(j, tok); d >= 0; d = json_sibling(j, d))
		if (!json_u64(j, d, &h->dims[p->dims_len++]))
			return bad(p, key, "shape holds something else than plain integers below 2^64");
	return 0;
}

static int parse_offsets(struct parser *p, int key, int tok, struct header_tensor *t)
{
	const struct json *j = &p->json;
	int a = json_type(j, tok) == JSON_ARRAY && json_size(j, tok) == 2 ? json_first(j, tok) : -1;
	if (a < 0 || !json_u64(j, a, &t->begin) || !json_u64(j, json_sibling(j, a), &t->end) || t->begin > t->end)
		return bad(p, key, "data_offsets are not two plain integers, begin <= end");
	return 0;
}

/* Byte length from shape and dtype must be that of the offsets; every step is checked for overflow. */
static int check_size(struct parser *p, int key, const struct header_tensor *t)
{
	const uint64_t *shape = (const uint64_t *)((const char *)p->h->dims + (uintptr_t)t->shape);
	uint64_t bits = 1;
	bool overflow = false;
	for (uint32_t i = 0; i < t->ndim; i++)
		overflow |= __builtin_mul_overflow(bits, shape[i], &bits);
	overflow |= __builtin_mul_overflow(bits, header_dtype_bits(t->dtype), &bits);
	if (overflow || bits % 8 || bits / 8 != t->end - t->begin)
		return bad(p, key, "dtype and shape do not fit data_offsets");
	return 0;
}

static int parse_tensor(struct parser *p, const struct json_member *m)
{
	const struct json *j = &p->json;
	struct header *h = p->h;
	int dtype = -1, shape = -1, offsets = -1;
	if (json_type(j, m->value) == JSON_OBJECT) {
		dtype = json_get(j, m->value, "dtype");
		shape = json_get(j, m->value, "shape");
		offsets = json_get(j, m->value, "data_offsets");
	} else if (json_type(j, m->value) == JSON_ARRAY && json_size(j, m->value) == 3) {
		dtype = json_first(j, m->value);
		shape = json_sibling(j, dtype);
		offsets = json_sibling(j, shape);
	}
	if (dtype < 0 || shape < 0 || offsets < 0)
		return bad(p, m->key, "not a tensor: needs dtype, shape and data_offsets, each once");
	if (h->count == p->tensors_cap) {
		size_t cap = p->tensors_cap ? p->tensors_cap * 2 : 64;
		struct header_tensor *t = realloc(h->tensors, cap * sizeof *t);
		if (!t)
			return no_memory(p);
		h->tensors = t;
		p->tensors_cap = cap;
	}
	struct header_tensor t = { 0 };
	if (parse_dtype(p, m->key, dtype, &t.dtype) < 0 || parse_shape(p, m->key, shape, &t) < 0 ||
	    parse_offsets(p, m->key, offsets, &t) < 0 || check_size(p, m->key, &t) < 0)
		return -1;
	t.name = take_string(p, m->key);
	h->tensors[h->count++] = t;
	return 0;
}

static int meta_cmp(const void *a, const void *b)
{
	return str_cmp(((const struct header_meta *)a)->key, ((const struct header_meta *)b)->key);
}

static int parse_metadata(struct parser *p, const struct json_member *m)
{
	const struct json *j = &p->json;
	struct header *h = p->h;
	if (p->metadata)
		return bad(p, m->key, "there twice");
	p->metadata = true;
	if (json_type(j, m->value) != JSON_OBJECT)
		return bad(p, m->key, "not an object");
	size_t n = json_size(j, m->value);
	h->meta = n ? calloc(n, sizeof *h->meta) : NULL;
	if (n && !h->meta)
		return no_memory(p);
	for (int k = json_first(j, m->value); k >= 0; k = json_sibling(j, k)) {
		if (json_type(j, json_value(j, k)) != JSON_STRING)
			return bad(p, k, "a metadata value that is not a string");
		struct header_meta *e = &h->meta[h->meta_count++];
		e->key = take_string(p, k);
		e->value = take_string(p, json_value(j, k));
	}
	if (n)
		qsort(h->meta, n, sizeof *h->meta, meta_cmp);
	for (size_t i = 1; i < n; i++)
		if (str_cmp(h->meta[i - 1].key, h->meta[i].key) == 0)
			return err_set(p->err, ERR_FORMAT, "header: metadata key %s is there twice",
			               TEXT(h->meta[i].key.p, h->meta[i].key.len));
	return 0;
}

static int cmp_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* By offset; ties (empty tensors) keep the order of the file. */
static int offset_cmp(const void *a, const void *b, void *arg)
{
	uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
	const struct header_tensor *t = arg, *x = &t[i], *y = &t[k];
	int r = cmp_u64(x->begin, y->begin);
	if (r == 0)
		r = cmp_u64(x->end, y->end);
	return r ? r : cmp_u64(i, k);
}

static int name_cmp(const void *a, const void *b, void *arg)
{
	const struct header_tensor *t = arg;
	return str_cmp(t[*(const uint32_t *)a].name, t[*(const uint32_t *)b].name);
}

static int sort_tensors(struct parser *p)
{
	struct header *h = p->h;
	if (h->count >= UINT32_MAX)
		return err_set(p->err, ERR_FORMAT, "header: too many tensors");
	h->by_name = malloc((h->count + 1) * sizeof *h->by_name);
	struct header_tensor *sorted = malloc((h->count + 1) * sizeof *sorted);
	if (!h->by_name || !sorted) {
		free(sorted);
		return no_memory(p);
	}
	for (uint32_t i = 0; i < h->count; i++) {
		h->by_name[i] = i;
		h->tensors[i].shape = (const uint64_t *)((const char *)h->dims + (uintptr_t)h->tensors[i].shape);
	}
	qsort_r(h->by_name, h->count, sizeof *h->by_name, offset_cmp, h->tensors);
	for (uint32_t i = 0; i < h->count; i++) {
		sorted[i] = h->tensors[h->by_name[i]];
		h->by_name[i] = i;
	}
	free(h->tensors);
	h->tensors = sorted;
	qsort_r(h->by_name, h->count, sizeof *h->by_name, name_cmp, h->tensors);
	for (uint32_t i = 1; i < h->count; i++) {
		struct str name = h->tensors[h->by_name[i]].name;
		if (str_cmp(h->tensors[h->by_name[i - 1]].name, name) == 0)
			return err_set(p->err, ERR_FORMAT, "header: tensor %s is there twice", TEXT(name.p, name.len));
	}
	return 0;
}

static int check_tiling(struct parser *p, uint64_t size)
{
	struct header *h = p->h;
	uint64_t at = 0;
	for (size_t i = 0; i < h->count; i++) {
		const struct header_tensor *t = &h->tensors[i];
		if (t->begin != at)
			return err_set(p->err, ERR_FORMAT, "header: tensor %s begins at %llu, not at %llu where the one before it ends",
			               TEXT(t->name.p, t->name.len), (unsigned long long)t->begin, (unsigned long long)at);
		at = t->end;
	}
	h->data_len = at;
	if (size - HEADER_PREFIX - h->n != at)
		return err_set(p->err, ERR_FORMAT, "the tensors end at byte %llu of the data, the file at %llu: cut short or not whole",
		               (unsigned long long)at, (unsigned long long)(size - HEADER_PREFIX - h->n));
	return 0;
}

static int parse(struct parser *p, uint64_t size)
{
	struct json_member m;
	int r;
	while ((r = json_next(&p->json, &m, p->err)) > 0) {
		bool metadata = json_is(&p->json, m.key, "__metadata__");
		if ((metadata ? parse_metadata(p, &m) : parse_tensor(p, &m)) < 0)
			return -1;
	}
	if (r < 0)
		return -1;
	json_release(&p->json); /* before the sorting: the peak of memory is lower */
	if (sort_tensors(p) < 0)
		return -1;
	return check_tiling(p, size);
}

int header_parse(struct header *h, const uint8_t *raw, size_t len, uint64_t size, struct err *err)
{
	*h = (struct header){ 0 };
	if (len < HEADER_PREFIX || size < len)
		return err_set(err, ERR_FORMAT, "too short for a safetensors file");
	h->n = header_n(raw);
	if (h->n > HEADER_MAX || h->n != len - HEADER_PREFIX)
		return err_set(err, ERR_FORMAT, "header length %llu does not fit the file", (unsigned long long)h->n);
	struct parser p = { .h = h, .err = err };
	h->strings = malloc(h->n + 1);
	if (!h->strings)
		return no_memory(&p);
	json_begin(&p.json, (const char *)raw + HEADER_PREFIX, h->n);
	int r = parse(&p, size);
	json_release(&p.json);
	if (r < 0)
		header_release(h);
	return r;
}

void header_release(struct header *h)
{
	free(h->tensors);
	free(h->by_name);
	free(h->meta);
	free(h->strings);
	free(h->dims);
	*h = (struct header){ 0 };
}

/* ---- looking things up ---- */

ptrdiff_t header_find(const struct header *h, struct str name)
{
	size_t lo = 0, hi = h->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int r = str_cmp(h->tensors[h->by_name[mid]].name, name);
		if (r == 0)
			return (ptrdiff_t)h->by_name[mid];
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return -1;
}

const struct str *header_meta_get(const struct header *h, const char *key)
{
	struct str want = { key, strlen(key) };
	for (size_t i = 0; i < h->meta_count; i++)
		if (str_cmp(h->meta[i].key, want) == 0)
			return &h->meta[i].value;
	return NULL;
}

size_t header_at(const struct header *h, uint64_t at)
{
	size_t lo = 0, hi = h->count; /* the first tensor that ends behind `at` */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (h->tensors[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}
