#include "big.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "source.h"
#include "sys.h"

enum state { UNKNOWN, PASSING, GOOD, BAD };

struct big_chunk {
	struct big_chunk *next;
	uint32_t tensor;
	uint64_t chunk;
	enum state state;
	long pid, tid; /* who makes the pass */
	size_t pieces;
	uint8_t (*macs)[AEAD_TAG_LEN]; /* one a piece, once GOOD */
};

#define MAC_ALG AEAD_AES256GCM

int big_init(struct big *b, enum aead_alg alg, const struct sha256 *sha)
{
	*b = (struct big){ .lock = LOCK_INIT, .sha = sha };
	b->mac_key = secret_new(aead_key_len(MAC_ALG));
	b->open = aead_new(alg);
	b->mac = aead_new(MAC_ALG);
	b->stream = aead_stream_new(alg);
	if (b->mac_key && b->open && b->mac && b->stream &&
	    sys3(SYS_getrandom, b->mac_key->data, b->mac_key->len, 0) == (long)b->mac_key->len) /* getrandom() is a cancellation point */
		return 0;
	big_release(b);
	return -1;
}

static size_t macs_size(const struct big_chunk *c)
{
	return c->pieces * AEAD_TAG_LEN;
}

void big_release(struct big *b)
{
	for (int i = 0; i < 256; i++) {
		while (b->buckets[i]) {
			struct big_chunk *c = b->buckets[i];
			b->buckets[i] = c->next;
			source_free(c->macs, macs_size(c));
			source_free(c, sizeof *c);
		}
	}
	aead_free(b->open);
	aead_free(b->mac);
	aead_free(b->stream);
	b->open = b->mac = b->stream = NULL;
	secret_free(b->mac_key);
	b->mac_key = NULL;
}

static bool mac(struct big *b, struct aead *a, const struct big_ref *r, uint64_t piece, const void *data, size_t len,
                uint8_t out[AEAD_TAG_LEN])
{
	uint8_t nonce[AEAD_IV_LEN];
	uint32_t parts[3] = { r->tensor, (uint32_t)r->chunk, (uint32_t)piece };
	memcpy(nonce, parts, sizeof nonce); /* unique: chunk numbers and pieces of one AEAD message stay below 2^32 */
	return aead_mac(a, b->mac_key->data, nonce, data, len, out);
}

/* The verifying pass. 1: authentic, 0: not, -1: could not be read. macs has room for every piece. */
static int pass(struct big *b, const struct big_ref *r, int fd, uint8_t (*macs)[AEAD_TAG_LEN], struct err *err)
{
	int ret = -1;
	struct aead *open = aead_clone(b->open), *a = aead_clone(b->mac);
	struct sha256 *sha = r->digest ? sha256_clone(b->sha) : NULL;
	uint8_t *piece = source_alloc(BIG_PIECE), digest[SHA256_LEN];
	if (!open || !a || !piece || (r->digest && !sha) || !aead_open_begin(open, r->key, r->iv)) {
		err_sys(err, ENOMEM, "verifying a chunk");
		goto out;
	}
	for (uint64_t at = 0, i = 0; at < r->len; at += BIG_PIECE, i++) {
		size_t n = r->len - at < BIG_PIECE ? (size_t)(r->len - at) : BIG_PIECE;
		if (source_read(fd, piece, n, r->at + at, err) < 0)
			goto out;
		if (!mac(b, a, r, i, piece, n, macs[i]) || (sha && !sha256_update(sha, piece, n)) || !aead_update(open, piece, piece, n)) {
			err_sys(err, EIO, "verifying a chunk");
			goto out;
		}
	}
	ret = aead_open_finish(open, r->tag) && (!sha || (sha256_finish(sha, digest) && memcmp(digest, r->digest, sizeof digest) == 0));
out:
	source_free(piece, BIG_PIECE);
	sha256_free(sha);
	aead_free(open);
	aead_free(a);
	return ret;
}

static size_t pieces_of(const struct big_ref *r)
{
	return (size_t)((r->len - 1) / BIG_PIECE + 1);
}

/* The chunk's entry; a new one is made of *spare, so that nothing is allocated under the lock. */
static struct big_chunk *find(struct big *b, const struct big_ref *r, struct big_chunk **spare)
{
	struct big_chunk **at = &b->buckets[(r->tensor * 31 + r->chunk) % 256];
	for (; *at; at = &(*at)->next)
		if ((*at)->tensor == r->tensor && (*at)->chunk == r->chunk)
			return *at;
	struct big_chunk *c = *spare;
	*spare = NULL;
	if (c) {
		c->tensor = r->tensor;
		c->chunk = r->chunk;
		c->pieces = pieces_of(r);
		lock_step();
		*at = c;
	}
	return c;
}

static void finish(struct big *b, struct big_chunk *c, int passed, uint8_t (*macs)[AEAD_TAG_LEN])
{
	lock_saved saved = lock_acquire(&b->lock);
	if (passed < 0) {
		c->state = UNKNOWN;
	} else {
		c->macs = passed ? macs : NULL;
		lock_step();
		c->state = passed ? GOOD : BAD;
	}
	atomic_fetch_add(&b->changes, 1);
	lock_release(&b->lock, saved);
	sys3(SYS_futex, &b->changes, FUTEX_WAKE_PRIVATE, 0x7fffffff);
	if (passed <= 0)
		source_free(macs, macs_size(c));
}

enum turn { WAIT, PASS, PRIVATE, DONE };

/* Whose turn it is; with DONE, *good says what is known. *seen is for the wait. */
static enum turn turn(struct big *b, const struct big_ref *r, struct big_chunk **chunk, uint32_t *seen, bool *good)
{
	long pid = sys0(SYS_getpid), tid = sys0(SYS_gettid);
	struct big_chunk *spare = source_alloc(sizeof *spare);
	enum turn what = DONE;
	lock_saved saved = lock_acquire(&b->lock);
	struct big_chunk *c = find(b, r, &spare);
	*seen = atomic_load(&b->changes);
	*good = c && c->state == GOOD;
	if (c && (c->state == UNKNOWN || (c->state == PASSING && c->pid != pid))) {
		c->state = PASSING;
		c->pid = pid;
		c->tid = tid;
		what = PASS;
	} else if (c && c->state == PASSING) {
		what = c->tid == tid ? PRIVATE : WAIT;
	}
	*chunk = c;
	lock_release(&b->lock, saved);
	source_free(spare, sizeof *spare);
	return what;
}

/*
 * Waits for, or makes, the pass. 1: good, 0: not, -1: error. *own: the MACs of a private pass, which the caller frees.
 */
static int verified(struct big *b, const struct big_ref *r, int fd, struct big_chunk **chunk, uint8_t (**own)[AEAD_TAG_LEN],
                    uint64_t *passed, struct err *err)
{
	enum turn what;
	uint32_t seen;
	bool good;
	for (int waits = 0; (what = turn(b, r, chunk, &seen, &good)) == WAIT; waits++) {
		const struct timespec t = { .tv_nsec = 100000000 };
		if (waits == BIG_PATIENCE_MS / 100) {
			what = PRIVATE;
			break;
		}
		sys4(SYS_futex, &b->changes, FUTEX_WAIT_PRIVATE, seen, &t);
	}
	if (!*chunk)
		return err_sys(err, ENOMEM, "verifying a chunk");
	if (what == DONE)
		return good;
	uint8_t (*macs)[AEAD_TAG_LEN] = source_alloc(pieces_of(r) * sizeof *macs);
	int ret = macs ? pass(b, r, fd, macs, err) : err_sys(err, ENOMEM, "verifying a chunk");
	*passed += ret < 0 ? 0 : r->len;
	if (what == PRIVATE)
		*own = macs;
	else
		finish(b, *chunk, ret, macs);
	return ret;
}

int big_piece(struct big *b, const struct big_ref *r, int fd, uint64_t piece, uint8_t *dst, uint64_t *passed, struct err *err)
{
	struct big_chunk *c = NULL;
	uint8_t (*own)[AEAD_TAG_LEN] = NULL;
	uint8_t tag[AEAD_TAG_LEN];
	struct aead *a = aead_clone(b->mac), *stream = aead_clone(b->stream);
	uint64_t at = piece * BIG_PIECE;
	size_t len = r->len - at < BIG_PIECE ? (size_t)(r->len - at) : BIG_PIECE;
	int ret = -1, good;
	if (!a || !stream) {
		err_sys(err, ENOMEM, "reading a chunk");
		goto out;
	}
	good = verified(b, r, fd, &c, &own, passed, err);
	if (good < 0)
		goto out;
	if (good == 0) {
		err_set(err, ERR_DAMAGED, "chunk does not authenticate");
		goto out;
	}
	if (source_read(fd, dst, len, r->at + at, err) < 0)
		goto out;
	if (!mac(b, a, r, piece, dst, len, tag) || memcmp(tag, (own ? own : c->macs)[piece], sizeof tag) != 0) {
		err_set(err, ERR_DAMAGED, "the file changed while it was read");
		goto out;
	}
	if (!aead_stream(stream, r->key, r->iv, at, dst, dst, len)) {
		secret_wipe(dst, len);
		err_sys(err, EIO, "reading a chunk");
		goto out;
	}
	ret = 0;
out:
	aead_free(a);
	aead_free(stream);
	source_free(own, pieces_of(r) * AEAD_TAG_LEN);
	return ret;
}
