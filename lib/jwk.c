#include "jwk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base64.h"
#include "json.h"
#include "text.h"

#define KEY_LEN_MAX 32u
#define RAW_MAX 512u /* characters of a JSON string that holds key bytes, escapes included */

enum member { M_KTY, M_ALG, M_KID, M_K, M_X, M_D, M_CRV, MEMBERS };

static const char *const member_names[MEMBERS] = { "kty", "alg", "kid", "k", "x", "d", "crv" };

struct bytes {
	uint8_t b[KEY_LEN_MAX];
	size_t len;
};

/* One JWK while its members come in, in any order. */
struct draft {
	unsigned int seen; /* a bit a member */
	char kty[8], alg[32], crv[16];
	char kid[JWK_KID_MAX];
	size_t kid_len;
	struct bytes k, x, d;
};

static bool has(const struct draft *d, enum member m)
{
	return d->seen & 1u << m;
}

static int put_text(const struct json *j, int tok, char *dst, size_t cap)
{
	size_t raw;

	json_raw(j, tok, &raw);
	if (raw >= cap)
		return -1;
	dst[json_unescape(j, tok, dst)] = '\0';
	return strlen(dst) == json_unescape(j, tok, NULL) ? 0 : -1;
}

static int put_bytes(const struct json *j, int tok, struct bytes *out)
{
	char text[RAW_MAX];
	size_t len;
	ptrdiff_t n;

	json_raw(j, tok, &len);
	if (len > sizeof text)
		return -1;
	len = json_unescape(j, tok, text);
	n = base64_decode(BASE64_STD, text, len, out->b, sizeof out->b);
	if (n < 0)
		n = base64_decode(BASE64_URL, text, len, out->b, sizeof out->b);
	secret_wipe(text, sizeof text);
	if (n < 0)
		return -1;
	out->len = (size_t)n;
	return 0;
}

static int put_kid(const struct json *j, int tok, struct draft *d)
{
	if (json_unescape(j, tok, NULL) > sizeof d->kid)
		return -1;
	d->kid_len = json_unescape(j, tok, d->kid);
	return 0;
}

static int draft_put(struct draft *d, enum member m, const struct json *j, int value)
{
	switch (m) {
	case M_KTY:
		return put_text(j, value, d->kty, sizeof d->kty);
	case M_ALG:
		return put_text(j, value, d->alg, sizeof d->alg);
	case M_CRV:
		return put_text(j, value, d->crv, sizeof d->crv);
	case M_KID:
		return put_kid(j, value, d);
	case M_K:
		return put_bytes(j, value, &d->k);
	case M_X:
		return put_bytes(j, value, &d->x);
	case M_D:
		return put_bytes(j, value, &d->d);
	default:
		return -1;
	}
}

/* Takes one member of a JWK; names that we don't know are skipped. */
static int draft_member(struct draft *d, const struct json *j, int key, int value, size_t place, struct err *err)
{
	static const char *const shape[MEMBERS] = {
		[M_KTY] = "oct or okp",
		[M_ALG] = "the name of an algorithm",
		[M_KID] = "a string of at most 255 bytes",
		[M_K] = "16 or 32 bytes in base64 with padding, or in base64url without",
		[M_X] = "32 bytes in base64 with padding, or in base64url without",
		[M_D] = "32 bytes in base64 with padding, or in base64url without",
		[M_CRV] = "Ed25519",
	};
	unsigned int m;

	for (m = 0; m < MEMBERS; m++)
		if (json_is(j, key, member_names[m]))
			break;
	if (m == MEMBERS)
		return 0;
	if (has(d, (enum member)m))
		return err_set(err, ERR_FORMAT, "key %zu: \"%s\" is there twice", place, member_names[m]);
	d->seen |= 1u << m;
	if (json_type(j, value) != JSON_STRING || draft_put(d, (enum member)m, j, value))
		return err_set(err, ERR_FORMAT, "key %zu: \"%s\" is not %s", place, member_names[m], shape[m]);
	return 0;
}

static bool oct_alg(const char *name, enum aead_alg *alg)
{
	static const struct {
		const char *name;
		enum aead_alg alg;
	} rfc[] = {
		{ "A128GCM", AEAD_AES128GCM },
		{ "A256GCM", AEAD_AES256GCM },
		{ "C20P", AEAD_CHACHA20POLY1305 },
	};

	for (size_t i = 0; i < sizeof rfc / sizeof *rfc; i++)
		if (strcmp(name, rfc[i].name) == 0) {
			*alg = rfc[i].alg;
			return true;
		}
	return aead_alg_parse(name, strlen(name), alg);
}

static int finish_oct(const struct draft *d, struct jwk *key, size_t place, struct err *err)
{
	key->kind = JWK_OCT;
	if (has(d, M_X) || has(d, M_D) || has(d, M_CRV))
		return err_set(err, ERR_FORMAT, "key %zu: an oct key has no \"x\", \"d\" or \"crv\"", place);
	if (!has(d, M_K) || (d->k.len != 16 && d->k.len != 32))
		return err_set(err, ERR_FORMAT, "key %zu: \"k\" is not 16 or 32 bytes", place);
	key->has_alg = d->alg[0] != '\0';
	if (key->has_alg && !oct_alg(d->alg, &key->alg))
		return err_set(err, ERR_FORMAT, "key %zu: unknown algorithm \"%s\"", place, TEXT(d->alg, strlen(d->alg)));
	if (key->has_alg && aead_key_len(key->alg) != d->k.len)
		return err_set(err, ERR_FORMAT, "key %zu: %s takes a key of %zu bytes, not %zu", place, aead_alg_name(key->alg),
		               aead_key_len(key->alg), d->k.len);
	key->secret = secret_copy(d->k.b, d->k.len);
	return key->secret ? 0 : err_sys(err, ENOMEM, "key %zu", place);
}

static int finish_okp(const struct draft *d, struct jwk *key, size_t place, struct err *err)
{
	uint8_t x[SIGN_KEY_LEN];

	key->kind = JWK_OKP;
	if (has(d, M_K))
		return err_set(err, ERR_FORMAT, "key %zu: an okp key has no \"k\"", place);
	if (d->alg[0] && strcmp(d->alg, "EdDSA") != 0 && !sign_alg_known(d->alg, strlen(d->alg)))
		return err_set(err, ERR_FORMAT, "key %zu: unknown algorithm \"%s\"", place, TEXT(d->alg, strlen(d->alg)));
	if (has(d, M_CRV) && strcmp(d->crv, "Ed25519") != 0)
		return err_set(err, ERR_FORMAT, "key %zu: \"crv\" is not Ed25519", place);
	if (!has(d, M_X) || d->x.len != SIGN_KEY_LEN)
		return err_set(err, ERR_FORMAT, "key %zu: \"x\" is not 32 bytes", place);
	memcpy(key->x, d->x.b, SIGN_KEY_LEN);
	if (!has(d, M_D))
		return 0;
	if (d->d.len != SIGN_KEY_LEN)
		return err_set(err, ERR_FORMAT, "key %zu: \"d\" is not 32 bytes", place);
	if (!sign_public(d->d.b, x))
		return err_sys(err, ENOMEM, "key %zu: no Ed25519 from OpenSSL", place);
	if (memcmp(x, key->x, sizeof x) != 0)
		return err_set(err, ERR_FORMAT, "key %zu: \"x\" is not the public key of \"d\"", place);
	key->secret = secret_copy(d->d.b, d->d.len);
	return key->secret ? 0 : err_sys(err, ENOMEM, "key %zu", place);
}

static bool has_twin(const struct jwk_set *set, const struct jwk *key)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *k = &set->keys[i];

		if (k->kind == key->kind && k->has_kid && key->has_kid && k->kid_len == key->kid_len &&
		    memcmp(k->kid, key->kid, k->kid_len) == 0)
			return true;
	}
	return false;
}

/* Makes a key of the draft and appends it to set. */
static int draft_finish(const struct draft *d, struct jwk_set *set, struct err *err)
{
	size_t place = set->count + 1;
	struct jwk *key, *grown;
	int r;

	if (!has(d, M_KTY))
		return err_set(err, ERR_FORMAT, "key %zu: \"kty\" is missing", place);
	if (place > JWK_KEYS_MAX)
		return err_set(err, ERR_FORMAT, "more than %u keys", JWK_KEYS_MAX);
	grown = realloc(set->keys, place * sizeof *grown);
	if (!grown)
		return err_sys(err, ENOMEM, "key %zu", place);
	set->keys = grown;
	key = &set->keys[set->count];
	memset(key, 0, sizeof *key);
	key->has_kid = has(d, M_KID);
	key->kid_len = d->kid_len;
	memcpy(key->kid, d->kid, d->kid_len);

	if (strcmp(d->kty, "oct") == 0)
		r = finish_oct(d, key, place, err);
	else if (strcmp(d->kty, "okp") == 0 || strcmp(d->kty, "OKP") == 0)
		r = finish_okp(d, key, place, err);
	else
		r = err_set(err, ERR_FORMAT, "key %zu: \"kty\" is not oct or okp", place);
	if (r == 0 && has_twin(set, key)) {
		secret_free(key->secret);
		r = err_set(err, ERR_FORMAT, "key %zu: a second key of its kind with the kid \"%s\"", place, TEXT(key->kid, key->kid_len));
	}
	if (r == 0)
		set->count++;
	return r;
}

static int parse_element(struct jwk_set *set, const struct json *j, int tok, struct err *err)
{
	struct draft d = { 0 };
	int key, r = 0;

	if (json_type(j, tok) != JSON_OBJECT)
		return err_set(err, ERR_FORMAT, "key %zu is not an object", set->count + 1);
	for (key = json_first(j, tok); key >= 0 && r == 0; key = json_sibling(j, key))
		r = draft_member(&d, j, key, json_value(j, key), set->count + 1, err);
	if (r == 0)
		r = draft_finish(&d, set, err);
	secret_wipe(&d, sizeof d);
	return r;
}

static int parse_array(struct jwk_set *set, const struct json *j, int tok, struct err *err)
{
	int r = 0;

	if (json_type(j, tok) != JSON_ARRAY)
		return err_set(err, ERR_FORMAT, "\"keys\" is not an array");
	for (int e = json_first(j, tok); e >= 0 && r == 0; e = json_sibling(j, e))
		r = parse_element(set, j, e, err);
	if (r == 0 && set->count == 0)
		r = err_set(err, ERR_FORMAT, "\"keys\" is empty");
	return r;
}

int jwk_set_parse(struct jwk_set *set, const char *text, size_t len, struct err *err)
{
	struct draft top = { 0 }; /* the members of the outer object, if that is a JWK itself */
	struct json_member m;
	struct json j;
	bool is_set = false;
	int r;

	set->keys = NULL;
	set->count = 0;
	json_begin(&j, text, len);
	while ((r = json_next(&j, &m, err)) > 0) {
		if (!json_is(&j, m.key, "keys"))
			r = draft_member(&top, &j, m.key, m.value, 1, err);
		else if (is_set)
			r = err_set(err, ERR_FORMAT, "\"keys\" is there twice");
		else
			r = parse_array(set, &j, m.value, err);
		if (r < 0)
			break;
		is_set |= json_is(&j, m.key, "keys");
	}
	if (r == 0 && is_set && has(&top, M_KTY))
		r = err_set(err, ERR_FORMAT, "both a key and a set of keys");
	if (r == 0 && !is_set && !top.seen)
		r = err_set(err, ERR_FORMAT, "no JWK: neither \"keys\" nor \"kty\" is there");
	if (r == 0 && !is_set)
		r = draft_finish(&top, set, err);
	secret_wipe(&top, sizeof top);
	json_release(&j);
	if (r < 0)
		jwk_set_release(set);
	return r;
}

void jwk_set_release(struct jwk_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		secret_free(set->keys[i].secret);
	free(set->keys);
	set->keys = NULL;
	set->count = 0;
}

/* Reads everything to the end into s: the length, or -1 (with *err) if it is longer than s or cannot be read. */
static ssize_t read_all(int fd, struct secret *s, const char *shown, struct err *err)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = len < s->len ? read(fd, s->data + len, s->len - len) : 1;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "%s", shown);
		if (n == 0)
			return (ssize_t)len;
		if (len == s->len)
			return err_set(err, ERR_FORMAT, "%s: over %u bytes: not a key file", shown, JWK_FILE_MAX);
		len += (size_t)n;
	}
}

static bool holds_secret(const struct jwk_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->keys[i].secret)
			return true;
	return false;
}

struct secret *jwk_file_read(const char *path, mode_t *mode, struct err *err)
{
	const char *shown = TEXT(path, strlen(path));
	struct secret *text = NULL;
	struct stat st;
	ssize_t len = -1;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err_sys(err, errno, "%s", shown);
		goto out;
	}
	if (S_ISDIR(st.st_mode)) {
		err_sys(err, EISDIR, "%s", shown);
		goto out;
	}
	*mode = S_ISREG(st.st_mode) ? st.st_mode & 07777u : 0;
	text = secret_new(S_ISREG(st.st_mode) && st.st_size < JWK_FILE_MAX ? (size_t)st.st_size + 1 : JWK_FILE_MAX);
	if (!text) {
		err_sys(err, ENOMEM, "%s", shown);
		goto out;
	}
	len = read_all(fd, text, shown, err);
out:
	if (fd >= 0)
		close(fd);
	if (len < 0) {
		secret_free(text);
		return NULL;
	}
	text->len = (size_t)len;
	return text;
}

int jwk_file_exposed(const char *path, mode_t mode, struct err *err)
{
	const char *shown = TEXT(path, strlen(path));

	return err_set(err, ERR_REJECTED, "%s: a key file that others may use (mode %04o): chmod 600 %s", shown, mode, shown);
}

int jwk_file_parse(struct jwk_set *set, const char *path, const struct secret *text, mode_t mode, struct err *err)
{
	const char *shown = TEXT(path, strlen(path));
	struct err why = { 0 };
	int r = jwk_set_parse(set, (const char *)text->data, text->len, &why);

	if (mode & (r == 0 && !holds_secret(set) ? 022 : 077)) {
		jwk_set_release(set);
		return jwk_file_exposed(path, mode, err);
	}
	if (r < 0 && why.code == ERR_SYSTEM)
		err_sys(err, why.sys_errno, "%s", shown);
	else if (r < 0)
		err_set(err, why.code, "%s: not a JWK set: %s", shown, why.text);
	return r;
}

int jwk_set_read(struct jwk_set *set, const char *path, struct err *err)
{
	mode_t mode;
	struct secret *text = jwk_file_read(path, &mode, err);

	set->keys = NULL;
	set->count = 0;
	int r = text ? jwk_file_parse(set, path, text, mode, err) : -1;
	secret_free(text);
	return r;
}

/* Text that goes to p, or is only counted while p is NULL. */
struct sink {
	char *p;
	size_t len;
};

static void sink_put(struct sink *s, const char *text, size_t len)
{
	if (s->p)
		memcpy(s->p + s->len, text, len);
	s->len += len;
}

static void sink_puts(struct sink *s, const char *text)
{
	sink_put(s, text, strlen(text));
}

static void sink_bytes(struct sink *s, const char *name, enum base64_kind kind, const uint8_t *b, size_t len)
{
	size_t n = base64_encoded_len(kind, len);

	sink_puts(s, ",\"");
	sink_puts(s, name);
	sink_puts(s, "\":\"");
	if (s->p)
		base64_encode(kind, b, len, s->p + s->len);
	s->len += n;
	sink_puts(s, "\"");
}

static bool sink_kid(struct sink *s, const struct jwk *k)
{
	struct buf quoted = BUF_INIT;
	bool good;

	buf_put_json_string(&quoted, k->kid, k->kid_len);
	good = !quoted.failed;
	if (good) {
		sink_puts(s, ",\"kid\":");
		sink_put(s, quoted.data, quoted.len);
	}
	buf_release(&quoted);
	return good;
}

static bool sink_key(struct sink *s, const struct jwk *k, enum jwk_spelling spelling, enum jwk_part part)
{
	static const char *const rfc_alg[AEAD_ALGS] = {
		[AEAD_AES128GCM] = "A128GCM",
		[AEAD_AES256GCM] = "A256GCM",
		[AEAD_CHACHA20POLY1305] = "C20P",
	};
	bool rfc = spelling == JWK_RFC7517;
	enum base64_kind kind = rfc ? BASE64_URL : BASE64_STD;

	if (k->kind == JWK_OKP) {
		sink_puts(s, rfc ? "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"EdDSA\"" : "{\"kty\":\"okp\",\"alg\":\"ed25519\"");
	} else {
		sink_puts(s, "{\"kty\":\"oct\"");
		if (k->has_alg || !rfc) { /* the reference wants alg to be there */
			sink_puts(s, ",\"alg\":\"");
			if (k->has_alg)
				sink_puts(s, rfc ? rfc_alg[k->alg] : aead_alg_name(k->alg));
			sink_puts(s, "\"");
		}
	}
	if (k->has_kid && !sink_kid(s, k))
		return false;
	if (k->kind == JWK_OKP) {
		sink_bytes(s, "x", kind, k->x, sizeof k->x);
		if (part == JWK_ALL && k->secret)
			sink_bytes(s, "d", kind, k->secret->data, k->secret->len);
	} else {
		sink_bytes(s, "k", kind, k->secret->data, k->secret->len);
	}
	sink_puts(s, "}");
	return true;
}

static bool sink_set(struct sink *s, const struct jwk_set *set, enum jwk_spelling spelling, enum jwk_part part)
{
	bool first = true;

	sink_puts(s, "{\"keys\":[\n");
	for (size_t i = 0; i < set->count; i++) {
		if (part == JWK_VERIFIER && set->keys[i].kind != JWK_OKP)
			continue;
		sink_puts(s, first ? "" : ",\n");
		first = false;
		if (!sink_key(s, &set->keys[i], spelling, part))
			return false;
	}
	sink_puts(s, "\n]}\n");
	return true;
}

struct secret *jwk_set_write(const struct jwk_set *set, enum jwk_spelling spelling, enum jwk_part part)
{
	struct sink s = { NULL, 0 };
	struct secret *out;

	if (!sink_set(&s, set, spelling, part))
		return NULL;
	out = secret_new(s.len);
	if (!out)
		return NULL;
	s = (struct sink){ (char *)out->data, 0 };
	if (!sink_set(&s, set, spelling, part)) {
		secret_free(out);
		return NULL;
	}
	return out;
}

const struct jwk *jwk_set_find(const struct jwk_set *set, enum jwk_kind kind, bool has_kid, struct str kid)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *k = &set->keys[i];

		if (k->kind != kind)
			continue;
		if (!has_kid || (k->has_kid && k->kid_len == kid.len && memcmp(k->kid, kid.p, kid.len) == 0))
			return k;
	}
	return NULL;
}
