#include "big.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "source.h"
#include "sys.h"

enum state { UNKNOWN, PASSING, GOOD, BAD };

struct big_chunk {
	struct big_chunk *next;
	uint32_t tensor;
	uint64_t chunk;
	enum state state;
	long pid, tid; /* who makes the pass */
	uint8_t (*macs)[AEAD_TAG_LEN]; /* one a piece, once GOOD */
};

#define MAC_ALG AEAD_AES256GCM

int big_init(struct big *b)
{
	*b = (struct big){ .lock = LOCK_INIT };
	b->mac_key = secret_new(aead_key_len(MAC_ALG));
	if (!b->mac_key || getrandom(b->mac_key->data, b->mac_key->len, 0) != (ssize_t)b->mac_key->len)
		return -1;
	return 0;
}

void big_release(struct big *b)
{
	for (int i = 0; i < 256; i++) {
		while (b->buckets[i]) {
			struct big_chunk *c = b->buckets[i];
			b->buckets[i] = c->next;
			free(c->macs);
			free(c);
		}
	}
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
	struct aead *open = aead_new(r->alg), *a = aead_new(MAC_ALG);
	uint8_t *piece = source_alloc(BIG_PIECE);
	if (!open || !a || !piece || !aead_open_begin(open, r->key, r->iv)) {
		err_sys(err, ENOMEM, "verifying a chunk");
		goto out;
	}
	for (uint64_t at = 0, i = 0; at < r->len; at += BIG_PIECE, i++) {
		size_t n = r->len - at < BIG_PIECE ? (size_t)(r->len - at) : BIG_PIECE;
		if (source_read(fd, piece, n, r->at + at, err) < 0)
			goto out;
		if (!mac(b, a, r, i, piece, n, macs[i]) || !aead_update(open, piece, piece, n)) {
			err_sys(err, EIO, "verifying a chunk");
			goto out;
		}
	}
	ret = aead_open_finish(open, r->tag);
out:
	source_free(piece, BIG_PIECE);
	aead_free(open);
	aead_free(a);
	return ret;
}

/* The chunk's entry; a new one is made of *spare, so that nothing is allocated under the lock. */
static struct big_chunk *find(struct big *b, const struct big_ref *r, struct big_chunk **spare)
{
	struct big_chunk **at = &b->buckets[(r->tensor * 31 + r->chunk) % 256];
	for (; *at; at = &(*at)->next)
		if ((*at)->tensor == r->tensor && (*at)->chunk == r->chunk)
			return *at;
	*at = *spare;
	*spare = NULL;
	if (*at) {
		(*at)->tensor = r->tensor;
		(*at)->chunk = r->chunk;
	}
	return *at;
}

static void finish(struct big *b, struct big_chunk *c, int passed, uint8_t (*macs)[AEAD_TAG_LEN])
{
	lock_saved saved = lock_acquire(&b->lock);
	if (passed < 0) {
		c->state = UNKNOWN;
	} else {
		c->macs = passed ? macs : NULL;
		c->state = passed ? GOOD : BAD;
	}
	atomic_fetch_add(&b->changes, 1);
	lock_release(&b->lock, saved);
	sys3(SYS_futex, &b->changes, FUTEX_WAKE_PRIVATE, 0x7fffffff);
	if (passed <= 0)
		free(macs);
}

/*
 * Waits for, or makes, the pass. 1: GOOD, 0: BAD, -1: error. *own: MACs of a private pass that the caller frees (a signal handler on top of
 * the thread that makes the shared one).
 */
static int verified(struct big *b, const struct big_ref *r, int fd, struct big_chunk **chunk, uint8_t (**own)[AEAD_TAG_LEN],
                    uint64_t *passed, struct err *err)
{
	struct big_chunk *spare = calloc(1, sizeof *spare);
	long pid = sys0(SYS_getpid), tid = sys0(SYS_gettid);
	enum { WAIT, PASS, PRIVATE, DONE } what;
	int ret = -1;
	do {
		lock_saved saved = lock_acquire(&b->lock);
		struct big_chunk *c = find(b, r, &spare);
		uint32_t seen = atomic_load(&b->changes);
		what = DONE;
		if (c && (c->state == UNKNOWN || (c->state == PASSING && c->pid != pid))) {
			c->state = PASSING;
			c->pid = pid;
			c->tid = tid;
			what = PASS;
		} else if (c && c->state == PASSING) {
			what = c->tid == tid ? PRIVATE : WAIT;
		}
		if (c && what == DONE)
			ret = c->state == GOOD;
		*chunk = c;
		lock_release(&b->lock, saved);
		if (!c)
			err_sys(err, ENOMEM, "verifying a chunk");
		if (what == WAIT)
			sys4(SYS_futex, &b->changes, FUTEX_WAIT_PRIVATE, seen, 0);
	} while (what == WAIT);
	free(spare);
	if (what == DONE)
		return ret;
	uint8_t (*macs)[AEAD_TAG_LEN] = calloc((size_t)((r->len - 1) / BIG_PIECE + 1), sizeof *macs);
	if (!macs)
		err_sys(err, ENOMEM, "verifying a chunk");
	ret = macs ? pass(b, r, fd, macs, err) : -1;
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
	struct aead *a = NULL;
	uint64_t at = piece * BIG_PIECE;
	size_t len = r->len - at < BIG_PIECE ? (size_t)(r->len - at) : BIG_PIECE;
	int ret = -1;
	int good = verified(b, r, fd, &c, &own, passed, err);
	if (good < 0)
		goto out;
	if (good == 0) {
		err_set(err, ERR_DAMAGED, "chunk does not authenticate");
		goto out;
	}
	a = aead_new(MAC_ALG);
	if (!a) {
		err_sys(err, ENOMEM, "reading a chunk");
		goto out;
	}
	if (source_read(fd, dst, len, r->at + at, err) < 0)
		goto out;
	if (!mac(b, a, r, piece, dst, len, tag) || memcmp(tag, (own ? own : c->macs)[piece], sizeof tag) != 0) {
		err_set(err, ERR_DAMAGED, "the file changed while it was read");
		goto out;
	}
	if (!aead_stream(r->alg, r->key, r->iv, at, dst, dst, len)) {
		secret_wipe(dst, len);
		err_sys(err, EIO, "reading a chunk");
		goto out;
	}
	ret = 0;
out:
	aead_free(a);
	free(own);
	return ret;
}
