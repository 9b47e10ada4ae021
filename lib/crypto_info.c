#include "crypto_info.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "chunk.h"
#include "json.h"
#include "text.h"

static const char *const keys[] = { "__crypto_keys__", "__encryption__", "__policy__", "__signature__" };
static const char *const own_keys[] = { "__digests__", "__licence__" };

#define KEYS (sizeof keys / sizeof keys[0])

static bool is_one_of(struct str key, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_cmp(key, (struct str){ names[i], strlen(names[i]) }) == 0)
			return true;
	return false;
}

bool crypto_info_is_key(struct str metadata_key)
{
	return is_one_of(metadata_key, keys, KEYS);
}

bool crypto_info_is_reserved(struct str metadata_key)
{
	return crypto_info_is_key(metadata_key) || is_one_of(metadata_key, own_keys, sizeof own_keys / sizeof own_keys[0]);
}

int crypto_info_present(const struct header *h, struct err *err)
{
	int there = 0;
	const char *missing = NULL;
	for (size_t i = 0; i < KEYS; i++) {
		if (header_meta_get(h, keys[i]))
			there++;
		else
			missing = keys[i];
	}
	if (there == 0 || there == KEYS)
		return there > 0;
	return err_set(err, ERR_FORMAT, "header: %s is missing beside the other crypto keys: not whole, or tampered with", missing);
}

/* One of the four values while it is parsed: JSON inside a string. */
struct reader {
	struct crypto_info *c;
	const char *key; /* for messages */
	struct json json;
	size_t strings_len, tags_len, cap;
	struct err *err;
};

static int bad(const struct reader *r, const char *what)
{
	return err_set(r->err, ERR_FORMAT, "header: %s: %s", r->key, what);
}

static int bad_json(const struct reader *r)
{
	char why[sizeof r->err->text] = "";
	if (r->err && r->err->code == ERR_FORMAT) {
		memcpy(why, r->err->text, sizeof why);
		err_set(r->err, ERR_FORMAT, "header: %s: %.200s", r->key, why);
	}
	return -1;
}

static struct str take_string(struct reader *r, int tok)
{
	char *at = r->c->strings + r->strings_len;
	size_t len = json_unescape(&r->json, tok, at);
	r->strings_len += len;
	return (struct str){ at, len };
}

static void begin(struct reader *r, const struct header *h, const char *key)
{
	const struct str *text = header_meta_get(h, key);
	r->key = key;
	json_begin(&r->json, text->p, text->len);
}

/* ---- __crypto_keys__ ---- */

/* An optional string member; null counts as absent. */
static int parse_opt_string(struct reader *r, int obj, const char *name, bool *has, struct str *s)
{
	int v = json_get(&r->json, obj, name);
	*has = false;
	if (v < 0 || json_type(&r->json, v) == JSON_NULL)
		return 0;
	if (json_type(&r->json, v) != JSON_STRING)
		return bad(r, "kid and jku must be strings");
	*has = true;
	*s = take_string(r, v);
	return 0;
}

static int parse_ref(struct reader *r, int obj, bool enc)
{
	struct crypto_key_ref *ref = enc ? &r->c->enc : &r->c->sign;
	const struct json *j = &r->json;
	if (json_type(j, obj) != JSON_OBJECT)
		return bad(r, "enc and sign must be objects");
	int alg = json_get(j, obj, "alg"), kty = json_get(j, obj, "kty");
	if (alg == -2 || kty == -2 || json_get(j, obj, "kid") == -2 || json_get(j, obj, "jku") == -2)
		return bad(r, "a member is there twice");
	if (kty < 0 || !json_is(j, kty, enc ? "oct" : "okp"))
		return bad(r, enc ? "kty of enc must be oct" : "kty of sign must be okp");
	static const char *const material[] = { "k", "x", "d" };
	for (size_t i = 0; i < 3; i++)
		if (json_get(j, obj, material[i]) != -1)
			return bad(r, "key material in the header");
	struct str name = { NULL, 0 };
	if (alg >= 0 && json_type(j, alg) == JSON_STRING)
		name = take_string(r, alg);
	if (!name.p || !(enc ? aead_alg_parse(name.p, name.len, &r->c->alg) : sign_alg_known(name.p, name.len)))
		return bad(r, "unknown algorithm");
	if (parse_opt_string(r, obj, "kid", &ref->has_kid, &ref->kid) < 0)
		return -1;
	return parse_opt_string(r, obj, "jku", &ref->has_jku, &ref->jku);
}

/* Which of the members it is, once each; -1: unknown (ignored), -2: a second one. */
static int which(const struct json *j, int key, const char *const *names, int n, unsigned int *seen)
{
	for (int i = 0; i < n; i++) {
		if (!json_is(j, key, names[i]))
			continue;
		if (*seen & 1u << i)
			return -2;
		*seen |= 1u << i;
		return i;
	}
	return -1;
}

static int parse_crypto_keys(struct reader *r, const struct header *h)
{
	static const char *const names[] = { "enc", "sign", "version", "chunk_size" };
	struct crypto_info *c = r->c;
	struct json_member m;
	unsigned int seen = 0;
	int more;
	begin(r, h, "__crypto_keys__");
	while ((more = json_next(&r->json, &m, r->err)) > 0) {
		switch (which(&r->json, m.key, names, 4, &seen)) {
		case 0:
		case 1:
			if (parse_ref(r, m.value, json_is(&r->json, m.key, "enc")) < 0)
				return -1;
			break;
		case 2:
			c->version = json_is(&r->json, m.value, "1") ? 1 : json_is(&r->json, m.value, "2") ? 2 : 0;
			if (c->version == 0)
				return bad(r, "version is neither \"1\" nor \"2\"");
			break;
		case 3:
			if (!json_u64(&r->json, m.value, &c->chunk_size) || c->chunk_size == 0)
				return bad(r, "chunk_size is not a whole number of at least 1");
			break;
		case -2:
			return bad(r, "a member is there twice");
		default:
			break;
		}
	}
	if (more < 0)
		return bad_json(r);
	if ((seen & 7) != 7)
		return bad(r, "enc, sign or version is missing");
	if (!(seen & 8) && c->version == 2)
		c->chunk_size = CHUNK_DEFAULT;
	return 0;
}

/* ---- __policy__ ---- */

static int parse_policy(struct reader *r, const struct header *h)
{
	/* The whole value as the only element of an object, so that an array (which serde accepts) can be read by the same means. */
	static const char *const names[] = { "local", "remote" };
	const struct str *text = header_meta_get(h, "__policy__");
	struct str *out[] = { &r->c->local, &r->c->remote };
	int value[2] = { -1, -1 };
	struct json_member m;
	char *wrapped = malloc(text->len + 8);
	if (!wrapped)
		return err_sys(r->err, ENOMEM, "reading the header");
	r->key = "__policy__";
	memcpy(wrapped, "{\"p\":", 5);
	memcpy(wrapped + 5, text->p, text->len);
	wrapped[5 + text->len] = '}';
	json_begin(&r->json, wrapped, text->len + 6);
	int ret = -1;
	if (json_next(&r->json, &m, r->err) <= 0) {
		bad_json(r);
		goto out;
	}
	if (json_type(&r->json, m.value) == JSON_ARRAY && json_size(&r->json, m.value) == 2) {
		value[0] = json_first(&r->json, m.value);
		value[1] = json_sibling(&r->json, value[0]);
	} else if (json_type(&r->json, m.value) == JSON_OBJECT) {
		for (int i = 0; i < 2; i++)
			value[i] = json_get(&r->json, m.value, names[i]);
	}
	for (int i = 0; i < 2; i++) {
		if (value[i] < 0 || json_type(&r->json, value[i]) != JSON_STRING) {
			bad(r, "local and remote must be strings, each once");
			goto out;
		}
		*out[i] = take_string(r, value[i]);
		if (memchr(out[i]->p, 0, out[i]->len)) {
			bad(r, "a NUL in a policy"); /* engines stop there: what follows would be unseen */
			goto out;
		}
	}
	int more = json_next(&r->json, &m, r->err);
	if (more == 0)
		ret = 0;
	else if (more < 0)
		bad_json(r);
	else
		bad(r, "more than one value");
out:
	json_release(&r->json);
	free(wrapped);
	return ret;
}

/* ---- __encryption__ ---- */

enum field { WRAPPED_KEY, KEY_IV, KEY_TAG, IV, TAG, BASE_IV, TAGS, FIELDS };

static const char *const field_names[FIELDS] = { "wrapped_key", "key_iv", "key_tag", "iv", "tag", "base_iv", "tags" };

static int bad_entry(const struct reader *r, const struct crypto_entry *e, const char *what)
{
	return err_set(r->err, ERR_FORMAT, "header: __encryption__: %s: %s", TEXT(e->name.p, e->name.len), what);
}

/* Finds the entry's members in an object, or in an array: there in the order of the names, and the last ones may be left out. */
static bool find_fields(const struct reader *r, int value, int field[FIELDS])
{
	const struct json *j = &r->json;
	for (int i = 0; i < FIELDS; i++)
		field[i] = -1;
	if (json_type(j, value) == JSON_ARRAY) {
		if (json_size(j, value) > FIELDS)
			return false;
		int i = 0;
		for (int el = json_first(j, value); el >= 0; el = json_sibling(j, el))
			field[i++] = el;
		return true;
	}
	if (json_type(j, value) != JSON_OBJECT)
		return false;
	unsigned int seen = 0;
	for (int k = json_first(j, value); k >= 0; k = json_sibling(j, k)) {
		int i = which(j, k, field_names, FIELDS, &seen);
		if (i == -2)
			return false;
		if (i >= 0)
			field[i] = json_value(j, k);
	}
	return true;
}

/* Decodes a base64 member to dst. Returns its length in bytes, or -1. */
static ptrdiff_t decode(const struct reader *r, int tok, void *dst, size_t cap)
{
	size_t len;
	if (tok < 0 || json_type(&r->json, tok) != JSON_STRING)
		return -1;
	const char *raw = json_raw(&r->json, tok, &len);
	ptrdiff_t n = base64_decode(BASE64_STD, raw, len, dst, cap);
	if (n >= 0 || !memchr(raw, '\\', len))
		return n;
	char *plain = malloc(len);
	if (!plain)
		return -1;
	n = base64_decode(BASE64_STD, plain, json_unescape(&r->json, tok, plain), dst, cap);
	free(plain);
	return n;
}

static int parse_entry(struct reader *r, const struct json_member *m, struct crypto_entry *e)
{
	struct crypto_info *c = r->c;
	bool chunked = c->chunk_size > 0;
	int f[FIELDS];
	e->name = take_string(r, m->key);
	if (!find_fields(r, m->value, f))
		return bad_entry(r, e, "not an object with each member once");
	size_t key_len = aead_key_len(c->alg);
	if (decode(r, f[WRAPPED_KEY], e->wrapped_key, key_len) != (ptrdiff_t)key_len)
		return bad_entry(r, e, "wrapped_key is not base64 of a data key of the algorithm's length");
	if (decode(r, f[KEY_IV], e->key_iv, AEAD_IV_LEN) != AEAD_IV_LEN)
		return bad_entry(r, e, "key_iv is not base64 of 12 bytes");
	if (decode(r, f[KEY_TAG], e->key_tag, AEAD_TAG_LEN) != AEAD_TAG_LEN)
		return bad_entry(r, e, "key_tag is not base64 of 16 bytes");
	/* What the version does not use must be base64 (or null) all the same; the tags' storage takes it for a moment. */
	uint8_t *room = c->tags + r->tags_len;
	size_t cap = r->cap - r->tags_len;
	for (int i = chunked ? IV : BASE_IV; i <= (chunked ? TAG : TAGS); i++)
		if (f[i] >= 0 && json_type(&r->json, f[i]) != JSON_NULL && decode(r, f[i], room, cap) < 0)
			return bad_entry(r, e, "an unused member is not base64");
	ptrdiff_t iv = decode(r, f[chunked ? BASE_IV : IV], e->iv, AEAD_IV_LEN);
	ptrdiff_t tags = decode(r, f[chunked ? TAGS : TAG], room, cap);
	if (iv < 0 || tags < 0 || tags % AEAD_TAG_LEN)
		return bad_entry(r, e, chunked ? "base_iv or tags are not base64 of 12 and of n times 16 bytes" :
		                                 "iv or tag are not base64 of 12 and of 16 bytes");
	bool empty = !chunked && iv == 0 && tags == 0;
	if (!empty && (iv != AEAD_IV_LEN || (!chunked && tags != AEAD_TAG_LEN)))
		return bad_entry(r, e, "an IV or a tag of another length");
	e->tags = room;
	e->tag_count = (uint64_t)tags / AEAD_TAG_LEN;
	r->tags_len += (size_t)tags;
	return 0;
}

static int entry_cmp(const void *a, const void *b)
{
	return str_cmp(((const struct crypto_entry *)a)->name, ((const struct crypto_entry *)b)->name);
}

/* Both lists are sorted by name: one pass finds each entry's tensor. */
static int join(struct reader *r, const struct header *h)
{
	struct crypto_info *c = r->c;
	size_t t = 0;
	for (size_t i = 0; i < h->count; i++)
		c->by_tensor[i] = CRYPTO_ABSENT;
	for (size_t i = 0; i < c->count; i++) {
		struct crypto_entry *e = &c->entries[i];
		if (i > 0 && str_cmp(c->entries[i - 1].name, e->name) == 0)
			return bad_entry(r, e, "there twice");
		while (t < h->count && str_cmp(h->tensors[h->by_name[t]].name, e->name) < 0)
			t++;
		e->tensor = CRYPTO_ABSENT;
		if (t == h->count || str_cmp(h->tensors[h->by_name[t]].name, e->name) != 0)
			continue;
		e->tensor = h->by_name[t];
		c->by_tensor[e->tensor] = (uint32_t)i;
		const struct header_tensor *tensor = &h->tensors[e->tensor];
		uint64_t len = tensor->end - tensor->begin;
		if (e->tag_count != (len == 0 && c->chunk_size == 0 ? 0 : chunk_count(len, c->chunk_size)))
			return bad_entry(r, e, "not exactly 16 bytes of tags per chunk");
	}
	return 0;
}

static int parse_encryption(struct reader *r, const struct header *h)
{
	struct crypto_info *c = r->c;
	struct json_member m;
	size_t cap = 0;
	int more;
	begin(r, h, "__encryption__");
	while ((more = json_next(&r->json, &m, r->err)) > 0) {
		if (c->count == cap) {
			cap = cap ? cap * 2 : 64;
			struct crypto_entry *e = realloc(c->entries, cap * sizeof *e);
			if (!e)
				return err_sys(r->err, ENOMEM, "reading the header");
			c->entries = e;
		}
		c->entries[c->count] = (struct crypto_entry){ 0 };
		if (parse_entry(r, &m, &c->entries[c->count++]) < 0)
			return -1;
	}
	if (more < 0)
		return bad_json(r);
	if (c->count >= CRYPTO_ABSENT)
		return bad(r, "too many entries");
	if (c->count)
		qsort(c->entries, c->count, sizeof *c->entries, entry_cmp);
	return join(r, h);
}

static int parse_signature(struct reader *r, const struct header *h)
{
	const struct str *s = header_meta_get(h, "__signature__");
	r->key = "__signature__";
	if (base64_decode(BASE64_STD, s->p, s->len, r->c->signature, SIGN_LEN) != SIGN_LEN)
		return bad(r, "not base64 of 64 bytes");
	return 0;
}

int crypto_info_parse(struct crypto_info *c, const struct header *h, struct err *err)
{
	*c = (struct crypto_info){ 0 };
	int present = crypto_info_present(h, err);
	if (present == 0)
		err_set(err, ERR_PLAIN, "not encrypted");
	if (present != 1)
		return -1;
	struct reader r = { .c = c, .err = err };
	/* Every string and every tag comes out of one of the values and is no longer than there. */
	r.cap = header_meta_get(h, "__encryption__")->len;
	size_t strings = r.cap + header_meta_get(h, "__crypto_keys__")->len + header_meta_get(h, "__policy__")->len;
	c->strings = malloc(strings + 1);
	c->tags = malloc(r.cap + 1);
	c->by_tensor = malloc((h->count + 1) * sizeof *c->by_tensor);
	int ret = -1;
	if (!c->strings || !c->tags || !c->by_tensor) {
		err_sys(err, ENOMEM, "reading the header");
		goto out;
	}
	ret = parse_crypto_keys(&r, h);
	json_release(&r.json);
	if (ret == 0)
		ret = parse_policy(&r, h);
	if (ret == 0)
		ret = parse_signature(&r, h);
	if (ret == 0) {
		ret = parse_encryption(&r, h);
		json_release(&r.json);
	}
out:
	if (ret < 0)
		crypto_info_release(c);
	return ret;
}

void crypto_info_release(struct crypto_info *c)
{
	free(c->entries);
	free(c->by_tensor);
	free(c->strings);
	free(c->tags);
	*c = (struct crypto_info){ 0 };
}
