#include "keystore.h"

#include <errno.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "jwk.h"
#include "unlock.h"

struct meta {
	uint64_t id;
	int64_t expires; /* -1: never */
};

struct keystore {
	size_t count;
	uint64_t last_id;
	struct jwk_set sets[KEYSTORE_SETS_MAX]; /* in the order they were added: an array, as unlock.h wants it */
	struct meta meta[KEYSTORE_SETS_MAX];
};

struct keystore *keystore_new(void)
{
	return calloc(1, sizeof(struct keystore));
}

void keystore_free(struct keystore *ks)
{
	if (!ks)
		return;
	keystore_remove_all(ks);
	free(ks);
}

static void drop(struct keystore *ks, size_t i)
{
	size_t behind = ks->count - i - 1;

	jwk_set_release(&ks->sets[i]);
	memmove(&ks->sets[i], &ks->sets[i + 1], behind * sizeof ks->sets[0]);
	memmove(&ks->meta[i], &ks->meta[i + 1], behind * sizeof ks->meta[0]);
	ks->count--;
}

/* The index of a set, or count. */
static size_t place(const struct keystore *ks, uint64_t id)
{
	size_t i = 0;

	while (i < ks->count && ks->meta[i].id != id)
		i++;
	return i;
}

static bool same_key(const struct jwk *a, const struct jwk *b)
{
	if (a->kind != b->kind || a->has_kid != b->has_kid || a->kid_len != b->kid_len || memcmp(a->kid, b->kid, a->kid_len) != 0)
		return false;
	if (a->kind == JWK_OKP)
		return memcmp(a->x, b->x, sizeof a->x) == 0;
	return a->has_alg == b->has_alg && (!a->has_alg || a->alg == b->alg) && secret_equal(a->secret, b->secret);
}

static bool same_set(const struct jwk_set *a, const struct jwk_set *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!same_key(&a->keys[i], &b->keys[i]))
			return false;
	return true;
}

int keystore_add(struct keystore *ks, const struct secret *text, uint64_t lifetime_s, int64_t now, struct keystore_added *added,
                 struct err *err)
{
	struct jwk_set set;
	size_t i;

	if (jwk_set_parse(&set, (const char *)text->data, text->len, err))
		return -1;
	for (i = 0; i < set.count; i++)
		if (set.keys[i].kind == JWK_OKP) {
			secret_free(set.keys[i].secret);
			set.keys[i].secret = NULL;
		}
	for (i = 0; i < ks->count; i++)
		if (same_set(&ks->sets[i], &set))
			break;
	if (i == KEYSTORE_SETS_MAX) {
		jwk_set_release(&set);
		return err_sys(err, ENOSPC, "%d key sets are the limit: ct remove makes room", KEYSTORE_SETS_MAX);
	}
	added->keys = set.count;
	if (i < ks->count) {
		jwk_set_release(&set);
	} else {
		ks->sets[i] = set;
		ks->meta[i].id = ++ks->last_id;
		ks->count++;
	}
	added->set = ks->meta[i].id;
	ks->meta[i].expires = lifetime_s ? now + (int64_t)lifetime_s * 1000 : -1;
	return 0;
}

size_t keystore_remove(struct keystore *ks, uint64_t set)
{
	size_t i = place(ks, set);

	if (i == ks->count)
		return 0;
	drop(ks, i);
	return 1;
}

size_t keystore_remove_all(struct keystore *ks)
{
	size_t n = ks->count;

	while (ks->count)
		drop(ks, ks->count - 1);
	return n;
}

int64_t keystore_expire(struct keystore *ks, int64_t now)
{
	int64_t next = -1;

	for (size_t i = ks->count; i-- > 0;) {
		int64_t at = ks->meta[i].expires;

		if (at < 0)
			continue;
		if (at <= now)
			drop(ks, i);
		else if (next < 0 || at < next)
			next = at;
	}
	return next;
}

size_t keystore_count(const struct keystore *ks)
{
	return ks->count;
}

bool keystore_in_locked_memory(const struct keystore *ks)
{
	for (size_t i = 0; i < ks->count; i++)
		for (size_t k = 0; k < ks->sets[i].count; k++)
			if (ks->sets[i].keys[k].secret && !ks->sets[i].keys[k].secret->locked)
				return false;
	return true;
}

static void put_fingerprint(struct buf *out, const uint8_t x[SIGN_KEY_LEN])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	if (EVP_Digest(x, SIGN_KEY_LEN, md, &n, EVP_sha256(), NULL) != 1)
		out->failed = true;
	buf_puts(out, ",\"sha256\":\"");
	for (unsigned int i = 0; i < n; i++) {
		buf_putc(out, hex[md[i] >> 4]);
		buf_putc(out, hex[md[i] & 15]);
	}
	buf_puts(out, "\"");
}

static void put_key(struct buf *out, const struct jwk *k)
{
	bool okp = k->kind == JWK_OKP;

	buf_puts(out, okp ? "{\"kty\":\"okp\",\"alg\":" : "{\"kty\":\"oct\",\"alg\":");
	if (okp || k->has_alg) {
		const char *alg = okp ? "ed25519" : aead_alg_name(k->alg);

		buf_put_json_string(out, alg, strlen(alg));
	} else {
		buf_puts(out, "null");
	}
	buf_puts(out, ",\"kid\":");
	if (k->has_kid)
		buf_put_json_string(out, k->kid, k->kid_len);
	else
		buf_puts(out, "null");
	if (okp)
		put_fingerprint(out, k->x);
	buf_putc(out, '}');
}

void keystore_list(const struct keystore *ks, int64_t now, struct buf *out)
{
	buf_puts(out, "{\"sets\":[");
	for (size_t i = 0; i < ks->count; i++) {
		buf_puts(out, i ? ",{\"id\":" : "{\"id\":");
		buf_put_u64(out, ks->meta[i].id);
		buf_puts(out, ",\"expires_in\":");
		if (ks->meta[i].expires < 0)
			buf_puts(out, "null");
		else
			buf_put_u64(out, (uint64_t)(ks->meta[i].expires - now + 999) / 1000);
		buf_puts(out, ",\"keys\":[");
		for (size_t k = 0; k < ks->sets[i].count; k++) {
			if (k)
				buf_putc(out, ',');
			put_key(out, &ks->sets[i].keys[k]);
		}
		buf_puts(out, "]}");
	}
	buf_puts(out, "]}");
}

int keystore_verify(const struct keystore *ks, uint64_t after, const struct header *h, const struct crypto_info *c, uint64_t *set,
                    struct err *err)
{
	size_t first = 0, i;

	if (!ks->count)
		return err_set(err, ERR_NOKEY, "the agent has no keys: ct add KEYS");
	while (first < ks->count && ks->meta[first].id <= after)
		first++;
	if (unlock_verify(ks->sets + first, ks->count - first, h, c, &i, err))
		return -1;
	*set = ks->meta[first + i].id;
	return 0;
}

bool keystore_has_kid(const struct keystore *ks, uint64_t set, const char *glob)
{
	size_t i = place(ks, set);

	for (size_t k = 0; i < ks->count && k < ks->sets[i].count; k++) {
		const struct jwk *key = &ks->sets[i].keys[k];

		/* an id with a NUL in it is no text that a glob could stand for */
		if (key->has_kid && !memchr(key->kid, 0, key->kid_len) && fnmatch(glob, key->kid, 0) == 0)
			return true;
	}
	return false;
}

struct secret *keystore_unwrap(const struct keystore *ks, uint64_t set, const struct crypto_info *c, struct err *err)
{
	size_t i = place(ks, set);

	if (i == ks->count) {
		err_set(err, ERR_NOKEY, "the key set was removed or has expired: ct add KEYS");
		return NULL;
	}
	return unlock_keys(&ks->sets[i], c, err);
}
