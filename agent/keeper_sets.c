#include "keeper_sets.h"

#include <errno.h>
#include <string.h>

void keeper_sets_strip(struct jwk_set *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		struct jwk *k = &keys->keys[i];

		if (k->kind == JWK_OCT) {
			k->secret = secret_hide(k->secret);
		} else {
			secret_free(k->secret);
			k->secret = NULL;
		}
	}
}

uint32_t keeper_sets_flags(const struct jwk_set *keys)
{
	uint32_t flags = KEEPER_LOCKED | KEEPER_HIDDEN;

	for (size_t i = 0; i < keys->count; i++) {
		const struct secret *s = keys->keys[i].secret;

		if (s && !s->locked)
			flags &= ~(uint32_t)KEEPER_LOCKED;
		if (s && !s->hidden)
			flags &= ~(uint32_t)KEEPER_HIDDEN;
	}
	return flags;
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

uint64_t keeper_sets_same(const struct keeper_sets *s, const struct jwk_set *keys)
{
	for (size_t i = 0; i < s->count; i++)
		if (same_set(&s->all[i].keys, keys))
			return s->all[i].id;
	return 0;
}

struct kept *keeper_sets_find(struct keeper_sets *s, uint64_t id)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->all[i].id == id)
			return &s->all[i];
	return NULL;
}

bool keeper_sets_put(struct keeper_sets *s, uint64_t id, const struct jwk_set *keys, struct token *t, int64_t expires)
{
	if (s->count == KEEPER_SETS_MAX)
		return false;
	s->all[s->count++] = (struct kept){ id, expires, *keys, t };
	return true;
}

static void drop(struct keeper_sets *s, size_t i)
{
	jwk_set_release(&s->all[i].keys);
	token_close(s->all[i].token);
	memmove(&s->all[i], &s->all[i + 1], (s->count - i - 1) * sizeof s->all[0]);
	s->count--;
}

void keeper_sets_remove(struct keeper_sets *s, uint64_t id)
{
	for (size_t i = s->count; i-- > 0;)
		if (id == 0 || s->all[i].id == id)
			drop(s, i);
}

int64_t keeper_sets_expire(struct keeper_sets *s, int64_t now)
{
	int64_t next = -1;

	for (size_t i = s->count; i-- > 0;) {
		int64_t at = s->all[i].expires;

		if (at < 0)
			continue;
		if (at <= now)
			drop(s, i);
		else if (next < 0 || at < next)
			next = at;
	}
	return next;
}

static enum keeper_what by_token(struct token *t, enum aead_alg alg, const struct keeper_wrapped *w, size_t n, uint8_t *out, size_t *which,
                                 struct err *err)
{
	size_t len = aead_key_len(alg);

	if (alg == AEAD_CHACHA20POLY1305 || token_key_len(t) != len)
		return SAY_UNFIT;
	for (size_t i = 0; i < n; i++, out += len)
		if (token_unwrap(t, w[i].iv, w[i].key, len, w[i].tag, out, err)) {
			*which = i;
			return err->code == ERR_FORMAT ? SAY_WRONG : SAY_FAILURE;
		}
	return SAY_UNWRAPPED;
}

static enum keeper_what by_key(const struct jwk *kek, enum aead_alg alg, const struct keeper_wrapped *w, size_t n, uint8_t *out, size_t *which,
                               struct err *err)
{
	enum keeper_what says = SAY_UNWRAPPED;
	size_t len = aead_key_len(alg);
	struct aead *a;

	if ((kek->has_alg && kek->alg != alg) || kek->secret->len != len)
		return SAY_UNFIT;
	a = aead_new(alg);
	if (!a) {
		err_sys(err, ENOMEM, "%zu data keys", n);
		return SAY_FAILURE;
	}
	for (size_t i = 0; i < n && says == SAY_UNWRAPPED; i++, out += len)
		if (!aead_open(a, kek->secret->data, w[i].iv, w[i].key, out, len, w[i].tag)) {
			*which = i;
			says = SAY_WRONG;
		}
	aead_free(a);
	return says;
}

enum keeper_what keeper_sets_unwrap(struct keeper_sets *s, const struct keeper_head *h, const struct keeper_wrapped *wrapped, uint8_t *out,
                                    size_t *which, struct err *err)
{
	const struct kept *set = keeper_sets_find(s, h->set);
	const struct jwk *kek;

	if (!set || h->key >= set->keys.count || h->alg >= AEAD_ALGS)
		return SAY_GONE;
	kek = &set->keys.keys[h->key];
	if (kek->kind != JWK_OCT)
		return SAY_GONE;
	if (kek->secret)
		return by_key(kek, (enum aead_alg)h->alg, wrapped, h->count, out, which, err);
	return set->token ? by_token(set->token, (enum aead_alg)h->alg, wrapped, h->count, out, which, err) : SAY_GONE;
}
