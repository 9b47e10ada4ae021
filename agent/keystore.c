#include "keystore.h"

#include <errno.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "text.h"
#include "unlock.h"

struct meta {
	uint64_t id;
	int64_t expires; /* -1: never */
	char *token;     /* label of what has the set's one master key, malloc'ed; NULL: the keeper itself */
	bool locked, hidden;
};

struct keystore {
	struct keeper *keeper;
	size_t count;
	uint64_t last_id;
	struct jwk_set sets[KEYSTORE_SETS_MAX]; /* in the order they were added: an array, as unlock.h wants it */
	struct meta meta[KEYSTORE_SETS_MAX];
	char late[TEXT_MAX + 32]; /* what the keeper did not come back from */
};

/* Takes over *s. */
static void append(struct keystore *ks, uint64_t id, int64_t expires, const struct keeper_set *s)
{
	ks->sets[ks->count] = s->keys;
	ks->meta[ks->count] = (struct meta){ id, expires, s->token, s->locked, s->hidden };
	ks->last_id = id;
	ks->count++;
}

struct keystore *keystore_start(const struct tokens *tokens, bool background, struct hardening *h, struct err *err)
{
	struct keystore *ks = calloc(1, sizeof *ks);
	struct keeper_set s;
	int r = -1;

	if (!ks) {
		err_sys(err, ENOMEM, "the table of key sets");
		return NULL;
	}
	ks->keeper = keeper_start(tokens, background, err);
	while (ks->keeper && (r = keeper_token(ks->keeper, &s, h, err)) > 0) {
		if (ks->count == KEYSTORE_SETS_MAX || s.set <= ks->last_id) {
			keeper_set_release(&s);
			break;
		}
		append(ks, s.set, -1, &s);
	}
	if (r == 0)
		return ks;
	if (r > 0)
		err_sys(err, EPROTO, "the process that keeps the keys");
	keystore_free(ks);
	return NULL;
}

static void release(struct keystore *ks, size_t i)
{
	jwk_set_release(&ks->sets[i]);
	free(ks->meta[i].token);
}

void keystore_free(struct keystore *ks)
{
	if (!ks)
		return;
	keeper_stop(ks->keeper);
	for (size_t i = 0; i < ks->count; i++)
		release(ks, i);
	free(ks);
}

int keystore_fd(const struct keystore *ks)
{
	return keeper_fd(ks->keeper);
}

int keystore_events(struct keystore *ks, struct err *err)
{
	return keeper_events(ks->keeper) == 0 ? 0 : err_sys(err, EPIPE, "the process that keeps the keys has ended, and they are gone with it");
}

pid_t keystore_keeper(const struct keystore *ks)
{
	return keeper_pid(ks->keeper);
}

static void drop(struct keystore *ks, size_t i)
{
	size_t behind = ks->count - i - 1;

	release(ks, i);
	memmove(&ks->sets[i], &ks->sets[i + 1], behind * sizeof ks->sets[0]);
	memmove(&ks->meta[i], &ks->meta[i + 1], behind * sizeof ks->meta[0]);
	ks->count--;
}

/* The index of a set, or count. */
static size_t index_of(const struct keystore *ks, uint64_t id)
{
	size_t i = 0;

	while (i < ks->count && ks->meta[i].id != id)
		i++;
	return i;
}

int keystore_add(struct keystore *ks, int fd, size_t len, struct err *err)
{
	return keeper_add(ks->keeper, fd, len, err);
}

void keystore_give_up(struct keystore *ks, int place)
{
	keeper_drop(ks->keeper, place);
}

static bool has_signer(const struct jwk_set *keys, const uint8_t x[SIGN_KEY_LEN])
{
	for (size_t k = 0; k < keys->count; k++)
		if (keys->keys[k].kind == JWK_OKP && memcmp(keys->keys[k].x, x, SIGN_KEY_LEN) == 0)
			return true;
	return false;
}

int keystore_added(struct keystore *ks, int place, uint64_t lifetime_s, int64_t now, const uint8_t *signer, struct keystore_added *added, struct err *err)
{
	int64_t expires = lifetime_s ? now + (int64_t)lifetime_s * 1000 : -1;
	struct keeper_set s;
	int r = keeper_offer(ks->keeper, place, &s, err);
	size_t i;

	if (r <= 0)
		return r;
	if (signer && !has_signer(&s.keys, signer)) {
		keeper_drop(ks->keeper, place);
		keeper_set_release(&s);
		return err_set(err, ERR_REJECTED, "the licence is not signed by a verification key of the set that it came with");
	}
	i = index_of(ks, s.set);
	if (i == KEYSTORE_SETS_MAX) {
		keeper_drop(ks->keeper, place);
		keeper_set_release(&s);
		return err_sys(err, ENOSPC, "%d key sets are the limit: ct remove makes room", KEYSTORE_SETS_MAX);
	}
	added->keys = s.keys.count;
	if (i < ks->count) {
		keeper_set_release(&s);
		ks->meta[i].expires = expires;
	} else {
		append(ks, ks->last_id + 1, expires, &s);
	}
	added->set = ks->meta[i].id;
	keeper_commit(ks->keeper, place, added->set, expires);
	return 1;
}

size_t keystore_remove(struct keystore *ks, uint64_t set)
{
	size_t i = index_of(ks, set);

	if (i == ks->count)
		return 0;
	drop(ks, i);
	keeper_remove(ks->keeper, set);
	return 1;
}

size_t keystore_remove_all(struct keystore *ks)
{
	size_t n = ks->count;

	while (ks->count)
		drop(ks, ks->count - 1);
	keeper_remove(ks->keeper, 0);
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
	return index_of(ks, set) < ks->count;
}

bool keystore_has_signer(const struct keystore *ks, uint64_t set, const uint8_t x[SIGN_KEY_LEN])
{
	size_t i = index_of(ks, set);

	return i < ks->count && has_signer(&ks->sets[i], x);
}

bool keystore_in_locked_memory(const struct keystore *ks)
{
	for (size_t i = 0; i < ks->count; i++)
		if (!ks->meta[i].locked)
			return false;
	return true;
}

bool keystore_in_hidden_memory(const struct keystore *ks)
{
	for (size_t i = 0; i < ks->count; i++)
		if (!ks->meta[i].hidden)
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

static void put_key(struct buf *out, const struct jwk *k, const char *token)
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
	if (!okp && token) {
		buf_puts(out, ",\"token\":");
		buf_put_json_string(out, token, strlen(token));
	}
	buf_putc(out, '}');
}

void keystore_list(const struct keystore *ks, int64_t now, void (*more)(void *arg, uint64_t set, struct buf *out), void *arg, struct buf *out)
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
		more(arg, ks->meta[i].id, out);
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
	size_t i = index_of(ks, set);

	for (size_t k = 0; i < ks->count && k < ks->sets[i].count; k++) {
		const struct jwk *key = &ks->sets[i].keys[k];

		/* an id with a NUL in it is no text that a glob could stand for */
		if (key->has_kid && !memchr(key->kid, 0, key->kid_len) && fnmatch(glob, key->kid, 0) == 0)
			return true;
	}
	return false;
}

/* A master key, where it is. */
struct elsewhere {
	struct keystore *ks;
	const struct meta *set;
	size_t key;
};

/* Who would answer, for messages. */
static const char *who(char dst[TEXT_MAX + 32], const struct meta *set)
{
	if (set->token)
		snprintf(dst, TEXT_MAX + 32, "the token \"%s\"", set->token);
	else
		snprintf(dst, TEXT_MAX + 32, "the process that keeps the keys");
	return dst;
}

static int unfit(const struct meta *set, const struct crypto_info *c, struct err *err)
{
	if (!set->token)
		return unlock_unfit(c, err);
	if (c->alg == AEAD_CHACHA20POLY1305)
		return err_set(err, ERR_REJECTED,
		               "the file is for chacha20poly1305, and the master key lies in the token \"%s\", which knows only AES: encrypt it with aes256gcm",
		               set->token);
	return err_set(err, ERR_FORMAT, "the data keys do not unwrap: the file is for %s, the master key in the token \"%s\" is not",
	               aead_alg_name(c->alg), set->token);
}

static int no_answer(struct keystore *ks, const struct meta *set, enum keeper_answer a, const struct crypto_info *c, struct err *err)
{
	switch (a) {
	case KEEPER_UNFIT:
		return unfit(set, c, err);
	case KEEPER_GONE:
		return err_set(err, ERR_NOKEY, "the key set was removed or has expired: ct add KEYS");
	case KEEPER_LATE:
		who(ks->late, set);
		return err_set(err, ERR_NOKEY, "%s has not unwrapped the file's %zu data keys within %d s", ks->late, c->count, KEEPER_WAIT_MS / 1000);
	case KEEPER_BUSY:
		return err_set(err, ERR_NOKEY, "%s has not answered an earlier question yet: ct-agent has to be started anew if it does not come back",
		               ks->late[0] ? ks->late : "the process that keeps the keys");
	case KEEPER_ENDED:
		return err_set(err, ERR_NOKEY, "the process that keeps the keys has ended");
	default: /* KEEPER_ERROR: *err is there */
		return -1;
	}
}

static int by_keeper(void *kek, const struct crypto_info *c, uint8_t *out, size_t len, struct err *err)
{
	const struct elsewhere *e = kek;
	int64_t deadline = clock_ms() + KEEPER_WAIT_MS;
	size_t most = e->set->token ? KEEPER_BATCH_TOKEN : KEEPER_BATCH, at = 0, n, which;
	enum keeper_answer a;

	do { /* a file without data keys is asked for, too: the master key may not be one for it */
		n = c->count - at < most ? c->count - at : most;
		a = keeper_unwrap(e->ks->keeper, e->set->id, e->key, c->alg, c->entries + at, n, out + at * len, deadline, &which, err);
		if (a == KEEPER_WRONG)
			return unlock_wrong(c, &c->entries[at + which], err);
		if (a != KEEPER_OK)
			return no_answer(e->ks, e->set, a, c, err);
		at += n;
	} while (at < c->count);
	return 0;
}

struct secret *keystore_unwrap(struct keystore *ks, uint64_t set, const struct crypto_info *c, struct err *err)
{
	size_t i = index_of(ks, set);
	const struct jwk *kek = i < ks->count ? jwk_set_find(&ks->sets[i], JWK_OCT, c->enc.has_kid, c->enc.kid) : NULL;
	struct elsewhere e;

	if (!kek) {
		err_set(err, ERR_NOKEY, "the key set was removed or has expired: ct add KEYS");
		return NULL;
	}
	e = (struct elsewhere){ ks, &ks->meta[i], (size_t)(kek - ks->sets[i].keys) };
	return unlock_keys_by(by_keeper, &e, c, err);
}
