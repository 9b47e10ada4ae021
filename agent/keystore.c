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
	int64_t expires;     /* -1: never */
	struct token *token; /* has the set's one master key; NULL: those are in the set */
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
	token_close(ks->meta[i].token);
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
	if (!a->secret || !b->secret) /* in a token: nobody can say */
		return false;
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

static int no_room(struct err *err)
{
	return err_sys(err, ENOSPC, "%d key sets are the limit: ct remove makes room", KEYSTORE_SETS_MAX);
}

static void append(struct keystore *ks, const struct jwk_set *set, struct token *token)
{
	ks->sets[ks->count] = *set;
	ks->meta[ks->count] = (struct meta){ ++ks->last_id, -1, token };
	ks->count++;
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
		return no_room(err);
	}
	added->keys = set.count;
	if (i < ks->count) {
		jwk_set_release(&set);
	} else {
		append(ks, &set, NULL);
	}
	added->set = ks->meta[i].id;
	ks->meta[i].expires = lifetime_s ? now + (int64_t)lifetime_s * 1000 : -1;
	return 0;
}

int keystore_add_token(struct keystore *ks, struct token *t, const char *kid, size_t kid_len, struct jwk_set *verify,
                       struct keystore_added *added, struct err *err)
{
	struct jwk *keys;

	if (ks->count == KEYSTORE_SETS_MAX)
		return no_room(err);
	keys = realloc(verify->keys, (verify->count + 1) * sizeof *keys);
	if (!keys)
		return err_sys(err, ENOMEM, "a key set");
	verify->keys = keys;
	keys[verify->count] = (struct jwk){ .kind = JWK_OCT, .has_kid = kid != NULL, .kid_len = kid ? kid_len : 0, .has_alg = true,
		                            .alg = token_key_len(t) == 16 ? AEAD_AES128GCM : AEAD_AES256GCM };
	if (kid)
		memcpy(keys[verify->count].kid, kid, kid_len);
	verify->count++;
	append(ks, verify, t);
	added->set = ks->last_id;
	added->keys = verify->count;
	*verify = (struct jwk_set){ NULL, 0 };
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

bool keystore_has(const struct keystore *ks, uint64_t set)
{
	return place(ks, set) < ks->count;
}

bool keystore_has_signer(const struct keystore *ks, uint64_t set, const uint8_t x[SIGN_KEY_LEN])
{
	size_t i = place(ks, set);

	for (size_t k = 0; i < ks->count && k < ks->sets[i].count; k++)
		if (ks->sets[i].keys[k].kind == JWK_OKP && memcmp(ks->sets[i].keys[k].x, x, SIGN_KEY_LEN) == 0)
			return true;
	return false;
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
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	if (EVP_Digest(x, SIGN_KEY_LEN, md, &n, EVP_sha256(), NULL) != 1)
		out->failed = true;
	buf_puts(out, ",\"sha256\":\"");
	buf_put_hex(out, md, n);
	buf_puts(out, "\"");
}

static void put_key(struct buf *out, const struct jwk *k, const struct token *t)
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
	if (!okp && t) {
		buf_puts(out, ",\"token\":");
		buf_put_json_string(out, token_label(t), strlen(token_label(t)));
	}
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
			put_key(out, &ks->sets[i].keys[k], ks->meta[i].token);
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

static int by_token(void *kek, const struct crypto_info *c, const struct crypto_entry *e, uint8_t *out, size_t len, struct err *err)
{
	int r = token_unwrap(kek, e->key_iv, e->wrapped_key, len, e->key_tag, out, err);

	return r && err->code == ERR_FORMAT ? unlock_wrong(c, e, err) : r;
}

static struct secret *unwrap_by_token(struct token *t, const struct crypto_info *c, struct err *err)
{
	if (c->alg == AEAD_CHACHA20POLY1305) {
		err_set(err, ERR_REJECTED,
		        "the file is for chacha20poly1305, and the master key lies in the token \"%s\", which knows only AES: encrypt it with aes256gcm",
		        token_label(t));
		return NULL;
	}
	if (token_key_len(t) != aead_key_len(c->alg)) {
		err_set(err, ERR_FORMAT, "the data keys do not unwrap: the file is for %s, the master key in the token \"%s\" is not",
		        aead_alg_name(c->alg), token_label(t));
		return NULL;
	}
	return unlock_keys_by(by_token, t, c, err);
}

struct secret *keystore_unwrap(const struct keystore *ks, uint64_t set, const struct crypto_info *c, struct err *err)
{
	size_t i = place(ks, set);

	if (i == ks->count) {
		err_set(err, ERR_NOKEY, "the key set was removed or has expired: ct add KEYS");
		return NULL;
	}
	if (ks->meta[i].token)
		return unwrap_by_token(ks->meta[i].token, c, err);
	return unlock_keys(&ks->sets[i], c, err);
}
