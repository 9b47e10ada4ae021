#include "unlock.h"

#include <errno.h>
#include <string.h>

#include "canon.h"
#include "text.h"

/* What the sets that were looked at have to offer. */
struct search {
	bool kek, signer, both; /* some set has the master key, the signing key, the two of them */
	bool foreign;           /* the signature verifies with a set that lacks the master key */
	const uint8_t *good;    /* the public key that made the signature, once found */
	struct buf signed_text; /* made when the first signing key turns up */
	uint64_t hashed;        /* bytes that signature checks went over */
};

/* The text for messages: ` "kid"`, or nothing where the file names no kid. */
#define KID(ref) ((ref)->has_kid ? " \"" : ""), ((ref)->has_kid ? TEXT((ref)->kid.p, (ref)->kid.len) : ""), ((ref)->has_kid ? "\"" : "")

/* True if an earlier set was tried with the same public key. */
static bool tried_before(const struct jwk_set *sets, size_t upto, const struct crypto_info *c, const uint8_t *x)
{
	for (size_t i = 0; i < upto; i++) {
		const struct jwk *k = jwk_set_find(&sets[i], JWK_OKP, c->sign.has_kid, c->sign.kid);

		if (k && memcmp(k->x, x, SIGN_KEY_LEN) == 0)
			return true;
	}
	return false;
}

/* 1: x made the signature; 0: it did not; -1: no memory. Costs a pass over the whole header, so no key is tried twice. */
static int is_good(struct search *s, const struct jwk_set *sets, size_t i, const struct header *h, const struct crypto_info *c,
                   const uint8_t *x, struct err *err)
{
	if (s->good && memcmp(s->good, x, SIGN_KEY_LEN) == 0)
		return 1;
	if (tried_before(sets, i, c, x))
		return 0;
	if (!s->signed_text.data)
		canon_signed(&s->signed_text, h);
	if (s->signed_text.failed)
		return err_sys(err, ENOMEM, "the header's signed text");
	s->hashed += s->signed_text.len;
	if (s->hashed > UNLOCK_HASH_MAX)
		return err_set(err, ERR_NOKEY, "a header of %zu bytes that fits many key sets: too much work to find out which one signed it; "
		               "remove the sets that are not needed", s->signed_text.len);
	if (!sign_verify(x, s->signed_text.data, s->signed_text.len, c->signature))
		return 0;
	s->good = x;
	return 1;
}

/* 1: set i has both keys and made the signature; 0: not this one; -1: no memory. */
static int try_set(struct search *s, const struct jwk_set *sets, size_t i, const struct header *h, const struct crypto_info *c,
                   struct err *err)
{
	const struct jwk *kek = jwk_set_find(&sets[i], JWK_OCT, c->enc.has_kid, c->enc.kid);
	const struct jwk *signer = jwk_set_find(&sets[i], JWK_OKP, c->sign.has_kid, c->sign.kid);
	int r;

	s->kek |= kek != NULL;
	s->signer |= signer != NULL;
	s->both |= kek && signer;
	if (!signer)
		return 0;
	r = is_good(s, sets, i, h, c, signer->x, err);
	if (r <= 0 || kek)
		return r;
	s->foreign = true;
	return 0;
}

static int explain(const struct search *s, const struct crypto_info *c, struct err *err)
{
	if (s->foreign && s->kek)
		return err_set(err, ERR_REJECTED,
		               "signed by a key of another key set than the master key's: only keys that were added together trust each other");
	if (s->both)
		return err_set(err, ERR_FORMAT, "the signature is wrong: the header was changed, or the signing key%s%s%s is another one",
		               KID(&c->sign));
	if (s->kek && !s->signer)
		return err_set(err, ERR_NOKEY, "no key set with the verification key%s%s%s that the file asks for", KID(&c->sign));
	if (s->signer && !s->kek)
		return err_set(err, ERR_NOKEY, "no key set with the master key%s%s%s that the file asks for", KID(&c->enc));
	return err_set(err, ERR_NOKEY, "no key set with both keys that the file asks for: master key%s%s%s, verification key%s%s%s",
	               KID(&c->enc), KID(&c->sign));
}

int unlock_verify(const struct jwk_set *sets, size_t nsets, const struct header *h, const struct crypto_info *c, size_t *which,
                  struct err *err)
{
	struct search s = { .signed_text = BUF_INIT };
	int r = 0;

	for (size_t i = 0; i < nsets && r == 0; i++) {
		r = try_set(&s, sets, i, h, c, err);
		if (r > 0)
			*which = i;
	}
	if (r == 0)
		r = explain(&s, c, err);
	buf_release(&s.signed_text);
	return r > 0 ? 0 : -1;
}

int unlock_signed(const struct jwk_set *set, const struct header *h, const struct crypto_info *c, struct err *err)
{
	struct search s = { .kek = true, .signed_text = BUF_INIT };
	const struct jwk *signer = jwk_set_find(set, JWK_OKP, c->sign.has_kid, c->sign.kid);
	int r = signer ? is_good(&s, set, 0, h, c, signer->x, err) : 0;

	s.both = s.signer = signer != NULL;
	if (r == 0)
		r = explain(&s, c, err);
	buf_release(&s.signed_text);
	return r > 0 ? 0 : -1;
}

int unlock_wrong(const struct crypto_info *c, const struct crypto_entry *e, struct err *err)
{
	return err_set(err, ERR_FORMAT, "the data key of \"%s\" does not unwrap: it was changed, or the master key%s%s%s is another one",
	               TEXT(e->name.p, e->name.len), KID(&c->enc));
}

int unlock_unfit(const struct crypto_info *c, struct err *err)
{
	return err_set(err, ERR_FORMAT, "the data keys do not unwrap: the file is for %s, the master key%s%s%s is not", aead_alg_name(c->alg),
	               KID(&c->enc));
}

struct secret *unlock_keys_by(unlock_all *all, void *kek, const struct crypto_info *c, struct err *err)
{
	size_t len = aead_key_len(c->alg);
	struct secret *keys = NULL;

	if (c->count <= SIZE_MAX / AEAD_KEY_MAX)
		keys = secret_new(c->count * len);
	if (!keys) {
		err_sys(err, ENOMEM, "%zu data keys", c->count);
		return NULL;
	}
	if (all(kek, c, keys->data, len, err) == 0)
		return keys;
	secret_free(keys);
	return NULL;
}

/* A master key in memory. */
struct in_memory {
	struct aead *a;
	const uint8_t *key;
};

static int open_all(void *kek, const struct crypto_info *c, uint8_t *out, size_t len, struct err *err)
{
	const struct in_memory *m = kek;

	for (size_t i = 0; i < c->count; i++, out += len) {
		const struct crypto_entry *e = &c->entries[i];

		if (!aead_open(m->a, m->key, e->key_iv, e->wrapped_key, out, len, e->key_tag))
			return unlock_wrong(c, e, err);
	}
	return 0;
}

struct secret *unlock_keys(const struct jwk_set *set, const struct crypto_info *c, struct err *err)
{
	const struct jwk *kek = jwk_set_find(set, JWK_OCT, c->enc.has_kid, c->enc.kid);
	struct secret *keys = NULL;
	struct in_memory m;

	if (!kek || !kek->secret) {
		err_set(err, ERR_NOKEY, "no master key%s%s%s", KID(&c->enc));
		return NULL;
	}
	if ((kek->has_alg && kek->alg != c->alg) || kek->secret->len != aead_key_len(c->alg)) {
		unlock_unfit(c, err);
		return NULL;
	}
	m = (struct in_memory){ aead_new(c->alg), kek->secret->data };
	if (m.a)
		keys = unlock_keys_by(open_all, &m, c, err);
	else
		err_sys(err, ENOMEM, "%zu data keys", c->count);
	aead_free(m.a);
	return keys;
}
